"""The files for containers: linted, and their steps run, since no engine may be at hand."""

from __future__ import annotations

import ipaddress
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import sqlalchemy as sa
import yaml
from compose_spec.models import ComposeSpecification, Service
from pydantic import ValidationError

from config.settings import load
from db.database import open_database
from db.tables import job, pause
from models.confine import room
from node import supervisor
from node.app import open_node
from node.inbound.kinds import LABEL_MAP_SEGMENTATION_STORAGE
from tests import image, mini_bundle
from tests.conftest import find_program, lacking
from tests.image import SOURCE
from tests.orthanc import Orthanc
from tests.pages import serving
from tests.ports import free_port
from tests.postgres import Postgres
from tests.running import RunningNode
from tests.synthetic import as_files, small_series
from tests.waiting import wait_until

BIN = Path(sys.executable).parent
CONTAINERS = SOURCE / "config" / "containers"
KUBERNETES = CONTAINERS / "kubernetes"
GPU = CONTAINERS / "kubernetes-gpu"
VERSIONS = ("1.29", "1.34")


def lint(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), cwd=SOURCE, capture_output=True, text=True, check=False)


# ------------------------------------------------------------------ lint


def test_the_dockerfile_is_linted() -> None:
    done = lint(BIN / "hadolint", "--failure-threshold", "style", "Dockerfile")
    assert done.returncode == 0, done.stdout


def test_a_fault_in_a_dockerfile_is_seen(tmp_path: Path) -> None:
    text = (SOURCE / "Dockerfile").read_text().replace("python:3.12-slim-bookworm", "python:latest", 1)
    (tmp_path / "Dockerfile").write_text(text)
    done = lint(BIN / "hadolint", "--failure-threshold", "style", tmp_path / "Dockerfile")
    assert done.returncode == 1
    assert "DL3007" in done.stdout


def test_yaml_is_linted() -> None:
    done = lint(BIN / "yamllint", "--strict", "-c", CONTAINERS / ".yamllint", CONTAINERS)
    assert done.returncode == 0, done.stdout


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CONTAINERS / "compose.yaml").read_text())
    return found


def test_compose_is_of_its_specification_and_names_files_that_are_there() -> None:
    ComposeSpecification.model_validate(compose())
    known = {field.alias or name for name, field in Service.model_fields.items()}
    for service in compose()["services"].values():
        assert set(service) <= known
        for volume in service.get("volumes", []):
            if volume.startswith("./"):
                assert (CONTAINERS / volume.split(":")[0]).is_file(), volume
        assert set(service.get("secrets", [])) <= set(compose()["secrets"])
    broken = compose()
    broken["services"]["node"]["ports"] = 11112
    with pytest.raises(ValidationError, match="ports"):
        ComposeSpecification.model_validate(broken)


def test_compose_gives_the_node_what_its_configuration_names() -> None:
    node = compose()["services"]["node"]
    settings = load(CONTAINERS / "planimeter.toml")
    assert any(volume.endswith(f":{settings.home}") for volume in node["volumes"])
    named = {settings.database.password_file, settings.web.certificate, settings.web.key}
    assert named == {Path("/run/secrets", name) for name in node["secrets"]}
    hosts = {peer.destination.host for peer in settings.peer if peer.destination}
    assert hosts | {"database"} <= set(compose()["services"])
    assert {port.rsplit(":", 1)[1] for port in node["ports"]} == {str(settings.receive.port), str(settings.web.port)}
    (scratch,) = node["tmpfs"]
    assert scratch.startswith("/tmp:size="), "what networks write there is memory"
    assert node["mem_limit"]
    assert int(node["stop_grace_period"].removesuffix("s")) > supervisor.STOP_SECONDS
    orthanc = json.loads((CONTAINERS / "orthanc" / "orthanc.json").read_text())
    assert orthanc["DicomModalities"]["planimeter"] == [settings.node.ae_title, "node", settings.receive.port]
    assert (orthanc["DicomAet"], orthanc["DicomPort"]) == (settings.peer[0].ae_title, 4242)


