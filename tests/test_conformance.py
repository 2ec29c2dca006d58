"""docs/conformance.md is true: of the code, of a running receiver, of what is proposed, and of written objects."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import tempfile
from collections.abc import Iterable, Iterator
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    PrivateTransferSyntaxes,
)
from pynetdicom import AE, AllStoragePresentationContexts, build_context, evt
from pynetdicom.sop_class import (
    ModalityWorklistInformationFind,
    PatientRootQueryRetrieveInformationModelFind,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from config.defaults import defaults
from node import cli
from node.app import Node
from node.errors import NodeError
from node.inbound.peers import Doorkeeper, KnownPeer
from node.objects import notice, rejection
from node.objects.forms import Form
from node.objects.rejection import Title
from node.objects.results import make
from node.objects.written import WRITTEN
from node.operations.conformance.contents import OBJECTS, attributes_of
from node.operations.conformance.statement import statement
from node.operations.doctor.examination import examine
from node.outbound import commitment, find, scu
from node.outbound.scu import Parcel
from node.outbound.target import Target
from node.receiver import Receiver
from node.study import volume
from node.study.decode import Decoders
from tests import runs
from tests.doors import door
from tests.prompt import PromptAE
from tests.synthetic import as_files, small_series
from tests.test_uncertainty_map import with_map

PAGE = Path(__file__).parents[1] / "docs" / "conformance.md"
TEXT = PAGE.read_text()
Pairs = set[tuple[str, str]]

FORMS = {
    "Segmentation (SEG)": [Form("SEG", "BINARY"), Form("SEG", "BINARY-MARKED")],
    "Label Map Segmentation (SEG)": [Form("SEG", "LABELMAP")],
    "Comprehensive 3D SR and Comprehensive SR (SR)": [
        Form("SR", "TID1411"),
        Form("SR", "TID1501"),
        Form("SR", "TID1411-LABELMAP"),
        Form("SR", "TID1411-COMPREHENSIVE"),
    ],
    "Secondary Capture Image (SC)": [Form("SC", "KEY01"), Form("SC", "KEY02")],
    "Encapsulated PDF (PDF)": [Form("PDF", "REPORT")],
    "RT Structure Set (RTSTRUCT)": [Form("RTSTRUCT", "CONTOURS")],
    "Encapsulated STL (STL)": [Form("STL", "SEGMENT1")],
    "Parametric Map (PM)": [Form("PM", "ENTROPY")],
}


def part(heading: str) -> str:
    """A section of the page, with those below it."""
    level, _ = heading.split(" ", 1)
    begun = TEXT.split(f"\n{heading}\n")[1]
    return re.split(rf"^#{{1,{len(level)}}} ", begun, flags=re.MULTILINE)[0]


def table(text: str, column: str) -> list[list[str]]:
    """The rows of the first table that has such a column."""
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, _, *rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in block.splitlines()]
        if column in [cell.strip() for cell in head]:
            return rows
    raise AssertionError(f"no table with {column!r}")


NAMED = {name: uid for uid, name in ((str(one), UID(one).name) for one in AllTransferSyntaxes)}


def pairs(rows: Iterable[list[str]]) -> Pairs:
    """SOP class and transfer syntax, from rows of: name, UID, names of transfer syntaxes."""
    return {(row[1].strip("` "), NAMED[name]) for row in rows for name in re.split(r", (?=[A-Z])", row[2])}


# -------------------------------------------------------------------- the code


def test_the_page_is_what_the_program_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["conformance"]) == 0
    assert capsys.readouterr().out == TEXT, "planimeter conformance > docs/conformance.md"


def test_another_program_would_print_another_page() -> None:
    assert statement(defaults()) == TEXT
    assert statement(defaults() | {"receive.port": 104}) != TEXT


# ------------------------------------------------------------ a running receiver


@pytest.fixture
def port(node: Node, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A receiver that knows a scanner, and a PACS that may only report."""
    monkeypatch.setattr(tempfile, "tempdir", None)  # a receiver sets it for its whole process
    here = ipaddress.ip_network("127.0.0.0/8")
    peers = (
        KnownPeer("ct", "CT1", here, may_send=True, may_send_labels=False),
        KnownPeer("pacs", "PACS", here, may_send=False, may_send_labels=False, commitment_host="127.0.0.1"),
    )
    usual = door(idle_seconds=30, max_pdu_bytes=int(defaults()["receive.max_pdu_bytes"]))
    receiver = Receiver(usual, Doorkeeper(peers), node.inbox, node.database)
    yield receiver.start()
    receiver.stop()


