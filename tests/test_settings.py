"""The settings: the annotated file is the manual, and every mistake is answered with its place."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from config.alarms import Recipient
from config.peers import Destination, Peer, Query
from config.settings import DEFAULT_FILE, Route, Settings, SettingsError, load

SECTIONS = (
    *("node", "database", "receive", "tls", "work", "send", "fetch", "learning", "retention", "watch", "web"),
    *("alarms", "mail", "metrics", "log"),
)


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def written(text: str) -> Path:
        file = tmp_path / "planimeter.toml"
        file.write_text(text)
        return file

    return written


def test_the_annotated_file_says_the_defaults() -> None:
    assert load(DEFAULT_FILE) == Settings()


def test_every_key_is_in_the_annotated_file_with_a_comment() -> None:
    listed = tomllib.loads(DEFAULT_FILE.read_text())
    for section in SECTIONS:
        assert set(listed[section]) == set(type(getattr(Settings(), section)).model_fields), section
    lines = DEFAULT_FILE.read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"^\w+ = ", line):
            assert lines[number - 1].startswith("#") or re.match(r"^\w+ = ", lines[number - 1]), line


@pytest.mark.parametrize(("table", "model"), [("peer", Peer), ("route", Route), ("recipient", Recipient)])
def test_the_commented_tables_are_complete_and_right(table: str, model: type[BaseModel]) -> None:
    """What a site uncomments must load."""
    text = DEFAULT_FILE.read_text()
    example = "\n".join(_uncommented(text))
    data = tomllib.loads(example)
    assert set(data[table][0]) == set(model.model_fields)
    assert table != "peer" or set(data[table][0]["destination"]) == set(Destination.model_fields)
    assert table != "peer" or set(data["peer"][0]["query"]) == set(Query.model_fields)
    data["mail"] = {"host": "mail.hospital.example", "sender": "planimeter@hospital.example"}
    settings = Settings.model_validate(data)
    assert settings.route[0].destinations == ("pacs",)


def _uncommented(text: str) -> Iterator[str]:
    inside = False
    for line in text.splitlines():
        inside = line.startswith("# [") or (inside and line.startswith("#"))
        if inside and re.match(r"^# (\[\[\w+\]\]|\[\w+\.\w+\]|\w+ = )", line):
            yield line.removeprefix("# ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[receive]\nquiet_second = 3\n",
            ":2: receive.quiet_second: there is no such key; did you mean `quiet_seconds`?",
        ),
        ("[alarms]\nprocess_seconds = 5\n", ":2: alarms.process_seconds: processes say every 10 s that they are alive"),
        ("[alarms]\nurgent = ['disk-lo']\n", ":2: alarms.urgent.0: Input should be 'database-away'"),
        ("[alarms]\nquiet_hours = '20-7'\n", ":2: alarms.quiet_hours: "),
        ("[alarms]\nlink = 'planimeter.example'\n", ":2: alarms.link: the address of the pages begins with https://"),
        ("[mail]\nhost = 'mail.example'\n", ":1: mail: sender is the address that mails come from"),
        (
            "[mail]\nhost = 'm'\nsender = 'a@b'\nuser = 'u'\npassword_file = 'p'\nsecurity = 'none'\n",
            ":1: mail: the password would cross the network in the clear",
        ),
        ("[mail]\nuser = 'u'\n", ":1: mail: user and password_file belong together"),
        ("[[recipient]]\nname = 'a'\n", ":1: recipient.0: give either mail or webhook"),
        ("[[recipient]]\nname = 'a'\nwebhook = 'ftp://x'\n", ":3: recipient.0.webhook: a webhook begins with https://"),
        ("[[recipient]]\nname = 'a'\nmail = ['nobody']\n", ":3: recipient.0.mail.0: "),
        ("[[recipient]]\nname = 'a'\nmail = ['a@b']\n", "[[recipient]] a is told by mail, and [mail] names no host"),
        ("[[recipient]]\nname = 'a'\nmail = ['a@b']\nsecret_file = 's'\n", ":1: recipient.0: secret_file and ca_file"),
        ("[metrics]\nallow = ['everybody']\n", ":2: metrics.allow: 'everybody' is not an IP address or network"),
        ("[log]\nformat = 'xml'\n", ":2: log.format: Input should be 'text' or 'json'"),
        ("[recieve]\nport = 104\n", ": recieve: there is no such key; did you mean `receive`?"),
        ("[node]\nzzz = 3\n", ":2: node.zzz: there is no such key; known keys: ae_title, home, uid_root"),
        ("[receive]\nport = 70000\n", ":2: receive.port: Input should be less than or equal to 65535"),
        ("[receive]\nport = 'x'\n", ":2: receive.port: "),
        ("[receive]\nlisten = 'scanner1'\n", ":2: receive.listen: 'scanner1' is not an IP address"),
        ("[node]\nae_title = 'SEVENTEENLETTERSX'\n", ":2: node.ae_title: "),
        ("[node]\nae_title = 'A\\\\B'\n", ":2: node.ae_title: "),
        ("[node]\nuid_root = '1.02.3'\n", ":2: node.uid_root: "),
        ("[work]\ndevice = 'gpu'\n", ":2: work.device: "),
        ("[work]\nlease_seconds = 4\n", "lease_seconds must be at least twice heartbeat_seconds"),
        (
            "[[peer]]\nname = 'ct'\nae_title = 'CT'\nmay_send = true\n",
            "a peer that may send needs `address`",
        ),
        (
            "[[peer]]\nname = 'a'\nae_title = 'A'\n[[peer]]\nname = 'b'\nae_title = 'B'\nadress = '10.1.1.1'\n",
            ":7: peer.1.adress: there is no such key; did you mean `address`?",
        ),
        ("[[peer]]\nname = 'a'\nae_title = 'A'\naddress = '10.1.1.300'\n", "is neither an IP address nor a network"),
        (
            "[[peer]]\nname = 'a'\nae_title = 'A'\n[[peer]]\nname = 'a'\nae_title = 'B'\n",
            "two [[peer]] are called a",
        ),
        (
            "[[route]]\nname = 'r'\nnetworks = ['ct_lungs']\ndestinations = ['nowhere']\n",
            "[[route]] r: 'nowhere' is no [[peer]] that has `destination = { host, port }`",
        ),
        ("[[route]]\nname = 'r'\nnetworks = []\n", ":3: route.0.networks: "),
        (
            "[[route]]\nname = 'r'\nnetworks = ['n']\nwhen = [{ modality = 'CT', calling_ae_title = 'X' }]\n",
            "a condition has exactly one kind",
        ),
        (
            "[[route]]\nname = 'r'\nnetworks = ['n']\nwhen = [{ BodyPart = 'CHEST' }]\n",
            ":4: route.0.when.0.BodyPart: there is no such key; known keys: keyword, equals, one_of, matches, range,",
        ),
        ("[[route]]\nname = 'r'\nnetworks = ['n']\nmode = 'shadow'\n", ":4: route.0.mode: "),
        (
            "[[peer]]\nname = 'p'\nae_title = 'P'\nquery = { host = '10.1.1.1', port = 104 }\n",
            'what retrieve = "move" asks for comes back by C-STORE',
        ),
        (
            "[[peer]]\nname = 'p'\nae_title = 'P'\nquery = { url = 'https://p/web', retrieve = 'get' }\n",
            'retrieve is "move" or "get" with host and port, and "wado" with url',
        ),
        (
            "[[peer]]\nname = 'p'\nae_title = 'P'\nquery = { retrieve = 'get' }\n",
            "a query has host and port (C-FIND), or url (QIDO-RS), and not both",
        ),
        ("[fetch]\nwindow = '20:00-29:00'\n", "no time of the day"),
        ("[receive]\nlisten = '0.0.0.0'\n", "without one, anyone who reaches that address could send"),
        ("[receive\n", ": not valid TOML: "),
        ("[tls]\ncertificate = 'c.pem'\n", ":1: tls: certificate and key belong together"),
        ("[tls]\nclient_key = 'c.key'\n", ":1: tls: client_certificate and client_key belong together"),
        ("[tls]\ncertificate = 'c'\nkey = 'k'\n", ":1: tls: callers are asked for a certificate: name in `ca_file`"),
        ("[tls]\ncrl_file = 'c'\n", ":1: tls: crl_file lists what the authorities of `ca_file` have revoked"),
        ("[tls]\nplain = false\n", ":1: tls: plain = false leaves no port at all"),
        ("[tls]\nprofile = 'basic'\n", ":2: tls.profile: Input should be 'bcp195' or 'bcp195-modified'"),
        (
            "[[peer]]\nname = 'p'\nae_title = 'P'\ncertificate_names = ['ct1']\n",
            "[[peer]] p may call over TLS alone, and [tls] names no certificate and key",
        ),
        (
            "[[peer]]\nname = 'p'\nae_title = 'P'\ncertificate_sha256 = ['AB:CD']\n",
            ":4: peer.0.certificate_sha256.0: String should match pattern",
        ),
        (
            "[[peer]]\nname = 'p'\nae_title = 'P'\ndestination = { host = 'h', port = 104, ca_file = 'c' }\n",
            "ca_file, tls_name and certificate_sha256 belong to tls = true",
        ),
        (
            "[[peer]]\nname = 'p'\nae_title = 'P'\ndestination = { url = 'https://h/w', tls = true }\n",
            "a url says by itself whether it is TLS",
        ),
    ],
)
def test_a_mistake_is_answered_with_file_line_and_key(write: Any, text: str, said: str) -> None:
    file = write(text)
    with pytest.raises(SettingsError) as caught:
        load(file)
    assert str(file) in str(caught.value)
    assert said in str(caught.value)


def test_several_mistakes_are_said_at_once(write: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        load(write("[receive]\nquiet_second = 3\nport = -1\n[wrok]\nworkers = 1\n"))
    assert len(str(caught.value).splitlines()) == 3


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml: cannot be read: No such file or directory"):
        load(tmp_path / "nowhere.toml")


def test_the_command_line_wins_over_the_file_and_the_file_over_the_defaults(write: Any) -> None:
    settings = load(write("[receive]\nport = 104\nquiet_seconds = 5\n"), {"receive": {"port": 11113}})
    assert (settings.receive.port, settings.receive.quiet_seconds, settings.receive.associations) == (11113, 5, 50)


def test_the_environment_names_the_file(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANIMETER_CONFIG", str(write("[receive]\nport = 104\n")))
    assert load().receive.port == 104


def test_a_node_listens_to_all_only_when_it_knows_its_senders(write: Any) -> None:
    assert load().listen == "127.0.0.1"
    sender = "[[peer]]\nname = 'ct'\nae_title = 'CT'\naddress = '10.1.0.0/16'\nmay_send = true\n"
    assert load(write(sender)).listen == "0.0.0.0"


@pytest.mark.parametrize(
    ("window", "now", "wanted"),
    [
        ("", "03:00", 0),
        ("20:00-06:00", "21:00", 0),
        ("20:00-06:00", "05:59", 0),
        ("20:00-06:00", "06:00", 14 * 3600),
        ("20:00-06:00", "19:59", 60),
        ("01:00-05:00", "00:30", 1800),
        ("01:00-05:00", "05:00", 20 * 3600),
    ],
)
def test_the_window_of_training_is_by_the_clock_of_the_machine(window: str, now: str, wanted: float) -> None:
    section = load(None, {"learning": {"window": window}}).learning
    assert section.wait_seconds(time.fromisoformat(now)) == wanted


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("shares", [70, 10, 10], "they make 100 together"),
        ("shares", [0, 50, 50], "they make 100 together"),
        ("window", "20-06", "window"),
        ("window", "20:00-29:00", "no time of the day"),
        ("fewest_patients", 3, "fewest_patients"),
        ("automatic_patients", 11, "automatic_patients"),
        ("fraction", 1.0, "fraction"),
    ],
)
def test_wrong_settings_of_learning_are_refused_with_their_key(key: str, value: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=f"learning.*{said}|{said}"):
        load(None, {"learning": {key: value}})