def test_compose_lets_orthanc_in_and_nobody_who_comes_through_a_published_port() -> None:
    """Docker Desktop, rootless Docker and IPv6 bring callers from outside in by the gateway's address."""
    found = compose()
    (peer,) = load(CONTAINERS / "planimeter.toml").peer
    (net,) = found["networks"]["department"]["ipam"]["config"]
    assert peer.address == found["services"]["pacs"]["networks"]["department"]["ipv4_address"]
    pacs = ipaddress.ip_address(str(peer.address))  # one address, and no network
    assert pacs in ipaddress.ip_network(net["subnet"])
    assert pacs not in ipaddress.ip_network(net["ip_range"]), "another container may get it"
    assert pacs != ipaddress.ip_address(net["gateway"])
    for name, service in found["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_a_database_is_ready_when_others_can_reach_it_and_not_while_it_is_made() -> None:
    """The image makes a database with a server that listens on its socket alone, and is ended again."""
    asked = compose()["services"]["database"]["healthcheck"]["test"][1:]
    (container,) = pods()["database"]["containers"]
    for command in (asked, container["readinessProbe"]["exec"]["command"]):
        assert command[:3] == ["pg_isready", "-h", "127.0.0.1"]


def test_a_node_of_compose_that_is_made_anew_is_the_same_machine() -> None:
    assert compose()["services"]["node"]["hostname"] == "planimeter"


def test_nobody_else_on_the_machine_can_read_what_is_secret(tmp_path: Path) -> None:
    """Also where the folder was there before, with the hospital's certificate in it and another key."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    secrets.chmod(0o755)
    for name in ("cert.pem", "key.pem", "dicom-key.pem"):
        (secrets / name).write_text("of the hospital")
        (secrets / name).chmod(0o600)
    shutil.copy(CONTAINERS / "prepare.sh", tmp_path)
    subprocess.run(["sh", str(tmp_path / "prepare.sh")], check=True, capture_output=True)
    modes = {one.name: one.stat().st_mode & 0o777 for one in (secrets, *secrets.iterdir())}
    assert modes.pop("secrets") == 0o700
    assert modes.pop("dicom-key.pem") == 0o600
    assert modes == dict.fromkeys(("database-password", "cert.pem", "key.pem"), 0o644), "another user number reads them"
    assert (secrets / "key.pem").read_text() == "of the hospital"


def rendered(folder: Path) -> list[dict[str, Any]]:
    """The manifests as `kubectl kustomize` gives them."""
    program = shutil.which("kubectl") or shutil.which("kustomize")
    if program is None:  # it is in no package index: then the files are read as they are
        return [
            one
            for file in sorted(KUBERNETES.glob("*.yaml"))
            for one in yaml.safe_load_all(file.read_text())
            if one["kind"] != "Kustomization"
        ]
    words = [program, "kustomize"] if program.endswith("kubectl") else [program, "build"]
    done = subprocess.run([*words, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def manifests(kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in rendered(KUBERNETES) if one["kind"] == kind}


def pods() -> dict[str, dict[str, Any]]:
    """Name of the workload -> what its pods are."""
    found = {**manifests("Deployment"), **manifests("StatefulSet"), **manifests("Job")}
    return {name: one["spec"]["template"]["spec"] for name, one in found.items()}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", [KUBERNETES, GPU], ids=["plain", "gpu"])
def test_kubernetes_manifests_are_of_their_schemas(folder: Path, version: str) -> None:
    found = rendered(folder)
    assert len(found) > 15
    for one in found:
        if not one["apiVersion"].startswith("keda.sh/"):
            kubernetes_validate.validate(one, version, strict=True)
    broken = dict(found[0]) | {"specs": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, version, strict=True)


def test_no_pod_is_root_writes_its_own_root_or_gains_rights() -> None:
    """What the namespace's pod security standard "restricted" asks for, and a read-only root."""
    (namespace,) = manifests("Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert set(pods()) == {"receive", "work", "schedule", "web", "upgrade", "database"}
    for name, pod in pods().items():
        whole = pod["securityContext"]
        assert whole["runAsNonRoot"], name
        assert whole["runAsUser"] > 0, name
        assert whole["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            own = container["securityContext"]
            assert own == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["limits"]["memory"], name


def test_pods_have_the_image_s_user_and_the_files_that_their_configuration_names() -> None:
    settings = load(KUBERNETES / "planimeter.toml")
    user = re.search(r"^USER (\d+):(\d+)$", (SOURCE / "Dockerfile").read_text(), re.MULTILINE)
    assert user is not None
    ours = {name: pod for name, pod in pods().items() if name != "database"}
    for name, pod in ours.items():
        assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["fsGroup"]) == tuple(
            map(int, user.groups())
        )
        (container,) = pod["containers"]
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {str(settings.home), "/etc/planimeter.toml", "/tmp", "/run/secrets/planimeter"} == mounted, name
        (secret,) = [volume["secret"] for volume in pod["volumes"] if volume["name"] == "secrets"]
        assert secret["defaultMode"] == 0o440, "the files are root's: a key that others can read is `key-readable`"
        (scratch,) = [volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "scratch"]
        most = int(scratch["sizeLimit"].removesuffix("Gi")) << 30
        assert most > (room.MOST_BYTES if name == "work" else 0), "a host is ended before its pod is"
    for path in (settings.database.password_file, settings.web.certificate, settings.web.key):
        assert path is not None
        assert path.parent == Path("/run/secrets/planimeter")
    (service,) = [one for one in manifests("Service").values() if one["metadata"]["name"] == "receive"]
    assert service["spec"]["ports"][0]["port"] == settings.receive.port
    assert service["spec"]["externalTrafficPolicy"] == "Local"


PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def test_no_probe_asks_for_the_database_or_the_disk() -> None:
    """Pods are neither started again nor taken out of their Service for what no other pod has, either."""
    settings = load(KUBERNETES / "planimeter.toml")
    live = {"path": "/health/live", "port": "https", "scheme": "HTTPS" if settings.web.tls else "HTTP"}
    wanted = {
        "receive": {"readinessProbe": {"tcpSocket": {"port": "dicom"}}},
        "web": {"readinessProbe": {"httpGet": live}, "livenessProbe": {"httpGet": live}},
    }
    asked = {"httpGet", "tcpSocket", "exec", "grpc"}
    for name, pod in pods().items():
        if name == "database":
            continue
        (container,) = pod["containers"]
        probes = {
            probe: {how: said for how, said in container[probe].items() if how in asked}
            for probe in PROBES
            if probe in container
        }
        assert probes == wanted.get(name, {}), name
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        for one in probes.values():
            (how,) = one.values()
            assert ports[str(how["port"])] in (settings.receive.port, settings.web.port), name


def test_what_the_probes_ask_is_answered_while_the_database_is_away(
    postgres: Postgres, migrated_on_postgres: str, tmp_path: Path
) -> None:
    """And while the disk is under its reserve; by whatever name the kubelet calls the pod."""
    url = postgres.new_database(migrated_on_postgres)
    given = {"node": {"home": tmp_path / "home"}, "database": {"url": url}, "receive": {"reserve_gb": 1e6}}
    node = open_node(load(None, given))
    try:
        headers = {"host": "10.1.2.3:8104"}
        with serving(node) as site, httpx.Client(base_url=site.url, headers=headers, timeout=30) as kubelet:
            assert "disk-reserve" in kubelet.get("/health/ready").text
            assert kubelet.get("/health/live").status_code == 200
            postgres.drop(url)
            assert "database-away" in kubelet.get("/health/ready").text
            assert kubelet.get("/health/live").status_code == 200
    finally:
        node.close()


def test_a_worker_is_given_the_time_to_finish() -> None:
    """Drained first, then stopped: the pod lives as long as both may take."""
    pod = pods()["work"]
    (container,) = pod["containers"]
    (line,) = container["lifecycle"]["preStop"]["exec"]["command"][2:]
    waits = re.search(r"planimeter machines drain --wait (\d+)", line)
    assert waits is not None
    assert pod["terminationGracePeriodSeconds"] >= int(waits[1]) + supervisor.STOP_SECONDS + 30
    assert all(
        one["terminationGracePeriodSeconds"] > supervisor.STOP_SECONDS
        for name, one in pods().items()
        if name != "upgrade"
    )


def test_the_gpu_variant_asks_for_one_gpu_per_worker() -> None:
    if shutil.which("kubectl") is None and shutil.which("kustomize") is None:
        lint_of = yaml.safe_load((GPU / "kustomization.yaml").read_text())
        assert lint_of["patches"]
        return
    (work,) = [one for one in rendered(GPU) if (one["kind"], one["metadata"]["name"]) == ("StatefulSet", "work")]
    (container,) = work["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1


# ------------------------------------------------------------- the queue


def test_keda_is_told_how_deep_the_queue_is(postgres: Postgres, migrated_on_postgres: str) -> None:
    """The question of the ScaledObject, asked of the real schema."""
    (scaled,) = manifests("ScaledObject").values()
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["type"] == "postgresql"
    assert manifests("TriggerAuthentication").keys() == {trigger["authenticationRef"]["name"]}
    target = scaled["spec"]["scaleTargetRef"]
    assert target["name"] in manifests(target["kind"])
    assert scaled["spec"]["minReplicaCount"] >= 1, "somebody has to send what is there"
    database = open_database(postgres.new_database(migrated_on_postgres))
    question = sa.text(trigger["metadata"]["query"])

    def depth() -> int:
        with database.read() as tx:
            return int(tx.execute(question).scalar_one())

    assert depth() == 0
    per_worker = int(trigger["metadata"]["targetQueryValue"])
    rows = [
        ("choose", "waiting", 0.0, "", 1),
        ("segment", "waiting", 0.0, "", 1),
        ("segment", "running", 0.0, "work-0", per_worker),
        ("train", "running", 0.0, "work-0", 0),  # the same pod does both
        ("train", "running", 0.0, "work-1", per_worker),
        ("segment", "waiting", 4e9, "", 0),
        ("segment", "done", 0.0, "", 0),
        ("segment", "dead", 0.0, "", 0),
        ("deliver", "waiting", 0.0, "", 0),
        ("train", "waiting", 0.0, "", 0),
    ]
    with database.write() as tx:
        tx.execute(sa.insert(job), [a_job(number, *row[:4]) for number, row in enumerate(rows)])
    assert depth() == sum(counts for *_, counts in rows)
    with database.write() as tx:
        tx.execute(sa.insert(pause).values(activity="work", since=0.0, who="ada"))
    assert depth() == 2 * per_worker, "what runs is finished"
    kinds = ["choose", "segment", "explain", "label", "export", "train", "evaluate", "shadow"]
    with database.write() as tx:
        tx.execute(sa.delete(job))
        tx.execute(sa.insert(job), [a_job(n, one, "running", 0.0, f"work-{n}") for n, one in enumerate(kinds)])
    pods_wanted = math.ceil(depth() / per_worker)  # as KEDA has it of the metric type AverageValue, its default
    assert pods_wanted == len(kinds) == scaled["spec"]["maxReplicaCount"], "nothing waits, and all work"
    assert "metricType" not in trigger
    database.dispose()


def a_job(number: int, kind: str, state: str, after: float, worker: str) -> dict[str, Any]:
    fixed = dict(priority=1, max_attempts=3, created=0.0)
    return dict(kind=kind, subject=str(number), state=state, run_after=after, worker=worker or None) | fixed


def test_the_upgrade_of_a_first_install_waits_for_a_slow_database() -> None:
    """A container that failed is started again after 10 s, and each time twice as late, up to five minutes."""
    spec = manifests("Job")["upgrade"]["spec"]
    assert spec["template"]["spec"]["restartPolicy"] == "OnFailure"
    assert sum(min(10 * 2**times, 300) for times in range(spec["backoffLimit"])) > 3600
    assert "activeDeadlineSeconds" not in spec, "the upgrade of years of rows takes its time"


# -------------------------------------------------------------- the steps


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> image.Image:
    """What the Dockerfile's steps leave."""
    if os.geteuid() != 0:
        lacking("root, which the steps of the image are run as", "run these tests as root")
    folder = tmp_path_factory.mktemp("root")
    for above in (folder, *folder.parents[:2]):
        above.chmod(0o755)  # another user goes through here
    return image.build(folder)


def test_the_steps_of_the_dockerfile_leave_an_image_that_runs(built: image.Image) -> None:
    assert (built.folder / "stubs" / "asked").read_text().splitlines()[0] == "apt-get update"
    assert built.user == "10001:10001"
    assert built.run(*built.entrypoint, "--version").stdout.startswith("planimeter ")
    home = built.folder / "var" / "lib" / "planimeter"
    assert (home.stat().st_uid, home.stat().st_mode & 0o777) == (10001, 0o700)
    assert list(home.iterdir()) == [], "a backup is restored into an empty one"
    assert 'home = "/var/lib/planimeter"' in (built.folder / "etc" / "planimeter.toml").read_text()
    code = next((built.folder / "opt").glob("planimeter/lib/python3*/site-packages"))
    assert {"node", "db", "models", "config"} <= {one.name for one in code.iterdir()}
    assert not (code / "tests").exists()
    assert not (code / "config" / "containers").exists()
    assert (code / "models" / "bundles" / "ct_lungs" / "planimeter.toml").is_file()


#: as an engine does it: start, ask the HEALTHCHECK until it is well, SIGTERM
LIFE = """
"$@" run & node=$!
n=0; until {health} || [ $n -ge 90 ]; do n=$((n + 1)); sleep 1; kill -0 $node; done
touch /opt/written 2>/dev/null && echo "the root can be written"
touch /var/lib/planimeter/written && echo "the home can be written"
id -u
kill -TERM $node; wait $node; echo "it ended with $?"
"""


def test_it_is_healthy_as_an_unprivileged_user_with_a_root_that_it_cannot_write(built: image.Image) -> None:
    file = built.folder / "etc" / "planimeter.toml"
    # a site mounts a configuration of its own; this one asks for no free disk, and loads no network
    text = file.read_text().replace("reserve_gb = 5", "reserve_gb = 0").replace("at_start = true", "at_start = false")
    file.write_text(text)
    script = LIFE.format(health=" ".join(built.healthcheck))
    done = built.run("/bin/sh", "-c", script, "sh", *built.entrypoint, read_only=True, check=False)
    said = done.stdout.splitlines()
    assert said[-4:] == ["ready", "the home can be written", "10001", "it ended with 0"], done.stdout + done.stderr
    assert "Planimeter is ready" in done.stdout
    assert "one-time token" in done.stdout


def test_a_file_that_dockerignore_keeps_out_cannot_be_copied(tmp_path: Path) -> None:
    made = image.Image(tmp_path)
    with pytest.raises(AssertionError, match=r"\.dockerignore keeps"):
        image._copy(made, "docs /docs")
    with pytest.raises(AssertionError, match="there is no"):
        image._copy(made, "no-such-file ./")


# -------------------------------------------------------------- compose's stand


@pytest.mark.filterwarnings("ignore")
def test_a_study_goes_through_what_compose_starts(postgres: Postgres, tmp_path: Path) -> None:
    """The three services as processes, with the files of the containers: Orthanc sends a study and gets the results."""
    stand = tmp_path / "containers"
    shutil.copytree(CONTAINERS, stand, ignore=shutil.ignore_patterns("secrets"))
    subprocess.run(["sh", str(stand / "prepare.sh")], check=True, capture_output=True)
    given = json.loads((stand / "orthanc" / "orthanc.json").read_text())
    home, receive, web = tmp_path / "home", free_port(), free_port()
    mini_bundle.make(home / "models", "thresholds")
    given["DicomModalities"]["planimeter"][1:] = ["127.0.0.1", receive]
    # of this machine are the ports and the folders alone
    own = {
        name: given[name]
        for name in ("DicomAet", "UnknownSopClassAccepted", "DicomModalities", "AuthenticationEnabled")
    }
    with Orthanc(find_program("Orthanc", "apt-get install orthanc"), **own) as pacs:
        text = (stand / "planimeter.toml").read_text()
        for old, new in (
            ("postgresql+psycopg://planimeter@database/planimeter", postgres.new_database()),
            ('host = "pacs"\nport = 4242', f'host = "127.0.0.1"\nport = {pacs.port}'),
            ("172.28.5.10", "127.0.0.1"),
            ("/run/secrets/database-password", str(stand / "secrets" / "database-password")),
            ("/run/secrets/certificate-key", str(stand / "secrets" / "key.pem")),
            ("/run/secrets/certificate", str(stand / "secrets" / "cert.pem")),
            ("/var/lib/planimeter", str(home)),
            ('listen = "0.0.0.0"', f'listen = "127.0.0.1"\nport = {web}'),
            ("quiet_seconds = 10\nreserve_gb = 1", "quiet_seconds = 2\nreserve_gb = 0"),
            ("[web]", "[work]\nworkers = 1\n[hosts]\nat_start = false\n[web]"),
            ("ct_lungs", "thresholds"),
        ):
            assert old in text, old
            text = text.replace(old, new)
        config = stand / "planimeter.toml"
        config.write_text(text)
        node = RunningNode(home, ("--config", str(config)), {}, pages=True)
        node.port = receive
        try:
            node.start()
            assert "one-time token" in node.log
            assert "https://127.0.0.1" in node.log
            for file in as_files(small_series(), tmp_path / "study"):
                pacs.take(file.read_bytes())
            everything = pacs._ask("GET", "/instances")
            pacs._ask("POST", "/modalities/planimeter/store", {"Resources": everything, "Synchronous": True})
            wait_until("the results are with the PACS", lambda: len(pacs.instances()) == 8 + 3, 120)
        finally:
            node.stop()
        sent = [ds for ds in pacs.instances() if ds.Modality in ("SEG", "SR")]
        assert sorted(ds.Modality for ds in sent) == ["SEG", "SR", "SR"]
        assert LABEL_MAP_SEGMENTATION_STORAGE not in {ds.SOPClassUID for ds in sent}