def accepted(port: int, ae_title: str, wanted: Iterable[tuple[str, str]]) -> Pairs:
    """Which SOP classes and transfer syntaxes are accepted, each proposed in a context of its own."""
    left, found = sorted(wanted), set()
    while left:
        some, left = left[:128], left[128:]
        ae = AE(ae_title)
        ae.acse_timeout = ae.network_timeout = 30
        assoc = ae.associate("127.0.0.1", port, [build_context(*one) for one in some], ae_title="PLANIMETER")
        assert assoc.is_established or assoc.rejected_contexts
        found |= {(str(one.abstract_syntax), str(one.transfer_syntax[0])) for one in assoc.accepted_contexts}
        assert not assoc.accepted_contexts or assoc.acceptor.maximum_length == int(defaults()["receive.max_pdu_bytes"])
        if assoc.is_established:
            assoc.release()
    return found


STORAGE = part("#### C-STORE")
TAKEN_CLASSES = {row[1].strip("`") for row in table(STORAGE, "what becomes of it")}
TAKEN_SYNTAXES = [row[1].strip("`") for row in table(STORAGE, "transfer syntax")]
OTHERS = pairs(table(part("#### C-ECHO, and reports on storage commitment"), "transfer syntaxes"))
#: what a peer might propose beside the page's own
STRANGE = {
    str(one)
    for one in (
        PatientRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelMove,
        ModalityWorklistInformationFind,
        "1.2.840.10008.5.1.4.1.1.9999",
        "1.2.3.4.5",
    )
}


def test_a_running_receiver_accepts_what_the_page_says_and_nothing_else(port: int) -> None:
    every = {str(one.abstract_syntax) for one in AllStoragePresentationContexts} | {
        str(Verification),
        str(StorageCommitmentPushModel),
    }
    # all classes in one syntax, and one class in all syntaxes; then the page's own, which is the product of both
    syntaxes = {str(one) for one in (*AllTransferSyntaxes, *PrivateTransferSyntaxes)} | {"1.2.3.4"}
    proposed = {(one, str(ExplicitVRLittleEndian)) for one in every | STRANGE | TAKEN_CLASSES}
    proposed |= {(one, syntax) for one in (str(CTImageStorage), *dict(OTHERS)) for syntax in syntaxes}
    said = {(one, syntax) for one in TAKEN_CLASSES for syntax in TAKEN_SYNTAXES}
    proposed |= set(sorted(said)[::7])
    reports = {(one, syntax) for one, syntax in OTHERS if one == StorageCommitmentPushModel}
    assert accepted(port, "CT1", proposed) == proposed & (said | OTHERS - reports)
    assert accepted(port, "PACS", proposed) == proposed & OTHERS


def test_of_several_transfer_syntaxes_the_first_of_the_page_is_accepted(port: int) -> None:
    ae = AE("CT1")
    for first in range(0, len(TAKEN_SYNTAXES), 3):
        ae.add_requested_context(CTImageStorage, list(reversed(TAKEN_SYNTAXES[first:])))
        assoc = ae.associate("127.0.0.1", port, ae_title="ANYTHING")
        (context,) = assoc.accepted_contexts
        assert context.transfer_syntax == [TAKEN_SYNTAXES[first]]
        assoc.release()
        ae.requested_contexts = []


def test_nothing_is_taken_deflated() -> None:
    assert DeflatedExplicitVRLittleEndian not in {*TAKEN_SYNTAXES, *(syntax for _, syntax in OTHERS)}


# ------------------------------------------------------------------- proposals


@pytest.fixture
def listening() -> Iterator[tuple[Target, Pairs]]:
    """A peer that takes nothing, and notes what it was proposed."""
    heard: Pairs = set()

    def requested(event: Any) -> None:
        for context in event.assoc.requestor.primitive.presentation_context_definition_list:
            heard.update((str(context.abstract_syntax), str(syntax)) for syntax in context.transfer_syntax)

    ae = PromptAE("PACS")
    for context in (*AllStoragePresentationContexts, build_context(Verification)):
        ae.add_supported_context(context.abstract_syntax)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_REQUESTED, requested)])
    yield Target("pacs", "PACS", "127.0.0.1", int(server.server_address[1])), heard
    ae.shutdown()


