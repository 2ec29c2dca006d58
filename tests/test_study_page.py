"""The page of one study and its images, in Chromium, over a node through which two studies of one patient went."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from pydicom import dcmread
from pydicom.dataset import Dataset

from config.settings import load
from db import events
from db.accounts import Role
from db.job_states import JobKind
from node.app import Node, open_node
from tests.driving import take_in, work_off
from tests.fake_pacs import FakePacs
from tests.node_packages import axe
from tests.pages import HOSTILE, HOSTILE_SHORT, Site, serving
from tests.synthetic import small_series
from tests.threshold_host import ThresholdHosts, threshold

NAME, PATIENT_ID = "Mirabilis^Anna", "P-4711-X"
SLICES = 24


@dataclass(frozen=True)
class House:
    """What the tests share."""

    node: Node
    site: Site
    pacs: FakePacs
    second: FakePacs
    uids: tuple[str, str]
    hosts: ThresholdHosts

    @property
    def uid(self) -> str:
        return self.uids[1]


def study_of(date: str) -> list[Dataset]:
    images = small_series((48, 40, SLICES))
    for ds in images:
        ds.PatientName, ds.PatientID, ds.StudyDate, ds.StudyTime = NAME, PATIENT_ID, date, "120000"
        ds.StudyDescription = "Chest"
    return images


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[House]:
    home = tmp_path_factory.mktemp("house") / "home"
    home.mkdir(mode=0o700)
    shutil.copyfile(migrated, home / "planimeter.db")
    with FakePacs() as pacs, FakePacs("SECOND") as second, ThresholdHosts() as hosts:
        peers = [
            {"name": name, "ae_title": one.ae_title, "destination": {"host": "127.0.0.1", "port": one.port}}
            for name, one in (("pacs", pacs), ("second", second))
        ]
        settings = load(
            None,
            {
                "node": {"home": home},
                "receive": {"quiet_seconds": 0, "port": 0, "reserve_gb": 0},
                "send": {"first_retry_seconds": 0.01, "unreachable_retry_seconds": 0.2, "attempts": 3},
                "route": [{"name": "everything", "networks": ["ct_lungs"], "destinations": ["pacs"]}],
                "peer": peers,
            },
        )
        node = open_node(settings, hosts.address)
        first, later = study_of("20260101"), study_of("20260601")
        take_in(node, first)
        work_off(node)

        def smaller(volume: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
            labels = threshold(volume)
            labels[SLICES // 2 :] = 0
            return labels

        hosts.answer = smaller
        take_in(node, later)
        work_off(node)
        with serving(node, viewer_link="https://viewer.example/view?StudyInstanceUIDs={study_uid}") as site:
            yield House(node, site, pacs, second, (first[0].StudyInstanceUID, later[0].StudyInstanceUID), hosts)
        node.close()


@pytest.fixture
def page(house: House, browser: Browser) -> Iterator[Page]:
    made = house.site.page(browser, Role.OPERATOR)
    made.on("pageerror", lambda error: pytest.fail(f"a script failed: {error}"))
    yield made
    made.context.close()


def look(page: Page, house: House, uid: str = "") -> None:
    page.goto(f"/studies/{uid or house.uid}")
    expect(page.locator(".slices").first).to_be_visible()


def shown(page: Page) -> int:
    return int(page.locator(".slices").first.get_attribute("data-shown") or "-1")


def expect_slice(page: Page, k: int) -> None:
    expect(page.locator(".slices").first).to_have_attribute("data-shown", str(k))
    said = page.locator(".slices-where").first
    expect(said).to_contain_text(f"Slice {k + 1} of {SLICES} image ")
    assert said.inner_text().count(f"of {SLICES}") == 1, "it is said once"


# ------------------------------------------------------------------ reading


def test_a_study_says_what_happened_what_was_found_and_how_it_went_on(page: Page, house: House) -> None:
    look(page, house)
    expect(page.locator("h1")).to_contain_text("Study")
    expect(page.locator("#live .state").first).to_have_text("done")
    page.locator("#timeline summary").click()
    happened = page.locator("#timeline").inner_text()
    for word in ("arrived", "settled", "choose", "segment", "result", "deliver", "volume", "network"):
        assert word in happened, word
    text = page.locator("main").inner_text()
    assert "smaller" in text  # against the prior
    assert "20260601" in text
    expect(page.get_by_role("img", name=re.compile("volume in 2 studies")).first).to_be_visible()
    page.locator("figure.trend summary").first.click()
    expect(page.locator("figure.trend tbody tr").first).to_contain_text("2026-01-01")
    expect(page.get_by_role("link", name="Open the study in the viewer")).to_have_attribute(
        "href", f"https://viewer.example/view?StudyInstanceUIDs={house.uid}"
    )
    expect(page.get_by_role("region", name="Routes of series 1")).to_contain_text("everything")


def test_the_patient_is_hidden_until_asked_for(house: House, browser: Browser) -> None:
    page = house.site.page(browser, Role.VIEWER)
    look(page, house)
    assert NAME not in page.content()
    assert PATIENT_ID not in page.content()
    page.get_by_role("button", name="Show patients").click()
    expect(page.locator("h1")).to_contain_text(NAME)
    expect(page.locator("dl.facts").first).to_contain_text(PATIENT_ID)
    page.context.close()


def test_an_approver_exports_a_study_without_names_and_fetches_it(house: House, browser: Browser) -> None:
    page = house.site.page(browser, Role.APPROVER, viewport={"width": 1200, "height": 1000})
    page.on("dialog", lambda dialog: dialog.accept())
    look(page, house)
    page.get_by_role("heading", name="Give it away without names").click()
    page.get_by_label("Dates").select_option("retain-modified-dates")
    page.get_by_label("retain patient characteristics").check()
    page.get_by_label("clean graphics").uncheck()
    page.get_by_role("button", name="Export", exact=True).click()
    row = page.get_by_role("region", name="Exports of this study").locator("tbody tr").first
    expect(row).to_contain_text("It is being made")
    expect(row).to_contain_text("retain-modified-dates retain-patient-characteristics")
    work_off(house.node, JobKind.EXPORT)
    page.reload()
    expect(row).to_contain_text("of 1 patients, export")
    with page.expect_download() as download:
        row.get_by_role("link", name="Fetch").click()
    name = download.value.suggested_filename
    assert re.fullmatch(r"export-[0-9a-f]{16}\.zip", name)
    with zipfile.ZipFile(download.value.path()) as packed:
        files = [one for one in packed.namelist() if one.endswith(".dcm")]
        kinds = {dcmread(io.BytesIO(packed.read(one)), stop_before_pixels=True).Modality for one in files}
        assert kinds == {"CT", "SEG", "SR"}
        for one in packed.namelist():
            said = one.encode() + packed.read(one)
            assert not any(word in said for word in (b"Mirabilis", PATIENT_ID.encode(), house.uid.encode()))
    with house.node.database.read() as tx:
        last = [event for event in events.listing(tx) if event["what"] == "exported"][-1]
    assert last["who"] == house.site.account(Role.APPROVER)
    assert json.loads(last["details"])["export"] in name
    if folder := os.environ.get("PLANIMETER_PICTURES"):
        page.locator("#export").screenshot(path=str(Path(folder) / "export.png"))
    page.context.close()


def test_only_an_approver_exports(house: House) -> None:
    with house.site.client(Role.OPERATOR) as client:
        assert "Give it away" not in client.get(f"/studies/{house.uid}").text
        assert client.submit(f"/studies/{house.uid}/export").status_code == 403
        assert client.get(f"/studies/{house.uid}/exports/1.zip").status_code == 403
    with house.site.client(Role.APPROVER) as client:
        assert client.get(f"/studies/{house.uids[0]}/exports/1.zip").status_code == 409  # of another study


def test_a_viewer_may_look_and_not_touch(house: House) -> None:
    with house.site.client(Role.VIEWER) as client:
        said = client.get(f"/studies/{house.uid}").text
        assert "Reprocess" not in said
        assert "Withdraw" not in said
        for what in ("retry", "cancel", "close", "reprocess", "send", "release", "discard", "withdraw"):
            assert client.submit(f"/studies/{house.uid}/{what}", result="1", job="1").status_code == 403, what


@pytest.mark.parametrize("path", ["", "/live", "/images/1", "/images/1/0.png"])
def test_what_is_not_there_is_said(house: House, path: str) -> None:
    with house.site.client(Role.VIEWER) as client:
        answer = client.get(f"/studies/1.2.3{path}")
        assert answer.status_code == 409
        assert "no study" in answer.text or "no network" in answer.text


# ------------------------------------------------------------------- images


def test_slices_are_gone_through_with_keys_wheel_and_slider(page: Page, house: House) -> None:
    look(page, house)
    first = shown(page)
    box = page.locator(".slices-image").first
    box.focus()
    page.keyboard.press("ArrowDown")
    expect_slice(page, first + 1)
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect_slice(page, first - 1)
    page.keyboard.press("End")
    expect_slice(page, SLICES - 1)
    page.keyboard.press("ArrowDown")
    expect_slice(page, SLICES - 1)
    page.keyboard.press("PageUp")
    expect_slice(page, SLICES - 11)
    page.keyboard.press("Home")
    expect_slice(page, 0)
    box.hover()
    page.mouse.wheel(0, 100)
    expect_slice(page, 1)
    slider = page.get_by_role("slider", name="Slice")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect_slice(page, 2)
    expect(slider).to_have_attribute("aria-valuetext", re.compile("3 of 24, axial, z"))
    page.keyboard.press("Home")
    page.get_by_role("button", name="Next with a contour").click()
    expect_slice(page, 2)  # the box begins there


def test_contours_and_windows_are_switched_in_the_picture(page: Page, house: House) -> None:
    look(page, house)
    before = picture(page)
    boxes = page.get_by_role("group", name="Contours").get_by_role("checkbox")
    expect(boxes).to_have_count(2)
    assert coloured(before)
    for n in range(2):
        boxes.nth(n).uncheck()
    changed(page, "hide=1%2C2")
    without = picture(page)
    assert not coloured(without)
    page.get_by_label("Window").select_option("bone")
    changed(page, "window=bone")
    assert picture(page).mean() != without.mean()
    page.get_by_label("Level").fill("-400")
    page.get_by_label("Width").fill("100")
    page.keyboard.press("Tab")
    changed(page, "level=-400&width=100")
    assert np.isin(picture(page)[100:500, 100:500], (0, 255)).mean() > 0.8  # so narrow a window is black and white


def changed(page: Page, part: str) -> None:
    expect(page.locator(".slices-image img").first).to_have_attribute("src", re.compile(re.escape(part)))


def picture(page: Page) -> np.ndarray:  # type: ignore[type-arg]
    image = page.locator(".slices-image img").first
    data = page.request.get(urljoin(page.url, str(image.get_attribute("src"))))
    assert data.headers["content-type"] == "image/png"
    assert data.headers["cache-control"] == "no-store"
    return np.asarray(Image.open(io.BytesIO(data.body())).convert("RGB"))


def coloured(pixels: np.ndarray) -> bool:  # type: ignore[type-arg]
    return bool((pixels.max(axis=-1).astype(int) - pixels.min(axis=-1) > 60).any())


def test_images_are_shown_without_scripts(house: House, browser: Browser) -> None:
    page = house.site.page(browser, Role.VIEWER, java_script_enabled=False)
    page.goto(f"/studies/{house.uid}")
    page.get_by_role("link", name="Images with contours").click()
    assert coloured(picture(page))
    page.get_by_label("Window").select_option("bone")
    page.get_by_role("button", name="Show", exact=True).click()
    page.wait_for_url("**window=bone**")
    assert "window=bone" in str(page.locator(".slices-image img").get_attribute("src"))
    page.context.close()


@pytest.mark.parametrize(
    "query", ["k=0", "k=99", "k=x", "k=-1", "hide=x", "level=x&width=1", "level=1&width=0", "level=nan&width=1"]
)
def test_nonsense_about_slices_is_a_sentence(house: House, query: str) -> None:
    with house.site.client(Role.VIEWER) as client:
        at = images_of(house)
        assert client.get(f"{at}?{query}").status_code == 200
        assert client.get(f"{at}?{query}").text.count('class="fault"') == 1
        assert client.get(f"{at}/99.png").status_code == 409
        assert client.get(f"{at}/0.png?channel=nonsense&window=nonsense").status_code == 200


def images_of(house: House) -> str:
    with house.site.client(Role.VIEWER) as client:
        found = re.search(r'data-load="([^"]+)"', client.get(f"/studies/{house.uid}").text)
    assert found
    return found[1]


def test_images_of_another_study_are_not_shown_under_this_one(house: House) -> None:
    number = images_of(house).rsplit("/", 1)[1]
    with house.site.client(Role.VIEWER) as client:
        assert client.get(f"/studies/{house.uids[0]}/images/{number}/0.png").status_code == 409
        assert client.get(f"/studies/{house.uids[0]}/images/{number}").status_code == 409
    with house.site.client(None) as nobody:
        assert nobody.get(f"{images_of(house)}/0.png").status_code == 303


def test_text_that_is_burned_into_images_is_hidden_like_names(page: Page, house: House) -> None:
    images = small_series()
    for ds in images:
        ds.BurnedInAnnotation = "NO"
    take_in(house.node, images)
    work_off(house.node)
    with house.node.database.read() as tx:
        paths = tx.execute(sa.text("SELECT path FROM instance WHERE study_id = (SELECT max(id) FROM study)")).scalars()
        files = [house.node.archive.at(path) for path in paths]
    for file in files:  # as if it had been said; a network that wants no such images would have refused them
        file.chmod(0o600)
        file.write_bytes(file.read_bytes().replace(b"\x28\x00\x01\x03CS\x02\x00NO", b"\x28\x00\x01\x03CS\x04\x00YES "))
    page.goto(f"/studies/{images[0].StudyInstanceUID}")
    expect(page.locator(".slices-place .fault")).to_contain_text("may name the patient")
    page.get_by_role("button", name="Show patients").click()
    expect(page.locator(".slices").first).to_be_visible()
    page.get_by_role("button", name="Hide patients").click()


# -------------------------------------------------------------------- doing


def flash(page: Page, part: str) -> None:
    expect(page.get_by_role("status").filter(has_text=part).first).to_be_visible()


def test_a_result_is_sent_to_another_destination(page: Page, house: House) -> None:
    look(page, house)
    page.get_by_label("Send to").first.select_option("second")
    page.get_by_role("button", name="Send", exact=True).first.click()
    flash(page, "3 objects of this result go to second")
    work_off(house.node)
    assert len(house.second.objects) == 3
    expect(page.get_by_role("link", name="There is something new")).to_have_count(0)
    page.reload()
    expect(page.get_by_role("region", name=re.compile("Objects of result")).first).to_contain_text("second")
    assert "operator-of-the-tests sends 3 objects to second" in page.locator("#timeline").text_content()  # type: ignore[operator]


def test_a_study_is_run_again_also_with_a_named_network_and_the_page_notices(page: Page, house: House) -> None:
    look(page, house)
    page.get_by_role("button", name="Reprocess").click()
    flash(page, "is chosen from again")
    expect(page.locator("#live .state").first).to_have_text("waiting")
    work_off(house.node)
    expect(page.locator("#live .state").first).to_have_text("done")
    page.get_by_label("Run again").select_option("ct_lungs")
    page.get_by_label("Results of a named network go to").select_option("second")
    page.get_by_role("button", name="Reprocess").click()
    flash(page, "ct_lungs reads it; its results go to second")
    expect(page.locator("dl.facts").first).to_contain_text("ct_lungs by operator-of-the-tests")
    work_off(house.node)


def test_a_job_is_cancelled_and_opened_again(page: Page, house: House) -> None:
    images = small_series()
    take_in(house.node, images)
    uid = images[0].StudyInstanceUID
    page.goto(f"/studies/{uid}")
    page.get_by_role("button", name="Do not wait for more images").click()
    flash(page, "is closed")
    work_off(house.node, JobKind.CHOOSE)
    page.get_by_role("button", name=re.compile("Cancel job")).click()
    flash(page, "is cancelled")
    expect(page.locator("#live .state").first).to_have_text("cancelled")
    page.get_by_role("button", name=re.compile("Retry job")).click()
    flash(page, "waits again")
    work_off(house.node)
    expect(page.get_by_role("link", name="There is something new")).to_be_visible()


def test_a_job_or_result_of_another_study_is_not_touched_from_this_page(house: House) -> None:
    with house.site.client(Role.OPERATOR) as client:
        with house.node.database.read() as tx:
            job = tx.execute(sa.text("SELECT min(id) FROM job")).scalar_one()
            result = tx.execute(sa.text("SELECT min(id) FROM result")).scalar_one()
        for what in ("retry", "cancel"):
            client.submit(f"/studies/{house.uid}/{what}", at=f"/studies/{house.uid}", job=str(job))
            assert "is none of this study" in client.get(f"/studies/{house.uid}").text
        for what in ("send", "release", "discard", "withdraw"):
            fields = {"result": str(result), "destination": "second", "reason": "x"}
            client.submit(f"/studies/{house.uid}/{what}", at=f"/studies/{house.uid}", **fields)
            assert "is no result of this study" in client.get(f"/studies/{house.uid}").text


def test_flagged_results_are_released_and_unsent_ones_discarded(page: Page, house: House) -> None:
    for what, button in (("go to pacs", "Release to pacs"), ("are discarded", "Discard")):
        images = small_series()
        take_in(house.node, images)
        work_off(house.node, JobKind.CHOOSE, JobKind.SEGMENT)
        with house.node.database.write() as tx:
            tx.execute(sa.text("UPDATE delivery SET state = 'held' WHERE state = 'waiting'"))
        page.goto(f"/studies/{images[0].StudyInstanceUID}")
        expect(page.locator("#live .state").first).to_have_text("held")
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name=button).click()
        flash(page, what)
        work_off(house.node)


def test_what_a_destination_may_have_is_withdrawn_and_not_discarded(house: House) -> None:
    images = small_series()
    take_in(house.node, images)
    work_off(house.node, JobKind.CHOOSE, JobKind.SEGMENT)
    with house.site.client(Role.OPERATOR) as client:
        page = f"/studies/{images[0].StudyInstanceUID}"
        assert "Discard this result?" in client.get(page).text
        with house.node.database.write() as tx:
            tx.execute(sa.text("UPDATE delivery SET unanswered = 1 WHERE state = 'waiting'"))
        assert "Withdraw this result?" in (said := client.get(page).text)
        assert "Discard" not in said
    work_off(house.node)


def test_a_withdrawal_needs_a_reason_and_a_yes(page: Page, house: House) -> None:
    images = small_series()
    take_in(house.node, images)
    work_off(house.node)
    uid = images[0].StudyInstanceUID
    page.goto(f"/studies/{uid}")
    button = page.get_by_role("button", name="Withdraw")
    asked: list[str] = []
    page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    page.get_by_label("Reason").fill("wrong side")
    button.click()
    assert "cannot be undone" in asked[0]
    expect(page.locator("details.run .state").first).to_have_text("ready")
    page.once("dialog", lambda dialog: dialog.accept())
    button.click()
    flash(page, "are withdrawn; pacs is told so")
    expect(page.locator("details.run .state").first).to_have_text("withdrawn")
    with house.site.client(Role.OPERATOR) as client:
        client.submit(f"/studies/{house.uid}/withdraw", at=f"/studies/{house.uid}", result="1")
        assert "a withdrawal needs a reason" in client.get(f"/studies/{house.uid}").text
    expect(page.locator(".slices .caution").first).to_contain_text("withdrawn")


# ----------------------------------------------------------------- attacks


def test_hostile_text_is_text(page: Page, house: House) -> None:
    images = small_series()
    for ds in images:
        for keyword in ("PatientName", "StudyDescription", "SeriesDescription", "InstitutionName", "ProtocolName"):
            setattr(ds, keyword, HOSTILE)
        ds.PatientID, ds.AccessionNumber = HOSTILE_SHORT + "p", HOSTILE_SHORT + "a"
        ds.Manufacturer = ds.ManufacturerModelName = HOSTILE
        ds.PatientOrientation = ["<b>", "A"]
    take_in(house.node, images)
    work_off(house.node)
    uid = images[0].StudyInstanceUID
    with house.node.database.write() as tx:  # what peers say, and what people write
        tx.execute(sa.text("UPDATE delivery SET reason = :x WHERE id = (SELECT max(id) FROM delivery)"), {"x": HOSTILE})
        tx.execute(
            sa.text("UPDATE attempt SET sentence = :x WHERE job_id IN (SELECT max(id) FROM job)"), {"x": HOSTILE}
        )
        tx.execute(
            sa.text("UPDATE input_set SET because = :x WHERE id = (SELECT max(id) FROM input_set)"), {"x": HOSTILE}
        )
        tx.execute(
            sa.text("UPDATE instance SET calling_ae = :x WHERE study_id = (SELECT max(id) FROM study)"), {"x": HOSTILE}
        )
        said = [{"route": HOSTILE, "takes": True, "when": [condition()], "unless": [condition()]}]
        tx.execute(
            sa.text("UPDATE route_decision SET said = :x WHERE id = (SELECT max(id) FROM route_decision)"),
            {"x": json.dumps(said)},
        )
    page.goto(f"/studies/{uid}")
    page.get_by_role("button", name="Show patients").click()
    expect(page.locator(".slices").first).to_be_visible()
    for one in page.locator("details").all():
        one.evaluate("element => element.open = true")
    assert page.title().startswith("Study")
    assert page.locator("img[src=x], b[onx], main script").count() == 0
    assert page.locator("main").inner_text().count("{{7*7}}") > 8
    page.get_by_role("button", name="Hide patients").click()


def condition() -> dict[str, object]:
    return {"condition": HOSTILE, "holds": True, "found": {HOSTILE: 3}, "values": 1}


def test_a_study_whose_uid_is_odd_has_a_page(house: House) -> None:
    odd = "1.2.3&x=<b>"
    with house.site.client(Role.VIEWER) as client:
        answer = client.get("/studies/" + odd.replace("<", "%3C").replace(">", "%3E").replace("&", "%26"))
        assert answer.status_code == 409
        assert "<b>" not in answer.text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_of_a_study_can_be_used_by_everybody(house: House, browser: Browser, scheme: Any) -> None:
    source, at = axe(), images_of(house)
    page = house.site.page(browser, Role.APPROVER, bypass_csp=True, color_scheme=scheme)
    for path in (f"/studies/{house.uid}", at, "/destinations"):
        page.goto(path)
        if path != "/destinations":
            expect(page.locator(".slices").first).to_have_attribute("data-shown", re.compile(r"\d+"))
        for one in page.locator("details").all():
            one.evaluate("element => element.open = true")
        page.evaluate(source)
        assert page.evaluate(FAULTS) == [], path
    page.context.close()


FAULTS = """async () => {
  const found = await axe.run(document, { resultTypes: ["violations"] });
  return found.violations
    .filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 200)).join(" | ")}`);
}"""
