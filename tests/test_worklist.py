"""The work list: what speaks against a result comes first, and one in twenty comes whatever it is like."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, expect

from db import events, shadows, trials
from db.accounts import Role
from db.database import Database, clock
from db.tables import label, patient, result
from node.app import Node
from node.cli import main
from node.errors import Refused
from node.learning.buckets import Key
from node.operations import worklist
from tests.pages import HOSTILE, HOSTILE_SHORT, Site, open_pages, serving
from tests.watched import DAY, SENTENCES, Ward

KEY = Key(b"k" * 32)


def classes(_network: str) -> dict[int, str]:
    return {1: "Left lung"}


def reasons(database: Database) -> dict[int, tuple[str, ...]]:
    found = worklist.worklist(database, KEY, classes)
    return {one.input_set_id: one.reasons for one in (*found.ranked, *found.sample)}


def plain_segments(volume_ml: float = 2000.0, **more: Any) -> list[dict[str, Any]]:
    return [{"value": 1, "volume_ml": volume_ml, **more}]


def test_what_speaks_against_a_result_is_said_and_ranks_it(database: Database) -> None:
    with database.write() as tx:
        now, ward = clock(tx), Ward(tx)
        ward.live()
        ward.read(now, segments=plain_segments())
        unsure = ward.read(now, segments=plain_segments(entropy=0.3))
        both = ward.read(now, segments=plain_segments(entropy=0.3), flags=["touches-edge"])
        doubted = ward.read(now, segments=plain_segments())
        shadows.record(
            tx,
            input_set_id=doubted,
            model_version_id=ward.version,
            champion_id=ward.version,
            mask_path="x",
            agreement={"1": {"dice": 0.2, "champion_ml": 1.0, "candidate_ml": 4.0}, "2": {"dice": None}},
            seconds=1.0,
        )
        first = ward.read(now - DAY, segments=plain_segments(1000.0))
        person = tx.execute(sa.text(f"SELECT patient_id FROM study WHERE id = {first}")).scalar_one()
        tx.execute(sa.text(f"UPDATE measurement SET study_date = '20250101' WHERE input_set_id = {first}"))
        grown = ward.read(now, segments=plain_segments(4000.0), person=person)
    found = worklist.worklist(database, KEY, classes)
    assert found.waiting == (len(found.sample), len(found.ranked))
    scores = {one.input_set_id: one.score for one in (*found.ranked, *found.sample)}
    assert [scores.get(one) for one in (doubted, grown, both, unsure)] == [0.8, 0.75, 0.58, 0.3]
    ranked = [one.score for one in found.ranked]
    assert ranked == sorted(ranked, reverse=True)
    said = reasons(database)
    assert said[doubted] == ("a candidate disagrees on Left lung: Dice 0.20",)
    assert said[grown] == ("Left lung changed since 20250101: 1000 to 4000 ml",)
    assert said[both] == (SENTENCES["touches-edge"], "unsure of Left lung: mean entropy 0.30")


def test_what_came_back_a_trial_and_what_was_looked_at_wait_no_more(database: Database) -> None:
    with database.write() as tx:
        now, ward = clock(tx), Ward(tx)
        ward.live()
        waits, back, looked, *_others = (
            ward.read(at, segments=plain_segments(entropy=0.5), study_uid=uid)
            for at, uid in ((now, ""), (now, ""), (now, ""), (now, "2.25.77"), (now - 40 * DAY, ""))
        )
        ward.comes_back(back, now)
        trials.begin(tx, "2.25.77", "ct_lungs", "physicist")
    assert "agreed" in worklist.mark(database, looked, "agreed", "reader")
    assert set(reasons(database)) == {waits}
    found = worklist.worklist(database, KEY, classes)
    assert [(row["input_set_id"], row["who"], row["said"]) for row in found.looked_at] == [(looked, "reader", "agreed")]
    with pytest.raises(Refused, match="agreed or corrected"):
        worklist.mark(database, waits, "perhaps", "reader")
    for wrong in ((999, None), (waits, "another run")):
        with pytest.raises(Refused, match="no result"):
            worklist.mark(database, wrong[0], "agreed", "reader", wrong[1])


def test_one_in_twenty_is_sampled_and_nobody_without_the_key_knows_which() -> None:
    runs = [f"{n:064x}" for n in range(20_000)]
    mine, other = ({run for run in runs if worklist.is_sampled(key, run)} for key in (KEY, Key(b"o" * 32)))
    assert 900 < len(mine) < 1100  # 1000, and five times its standard deviation is less than 100 * 1.6
    assert mine == {run for run in runs if worklist.is_sampled(KEY, run)}
    assert len(mine & other) < 100


def test_the_sample_says_how_often_results_are_right_and_corrections_that_came_by_themselves_count(
    database: Database,
) -> None:
    with database.write() as tx:
        now, ward = clock(tx), Ward(tx)
        ward.live()
        made = {ward.read(now, segments=plain_segments()): f"{n:064x}" for n in range(1, 301)}
        sampled = [one for one, run in made.items() if worklist.is_sampled(KEY, run)]
        corrected, *marked = sampled
        draft = tx.execute(sa.select(result.c.id).where(result.c.input_set_id == corrected)).scalar_one()
        ward.comes_back(corrected, now, draft_id=draft)
    assert len(sampled) > 5
    for one in marked:
        worklist.mark(database, one, "agreed", "reader")
    worklist.mark(
        database, next(one for one in made if one not in sampled), "corrected", "reader"
    )  # ranked: no part of it
    found = worklist.worklist(database, KEY, classes).audited["ct_lungs"]
    assert (found.looked_at, found.agreed) == (len(sampled), len(marked))
    assert found.lower < len(marked) / len(sampled) < found.upper


@pytest.mark.parametrize(
    ("right", "number", "wanted"), [(0, 10, (0, 0.2775)), (10, 10, (0.7225, 1)), (81, 263, (0.2553, 0.3662))]
)
def test_the_interval_is_wilsons(right: int, number: int, wanted: tuple[float, float]) -> None:
    assert worklist.wilson(right, number) == pytest.approx(wanted, abs=2e-4)


# ------------------------------------------------------------------- pages


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Node]:
    opened = open_pages(tmp_path_factory.mktemp("worklist") / "home", migrated)
    with opened.database.write() as tx:
        now, ward = clock(tx), Ward(tx)
        ward.live()
        for n in range(60):
            ward.read(
                now - n * 3600, segments=plain_segments(entropy=round(0.01 * (n % 30), 2)), flags=["low"] * (n % 7 == 0)
            )
        tx.execute(sa.update(patient).values(patient_id=sa.literal(HOSTILE_SHORT) + sa.cast(patient.c.id, sa.Text)))
        bad = ward.read(now)
        quarantined = {"state": "quarantined", "code": "label-unmapped", "sentence": f"{HOSTILE} is no class of it"}
        structures = [{"number": 1, "name": HOSTILE, "value": None}, {"number": 2, "name": "GTV Mass", "value": None}]
        ward.comes_back(bad, now, structures=structures, author=HOSTILE, **quarantined)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def site(node: Node) -> Iterator[Site]:
    with serving(node) as served:
        yield served


def test_a_radiologist_marks_what_was_looked_at(site: Site, node: Node, browser: Browser) -> None:
    page = site.page(browser, Role.OPERATOR)
    page.goto("/worklist")
    ranked = page.get_by_role("region", name="Ranked").locator("tbody tr")
    assert "It is low" in ranked.nth(0).inner_text()
    assert "•••" in ranked.nth(0).inner_text()  # no patient is shown unasked
    name = ranked.nth(0).get_by_role("link").inner_text().split(", result ")[1]
    page.get_by_role("button", name=f"Agreed: result {name}").click()
    assert (
        f"result {name} was looked at by {site.account(Role.OPERATOR)}: agreed" in page.locator(".flash").inner_text()
    )
    expect(page.get_by_role("region", name="Looked at").get_by_text(f"result {name}")).to_have_count(1)
    expect(page.get_by_role("button", name=f"Agreed: result {name}")).to_have_count(0)
    page.close()


def test_a_quarantined_label_is_mapped_or_rejected_and_its_names_are_text(
    site: Site, node: Node, browser: Browser
) -> None:
    page = site.page(browser, Role.OPERATOR)
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto("/labels")
    page.get_by_role("link", name="1 quarantined").click()
    expect(page.get_by_role("region", name="Labels")).to_contain_text("<script>", use_inner_text=True)
    page.locator("tbody th a").click()
    page.get_by_label("GTV Mass (#2)").select_option("1")
    page.get_by_role("button", name="Map and read again").click()
    expect(page.locator(".flash")).to_contain_text("#2 is Left lung", use_inner_text=True)
    page.get_by_role("button", name="Map and read again").click()
    expect(page.locator(".flash")).to_contain_text("no structure was said", use_inner_text=True)
    page.get_by_label("Reason").fill("drawn on another phase")
    page.get_by_role("button", name="Reject the label").click()
    expect(page.locator(".flash")).to_contain_text("is rejected", use_inner_text=True)
    assert page.title() != "owned"
    page.close()
    with node.database.read() as tx:
        said = {row["what"]: row["who"] for row in events.listing(tx)}
        assert tx.execute(sa.select(label.c.state)).scalars().all() == ["rejected"]
    assert said["label-mapped"] == said["label-rejected"] == site.account(Role.OPERATOR)


def test_who_may_only_look_marks_and_rejects_nothing(site: Site, node: Node) -> None:
    with site.client(Role.VIEWER) as client:
        assert client.submit("/worklist/mark", input_set="1", said="agreed", run="x").status_code == 403
        assert client.submit("/labels/1/decide", what="reject", why="mischief").status_code == 403
        assert "Corrected elsewhere" not in client.get("/worklist").text
        assert "no label 99" in client.get("/labels/99").text


def test_the_terminal_shows_the_same(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    home = ("--home", str(node.archive.home))
    assert main(["labels", "worklist", *home]) == 0
    assert "random sample, 1 in 20" in capsys.readouterr().out
    assert main(["labels", "worklist", "--json", *home]) == 0
    found = json.loads(capsys.readouterr().out)
    assert not any("patient" in one for one in found["ranked"])
    first = found["ranked"][0]["input_set_id"]
    assert main(["labels", "worklist", "--corrected", str(first), *home]) == 0
    assert "corrected" in capsys.readouterr().out
    assert main(["labels", "worklist", "--agreed", "999", *home]) == 1
