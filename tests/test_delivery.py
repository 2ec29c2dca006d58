"""Delivery: what each answer of a destination means, and a destination that is away."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    ImplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
    SegmentationStorage,
)

from db import away, job_orders
from db.job_states import Backoff, JobKind
from node.app import Node
from node.operations import control
from node.operations.status import overview
from node.outbound import scu
from node.outbound.statuses import Answer, meaning
from node.outbound.target import Target, Web
from tests.driving import jobs_of, only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.fake_stow import FakeStow
from tests.synthetic import as_files, small_series
from tests.waiting import wait_until

SEG, VOLUMES, DIAMETERS = ("SEG", "BINARY"), ("SR", "TID1411"), ("SR", "TID1501")
OLDER_VOLUMES, OLDER_DIAMETERS = ("SR", "TID1411-COMPREHENSIVE"), ("SR", "TID1501-COMPREHENSIVE")


def sent(node: Node) -> dict[tuple[str, str], dict[str, Any]]:
    """The deliveries by kind and options; there must be a SEG and two reports, each once."""
    listed = overview(node.database)["deliveries"]
    found = {(one["kind"], one["options"]): one for one in listed}
    assert len(found) == len(listed) == 3
    return found


def deliver_job(node: Node) -> dict[str, Any]:
    (job,) = jobs_of(node, JobKind.DELIVER)
    return job


def look_again(node: Node) -> None:
    """As if the wait for a destination that is away were over."""
    with node.database.write() as tx:
        job_orders.due_in(tx, JobKind.DELIVER, "", 0)
        tx.exec_driver_sql("UPDATE outage SET retry_after = 0")


def work_off_until(node: Node, state: str) -> None:
    def there() -> bool:
        work_off(node)
        return only_study(node)["state"] == state

    wait_until(f"the study is {state}", there)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (0x0000, Answer.DELIVERED),
        (0xB000, Answer.DELIVERED),
        (0xB006, Answer.DELIVERED),
        (0xB007, Answer.DELIVERED),
        (0x0111, Answer.DELIVERED),
        (0xA700, Answer.LATER),
        (0xA701, Answer.RETRY),
        (0xA770, Answer.DEAD),
        (0xA771, Answer.DEAD),
        (0xA777, Answer.DEAD),
        (0xA778, Answer.DEAD),
        (0xA7FF, Answer.RETRY),
        (0x0110, Answer.RETRY),
        (0x0213, Answer.LATER),
        (0xA900, Answer.DEAD),
        (0xA9FF, Answer.DEAD),
        (0xC000, Answer.DEAD),
        (0xCFFF, Answer.DEAD),
        (0x0122, Answer.DEAD),
        (0x0124, Answer.DEAD),
    ],
)
def test_what_a_status_means(status: int, answer: Answer) -> None:
    assert meaning(status)[0] is answer
    if status:
        assert f"{status:04X}" in meaning(status)[1]


@pytest.mark.parametrize(
    ("status", "answer"), [(0xA770, Answer.DELIVERED), (0xA774, Answer.DELIVERED), (0xA772, Answer.DEAD)]
)
def test_a_rejection_note_that_is_there_already_is_delivered(status: int, answer: Answer) -> None:
    assert meaning(status, KeyObjectSelectionDocumentStorage)[0] is answer


@pytest.mark.parametrize("status", [0xB000, 0x0111])
def test_a_warning_and_a_duplicate_are_delivered_and_shown(node: Node, pacs: FakePacs, status: int) -> None:
    pacs.statuses = [status]
    take_in(node, small_series())
    work_off(node)
    assert {one["state"] for one in sent(node).values()} == {"delivered"}
    assert f"0x{status:04X}" in sent(node)[SEG]["reason"]
    assert sent(node)[VOLUMES]["reason"] is sent(node)[DIAMETERS]["reason"] is None


@pytest.mark.parametrize("status", [0xA700, 0x0110, 0x0213])
def test_a_passing_failure_is_tried_again_for_that_object_alone(node: Node, pacs: FakePacs, status: int) -> None:
    pacs.statuses = [status]
    take_in(node, small_series())
    work_off_until(node, "done")
    assert {form: one["attempts"] for form, one in sent(node).items()} == {SEG: 2, VOLUMES: 1, DIAMETERS: 1}
    assert set(pacs.calls.values()) == {1}


def _only_the_segmentation_is_dead(node: Node) -> None:
    states = {form: one["state"] for form, one in sent(node).items()}
    assert states == {SEG: "dead", VOLUMES: "delivered", DIAMETERS: "delivered"}
    assert only_study(node)["state"] == "failed"


@pytest.mark.parametrize("status", [0xA900, 0xA778, 0xC001, 0x0122, 0x0124])
def test_a_lasting_failure_is_a_dead_letter_of_that_object_alone(node: Node, pacs: FakePacs, status: int) -> None:
    pacs.statuses = [status]
    take_in(node, small_series())
    work_off(node)
    _only_the_segmentation_is_dead(node)
    assert f"0x{status:04X}" in sent(node)[SEG]["reason"]
    assert deliver_job(node)["state"] == "dead"


def test_a_dead_letter_is_sent_when_a_person_says_so(node: Node, pacs: FakePacs) -> None:
    pacs.statuses = [0xC000]
    take_in(node, small_series())
    work_off(node)
    control.retry(node.database, deliver_job(node)["id"])
    work_off(node)
    assert {one["state"] for one in sent(node).values()} == {"delivered"}
    assert set(pacs.calls.values()) == {1}
    assert only_study(node)["state"] == "done"


def test_a_refused_class_is_a_dead_letter_and_the_rest_goes(node: Node, pacs: FakePacs) -> None:
    pacs.refuse = {SegmentationStorage}
    take_in(node, small_series())
    work_off(node)
    _only_the_segmentation_is_dead(node)
    assert "does not accept Segmentation" in sent(node)[SEG]["reason"]


def test_where_comprehensive_3d_sr_is_refused_comprehensive_sr_goes_instead(node: Node, pacs: FakePacs) -> None:
    pacs.refuse = {Comprehensive3DSRStorage}
    take_in(node, small_series())
    work_off(node)
    assert set(sent(node)) == {SEG, OLDER_VOLUMES, OLDER_DIAMETERS}
    assert {one["state"] for one in sent(node).values()} == {"delivered"}
    assert [ds.SOPClassUID for ds in pacs.of_modality("SR")] == [ComprehensiveSRStorage] * 2
    assert set(pacs.calls.values()) == {1}
    assert only_study(node)["state"] == "done"


@pytest.mark.parametrize(
    ("status", "answer", "falls_back"),
    [
        (400, b"", False),
        (409, b"", False),
        (409, b'{"00081198": {"vr": "SQ", "Value": [{}]}}', False),
        (413, b"", False),
        (415, b"", True),
    ],
)
def test_a_web_server_gets_another_form_only_where_it_says_that_it_does_not_take_the_first(
    node: Node, status: int, answer: bytes, falls_back: bool
) -> None:
    with FakeStow() as server:
        node.targets["pacs"] = dataclasses.replace(node.targets["pacs"], web=Web(server.url))
        server.status, server.answer = status, ("application/dicom+json", answer)
        take_in(node, small_series())
        work_off(node)
        forms = {OLDER_VOLUMES, OLDER_DIAMETERS} if falls_back else {VOLUMES, DIAMETERS}
        assert {form: one["state"] for form, one in sent(node).items()} == dict.fromkeys({SEG, *forms}, "dead")


def test_where_both_classes_of_a_report_are_refused_it_is_a_dead_letter(node: Node, pacs: FakePacs) -> None:
    pacs.refuse = {Comprehensive3DSRStorage, ComprehensiveSRStorage}
    take_in(node, small_series())
    work_off(node)
    assert {form: one["state"] for form, one in sent(node).items()} == {
        SEG: "delivered",
        OLDER_VOLUMES: "dead",
        OLDER_DIAMETERS: "dead",
    }
    for form in (OLDER_VOLUMES, OLDER_DIAMETERS):
        assert "does not accept Comprehensive SR" in sent(node)[form]["reason"]
    assert deliver_job(node)["state"] == "dead"
    assert only_study(node)["state"] == "failed"


def test_a_pacs_that_takes_none_of_it_is_not_taken_for_one_that_is_away(node: Node, pacs: FakePacs) -> None:
    pacs.refuse = {Comprehensive3DSRStorage, ComprehensiveSRStorage, SegmentationStorage}
    take_in(node, small_series())
    work_off(node)
    assert {one["state"] for one in sent(node).values()} == {"dead"}
    assert only_study(node)["state"] == "failed"


def test_a_pacs_that_knows_only_implicit_vr_gets_it(node: Node, pacs: FakePacs) -> None:
    pacs.stop()
    pacs.syntaxes = [ImplicitVRLittleEndian]
    pacs.start()
    take_in(node, small_series())
    work_off(node)
    assert {one["state"] for one in sent(node).values()} == {"delivered"}
    assert {ds.file_meta.TransferSyntaxUID for ds in pacs.objects} == {ImplicitVRLittleEndian}


def test_an_abort_is_tried_again(node: Node, pacs: FakePacs) -> None:
    pacs.abort_next = 1
    take_in(node, small_series())
    work_off_until(node, "done")
    assert set(pacs.calls.values()) == {1}
    assert len(pacs.calls) == 3


def test_a_pacs_that_answers_when_nobody_waits_any_more_is_asked_again(node: Node, pacs: FakePacs) -> None:
    once = dataclasses.replace(node.send, unreachable_retry_seconds=600, backoff=Backoff(600, 600))
    hasty = dataclasses.replace(node, send=dataclasses.replace(once, timeout_seconds=5))
    pacs.late_next = 1
    take_in(node, small_series())

    def holds_it() -> bool:
        work_off(hasty)
        look_again(node)
        return not pacs.late_next

    wait_until("the PACS has it, and does not say so", holds_it)
    work_off_until(node, "done")
    pacs.late.set()
    with node.database.read() as tx:
        (said,) = tx.exec_driver_sql("SELECT sentence FROM attempt WHERE code = 'not-delivered'").scalars()
    assert said == "the destination aborted or did not answer in time"
    assert {form: one["attempts"] for form, one in sent(node).items()} == {SEG: 2, VOLUMES: 2, DIAMETERS: 2}
    assert sorted(pacs.calls.values()) == [1, 1, 2]
    first, again = pacs.of_modality("SEG")
    assert first == again


@pytest.mark.parametrize("status", [0x0110, 0xA7F0])
def test_attempts_are_bounded_and_then_the_object_is_dead(node: Node, pacs: FakePacs, status: int) -> None:
    pacs.statuses = [status] * 100
    take_in(node, small_series())
    work_off_until(node, "failed")
    assert deliver_job(node)["attempts"] == node.send.attempts
    assert {(one["state"], one["attempts"]) for one in sent(node).values()} == {("dead", node.send.attempts)}
    assert f"0x{status:04X}" in only_study(node)["reason"]


def test_each_object_says_why_it_is_dead(node: Node, pacs: FakePacs) -> None:
    pacs.statuses = [0x0110, 0x0112, 0x0131] * 100
    take_in(node, small_series())
    work_off_until(node, "failed")
    assert {one["reason"][:6] for one in sent(node).values()} == {"0x0110", "0x0112", "0x0131"}


@pytest.mark.parametrize("status", [0xA700, 0x0213])
def test_a_pacs_without_room_uses_up_no_attempt_however_long_it_has_none(
    node: Node, pacs: FakePacs, status: int
) -> None:
    pacs.statuses = [status] * 3 * (node.send.attempts + 2)
    take_in(node, small_series())
    work_off_until(node, "done")
    assert {one["attempts"] for one in sent(node).values()} == {node.send.attempts + 3}
    assert deliver_job(node)["attempts"] == 1
    assert set(pacs.calls.values()) == {1}


def test_a_pacs_that_ends_the_association_since_it_has_no_room_uses_up_no_attempt(node: Node, pacs: FakePacs) -> None:
    pacs.statuses = [0xA700, None] * (node.send.attempts + 2)
    take_in(node, small_series())
    work_off_until(node, "done")
    assert deliver_job(node)["attempts"] == 1


@pytest.mark.parametrize("answer", [0xA700, None], ids=["full", "silent"])
def test_a_pacs_that_takes_nothing_is_not_tried_for_every_study(node: Node, pacs: FakePacs, answer: int | None) -> None:
    node = dataclasses.replace(node, send=dataclasses.replace(node.send, unreachable_retry_seconds=600))
    plenty = 100
    pacs.statuses = [answer] * plenty
    for number in range(3):
        take_in(node, small_series(patient_id=f"P{number}"))
    work_off(node)
    assert plenty - len(pacs.statuses) == (3 if answer else 1), "one study was tried"
    with node.database.read() as tx:
        (outage,) = away.listing(tx)
    assert outage["failures"] == 1
    pacs.statuses = []
    look_again(node)
    wait_until("everything was delivered", lambda: bool(work_off(node)) or len(pacs.calls) == 9)


def test_one_study_for_which_a_pacs_has_no_room_is_not_in_the_way_of_the_others(node: Node, pacs: FakePacs) -> None:
    large = small_series()
    pacs.full_for = {str(large[0].StudyInstanceUID)}
    take_in(node, large)
    work_off(node)
    patient = dataclasses.replace(node.send, backoff=Backoff(600, 600))
    work_off_until(dataclasses.replace(node, send=patient), "sending")
    for number in range(3):
        take_in(node, small_series(patient_id=f"P{number}"))

    def others_are_done() -> bool:
        work_off(node)
        return sum(study["state"] == "done" for study in overview(node.database)["studies"]) == 3

    wait_until("the others are done", others_are_done)
    assert len(pacs.calls) == 9


def test_who_has_nothing_to_send_says_nothing_of_the_pacs(node: Node, pacs: FakePacs) -> None:
    pacs.stop()
    take_in(node, small_series())
    work_off(node)
    with node.database.write() as tx:
        tx.exec_driver_sql("UPDATE delivery SET state = 'superseded'")
    look_again(node)
    work_off(node)
    assert deliver_job(node)["state"] == "done"
    with node.database.read() as tx:
        assert [one["destination"] for one in away.listing(tx)] == ["pacs"]


def test_where_one_object_has_no_room_and_another_fails_attempts_are_counted(node: Node, pacs: FakePacs) -> None:
    pacs.statuses = [0xA700, 0x0110] * 100
    take_in(node, small_series())
    work_off_until(node, "failed")
    assert deliver_job(node)["attempts"] == node.send.attempts


def test_a_pacs_that_is_away_uses_up_no_attempt_and_gets_everything_when_it_is_back(node: Node, pacs: FakePacs) -> None:
    patient = dataclasses.replace(node.send, unreachable_retry_seconds=600)
    node = dataclasses.replace(node, send=patient)
    pacs.stop()
    take_in(node, small_series())
    for _ in range(3):
        work_off(node)
        look_again(node)
    assert only_study(node)["state"] == "sending"
    assert deliver_job(node)["attempts"] == 0
    assert {one["attempts"] for one in sent(node).values()} == {0}
    assert "cannot be reached" in sent(node)[SEG]["reason"]
    with node.database.read() as tx:
        (outage,) = away.listing(tx)
    assert outage["failures"] == 3
    pacs.start()
    work_off_until(node, "done")
    assert set(pacs.calls.values()) == {1}
    with node.database.read() as tx:
        assert away.listing(tx) == []


def test_a_pacs_that_rejects_us_is_waited_for_and_says_why(node: Node, pacs: FakePacs) -> None:
    pacs.reject = True
    take_in(node, small_series())
    work_off(node)
    assert "Called AE title not recognised" in sent(node)[SEG]["reason"]
    assert deliver_job(node)["attempts"] == 0
    pacs.reject = False
    work_off_until(node, "done")


def test_while_it_is_away_a_pacs_is_not_tried_for_every_study(node: Node, pacs: FakePacs) -> None:
    node = dataclasses.replace(node, send=dataclasses.replace(node.send, unreachable_retry_seconds=600))
    pacs.stop()
    for number in range(3):
        take_in(node, small_series(patient_id=f"P{number}"))
    work_off(node)
    with node.database.read() as tx:
        (outage,) = away.listing(tx)
    assert outage["failures"] == 1
    pacs.start()
    look_again(node)

    def all_done() -> bool:
        work_off(node)
        return {study["state"] for study in overview(node.database)["studies"]} == {"done"}

    wait_until("everything was delivered", all_done)
    assert len(pacs.calls) == 9


def test_a_destination_that_left_the_configuration_is_said(node: Node, pacs: FakePacs) -> None:
    take_in(node, small_series())
    work_off(node, JobKind.CHOOSE, JobKind.SEGMENT)
    targets = dict(node.targets)
    node.targets.clear()
    work_off(node)
    assert {one["state"] for one in sent(node).values()} == {"dead"}
    assert "no peer" in sent(node)[SEG]["reason"]
    node.targets.update(targets)
    control.retry(node.database, deliver_job(node)["id"])
    work_off(node)
    assert {one["state"] for one in sent(node).values()} == {"delivered"}


def test_a_destination_that_is_none_any_more_is_not_said_to_be_away(node: Node, pacs: FakePacs) -> None:
    pacs.stop()
    take_in(node, small_series())
    work_off(node)

    def those_away() -> list[str]:
        with node.database.read() as tx:
            return [row["destination"] for row in away.listing(tx)]

    assert those_away() == ["pacs"]
    del node.targets["pacs"]
    look_again(node)
    work_off(node)
    assert deliver_job(node)["state"] == "refused"
    assert those_away() == []


@pytest.mark.parametrize("is_large", [False, True])
def test_a_large_object_is_given_the_time_that_a_slow_line_takes(
    pacs: FakePacs, tmp_path: Path, is_large: bool
) -> None:
    image = small_series()[0]
    if is_large:
        image.Rows = image.Columns = 2048
        image.PixelData = bytes(2 * image.Rows * image.Columns)
    (file,) = as_files([image], tmp_path)
    pacs.late_next = 1
    target = Target("pacs", pacs.ae_title, "127.0.0.1", pacs.port)
    with scu.connect(target, "PLANIMETER", [parcel := scu.Parcel(file, str(image.SOPClassUID))], 60) as sender:
        sender._answer_seconds = 0.5
        if is_large:
            threading.Timer(2, pacs.late.set).start()
        receipt = sender.send(parcel)
    assert receipt.answer is (Answer.DELIVERED if is_large else Answer.RETRY)