def test_what_is_proposed_is_what_the_page_says(listening: tuple[Target, Pairs], node: Node) -> None:
    target, heard = listening
    parcels = [Parcel(PAGE, str(one.sop_class), one.transfer_syntax) for one in WRITTEN]
    with scu.connect(target, "PLANIMETER", parcels, 60):
        pass
    assert heard == pairs(table(part("### SENDER"), "transfer syntaxes proposed"))
    said = pairs(table(part("### COMMITTER, FETCHER and DOCTOR"), "transfer syntaxes proposed"))
    heard.clear()
    scu.echo(target, "PLANIMETER", 60)
    with pytest.raises(NodeError):
        find.found(target, "PLANIMETER", [], 60)
    with pytest.raises(NodeError), commitment.connect(target, "PLANIMETER", node.database, 60):
        pass
    assert heard < said
    examine(target, "PLANIMETER", 60, None, date(2026, 11, 22))
    images = {(str(CTImageStorage), str(ExplicitVRLittleEndian))}  # which C-GET would bring
    assert heard == said | pairs(table(part("### SENDER"), "transfer syntaxes proposed")) | images


# -------------------------------------------------------------- written objects


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[Dataset]]]:
    """Objects of every kind, as they are kept."""
    pool = Decoders(1)
    folder = tmp_path_factory.mktemp("written")
    built = volume.build(as_files(small_series(), folder), pool)
    labels = np.zeros(built.geometry.shape, np.uint8)
    labels[2:5, 4:9, 3:20], labels[4:7, 12:15, 5:11] = 1, 2
    run = runs.run_of(built, labels, runs.provenance_of(built, labels, content_time=1_800_000_000.0))
    run = dataclasses.replace(run, entropy=with_map(built).entropy)
    found = {heading: [dcmread(BytesIO(one.data)) for one in make(run, forms)] for heading, forms in FORMS.items()}
    seg = folder / "seg.dcm"
    found["Segmentation (SEG)"][0].save_as(seg, enforce_file_format=True)
    given = dict(node_version="1", node_serial="2", uid_root="", content_time=1_800_000_000.0)
    found["Key Object Selection Document (`rejection_notes`)"] = [
        rejection.note([seg], title, "pacs", **given)  # type: ignore[arg-type]
        for title in Title
    ]
    found["Enhanced SR (`refusals`)"] = [notice.notice(run.sources[0], "not read", run.provenance)]
    yield found
    built.close()
    pool.close()


def test_every_kind_of_object_is_of_a_class_and_syntax_that_is_listed(written: dict[str, list[Dataset]]) -> None:
    seen = {
        (str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID)) for objects in written.values() for ds in objects
    }
    assert seen == {(str(one.sop_class), str(one.transfer_syntax)) for one in WRITTEN}
    listed = re.findall(r"^### (.*)$", part("## Contents of the objects that are created"), re.MULTILINE)
    assert listed == ["In every object", *OBJECTS]
    assert written.keys() == OBJECTS.keys()


@pytest.mark.parametrize("heading", OBJECTS)
def test_objects_have_the_attributes_that_the_page_lists(heading: str, written: dict[str, list[Dataset]]) -> None:
    for ds in written[heading]:
        assert faults(heading, ds) == []


def faults(heading: str, ds: Dataset) -> list[str]:
    """Where an object is not as the page says."""
    listed = attributes_of(heading)
    known = {keyword for one in listed for keyword in one.keywords}
    found = [f"{one.keyword or one.tag} is not listed" for one in ds if one.keyword not in known]
    for one in listed:
        for keyword in one.keywords:
            if one.always and keyword not in ds:
                found.append(f"{keyword} is not there")
            elif one.value and _text(ds[keyword].value) != one.value:
                found.append(f"{keyword} is {ds[keyword].value}")
    return found


def _text(value: Any) -> str:
    return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)


def test_an_attribute_more_less_or_other_is_noticed(written: dict[str, list[Dataset]]) -> None:
    heading = "Segmentation (SEG)"
    ds = dcmread(BytesIO(_bytes(written[heading][0])))
    ds.PatientAddress = "a street"
    del ds.SegmentsOverlap
    ds.SegmentationType = "FRACTIONAL"
    assert faults(heading, ds) == [
        "PatientAddress is not listed",
        "SegmentsOverlap is not there",
        "SegmentationType is FRACTIONAL",
    ]


def _bytes(ds: Dataset) -> bytes:
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
