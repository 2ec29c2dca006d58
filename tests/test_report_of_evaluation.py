"""The report of a comparison: what it says, what it never says, and that it can be read anywhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
import pytest
from numpy.typing import NDArray
from PIL import Image

from models import card as cards
from models.scores.case import score
from models.scores.curves import Ranked, ranked
from models.scores.values import CaseScores, ClassScores
from node.learning.gate.judge import judge
from node.learning.gate.pairs import pairs
from node.learning.gate.values import Outcome, Protocol
from node.learning.report import chart, curves, pictures, words
from node.learning.report.document import pdf
from node.learning.report.page import html
from node.learning.report.values import Contender, Evaluation, Picture, Structure
from node.learning.report.version_card import model_card
from node.objects.pictures.window import Window
from node.study.geometry import Geometry
from tests.scenes import grid

STRUCTURES = (
    Structure(value=1, label="Tumour", colour=(220, 120, 90)),
    Structure(value=2, label="Lymph node", colour=(90, 150, 220)),
)
SCANNERS = ("GE Discovery ST", "SIEMENS Biograph 64", "Philips Gemini TF")


def class_scores(value: int, dice: float | None, g: np.random.Generator, *, probabilities: bool) -> ClassScores:
    """Numbers that go with a Dice; all of them are there but where nothing is."""
    truth = float(g.uniform(5, 60))
    if dice is None:
        return ClassScores(value=value, truth_ml=0.0, predicted_ml=0.0, both_empty=True)
    more: dict[str, Any] = {}
    if value == 1:
        more = dict(lesions_found=int(g.integers(1, 4)), lesions_missed=int(g.integers(0, 2)), lesions_false=0)
    if probabilities:
        more |= dict(roc_auc=0.98 + dice / 60, pr_auc=min(1.0, dice + 0.05), calibration_error=(1 - dice) / 4)
    return ClassScores(
        value=value,
        truth_ml=truth,
        predicted_ml=truth * float(g.uniform(0.8, 1.3)),
        dice=dice,
        nsd=min(1.0, dice * 1.08),
        hd95_mm=40 * (1 - dice) if dice else None,
        accuracy=0.999,
        precision=min(1.0, dice + 0.03),
        recall=max(0.0, dice - 0.02),
        **more,
    )


def cases(
    patients: int, shift: float, seed: int, *, probabilities: bool = True, harmed: int = -1
) -> tuple[CaseScores, ...]:
    """The same patients every time, better or worse by a shift; one of them much worse."""
    person, noise = np.random.default_rng(5), np.random.default_rng(seed)
    found = []
    for n in range(patients):
        base = np.clip(person.beta(8, 2.2, 2) - 0.06, 0.05, 0.97)
        mine = np.clip(base + shift + noise.normal(0, 0.025, 2), 0, 0.99).round(4)
        if n == harmed:
            mine -= np.minimum(mine, 0.45)
        dices: list[float | None] = [float(mine[0]), None if n % 6 == 5 else float(mine[1])]
        groups = {
            "scanner": SCANNERS[n % 3 % (2 + n % 2)],
            "sex": "FM"[n % 2],
            "age": f"{40 + n % 4 * 10}-{49 + n % 4 * 10}",
        }
        name = f"{n * 0x9E3779B97F4A7C15 % 2**64:016x}{n:016x}"
        found.append(
            CaseScores(
                case=f"case{n:04d}",
                patient=name,
                classes=tuple(
                    class_scores(value, dice, noise, probabilities=probabilities)
                    for value, dice in zip((1, 2), dices, strict=True)
                ),
                seconds=float(noise.uniform(9, 14)),
                groups=groups,
            )
        )
    return tuple(found)


def probabilities(seed: int, good: float) -> dict[int, Ranked]:
    g = np.random.default_rng(seed)
    found = {}
    for value in (1, 2):
        inside = g.random((8, 60, 60)) < 0.2
        said = np.clip(g.normal(np.where(inside, good, 1 - good), 0.25), 0, 1).astype(np.float16)
        found[value] = ranked(inside, said)
    return found


def manifest(purpose: str, patients: int) -> dict[str, Any]:
    role = "test" if purpose == "test" else "train"
    return {
        "purpose": purpose,
        "sha256": "ab" * 32,
        "roles": {role: {"patients": [f"p{n}" for n in range(patients)], "labels": patients + 2}},
        "classes": {"annotated": {"1": patients, "2": patients - 3}, "present": {"1": patients, "2": patients - 7}},
        "groups": {"scanner": dict.fromkeys(SCANNERS, 9), "spacing": {"4.0 x 3.5 mm": 20, "5.5 x 3.5 mm": 7}},
        "left_out": [{"label_id": 4, "reason": "an image of its series is gone"}],
    }


def evaluation(patients: int = 28, shift: float = 0.05, *, harmed: int = -1, **more: Any) -> Evaluation:
    """A comparison as the gate has judged it."""
    champion, candidate = cases(patients, 0.0, 1), cases(patients, shift, 2, harmed=harmed)
    protocol = Protocol(primary_classes=(1, 2), bootstraps=1000, permutations=1000)
    made: dict[str, Any] = dict(
        network="pet_sarcoma",
        title="PET sarcoma",
        made="2026-11-21 16:40 UTC",
        structures=STRUCTURES,
        protocol=protocol,
        verdict=judge(protocol, pairs(champion, candidate, protocol) if patients else (), look=1),
        candidate=Contender(name="PET sarcoma 1.1.0", cases=candidate, ranked=probabilities(1, 0.8)),
        champion=Contender(name="PET sarcoma 1.0.0", cases=champion, ranked=probabilities(2, 0.65)),
        baseline=Contender(name="SUV over 2.5", cases=cases(patients, -0.4, 3, probabilities=False)),
        test=manifest("test", patients),
        training=manifest("training", 60),
        progress=tuple(
            {"epoch": n, "loss": 0.9 * 0.9**n + 0.2, "dice": None if n % 2 else 0.85 - 0.6 * 0.85**n, "seconds": 3.0}
            for n in range(1, 31)
        ),
        provenance=(("Candidate weights SHA-256", "cd" * 32), ("Seed", "7"), ("torch", "2.13.0")),
        reasons={"roc_auc": "a threshold has no probabilities"},
    )
    return Evaluation(**(made | more))


class Reader(HTMLParser):
    """What a page has: its text, its tags with their attributes, and whether they are closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "col"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data.strip())

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.text).split())


def text_of(document: bytes) -> str:
    pages = pypdfium2.PdfDocument(document)
    found = " ".join(page.get_textpage().get_text_range() for page in pages)
    pages.close()
    return " ".join(found.split())


@pytest.fixture(scope="module")
def usual() -> Evaluation:
    shown = Image.new("RGB", (64, 48), (90, 90, 90))
    worst = cases(28, 0.05, 2)[3]
    made = evaluation(harmed=3)
    return replace(made, pictures=(Picture(case=worst.case, patient=worst.patient, caption="Dice 0.31", image=shown),))


@pytest.fixture(scope="module")
def files(usual: Evaluation) -> tuple[str, bytes]:
    """The page and the document."""
    return html(usual), pdf(usual)


@pytest.fixture(scope="module")
def both(files: tuple[str, bytes]) -> dict[str, str]:
    """What is said in them."""
    return {"page": Reader(files[0]).said, "document": text_of(files[1])}


@pytest.mark.parametrize("form", ["page", "document"])
def test_it_says_all_that_was_judged_and_measured(usual: Evaluation, both: dict[str, str], form: str) -> None:
    said = both[form]
    verdict = usual.verdict
    for sentence in (*verdict.reasons, verdict.blind_spot, *(guard.sentence for guard in verdict.guards)):
        assert squeezed(sentence) in squeezed(said)
    for metric in words.METRICS:
        assert metric.title.split(" (")[0] in said
    for name in ("SUV over 2.5", "PET sarcoma 1.0.0", "PET sarcoma 1.1.0", *SCANNERS, "Tumour", "Lymph node"):
        assert name in said
    assert squeezed(usual.protocol.sha256()) in squeezed(said)
    assert "an image of its series is gone" in said
    assert "a threshold has no probabilities" in said
    assert "Not a medical device" in said


def squeezed(text: str) -> str:
    """Without the places where lines were broken."""
    return re.sub(r"[\s\ufffe\u00ad]+", "", text)


@pytest.mark.parametrize("form", ["page", "document"])
def test_who_loses_is_named_with_a_picture(usual: Evaluation, both: dict[str, str], form: str) -> None:
    assert [patient for patient, _ in usual.verdict.losers] == [usual.pictures[0].patient]
    assert squeezed(usual.pictures[0].patient) in squeezed(both[form])
    assert "see picture" in both[form]


@pytest.mark.parametrize(
    ("outcome", "shift", "patients"),
    [(Outcome.PASS, 0.08, 40), (Outcome.FAIL, -0.15, 40), (Outcome.INCONCLUSIVE, 0.05, 6)],
)
def test_the_verdict_stands_first_in_words_not_in_colour_alone(outcome: Outcome, shift: float, patients: int) -> None:
    made = evaluation(patients, shift)
    assert made.verdict.outcome is outcome
    page = Reader(html(made)).said
    word = words.VERDICT[outcome][0]
    assert page.index(word) < page.index("cannot see") < page.index("Primary endpoint The difference")
    assert sum(other[0] in page for other in words.VERDICT.values()) == 1


def test_a_page_is_one_whole_file_that_loads_and_runs_nothing(files: tuple[str, bytes]) -> None:
    page = files[0]
    read = Reader(page)
    assert not read.open
    names = [tag for tag, _ in read.tags]
    assert "script" not in names
    assert "link" not in names
    for tag, attributes in read.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            if value := attributes.get(name):
                assert value.startswith(("data:image/", "#")), (tag, value)
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    links = {value[1:] for _, its in read.tags if (value := its.get("href"))}
    assert links <= {its.get("id") for _, its in read.tags}


def test_a_page_is_light_or_dark_and_fits_a_phone_and_paper(files: tuple[str, bytes]) -> None:
    page = files[0]
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert "width=device-width" in page
    images = [its for tag, its in Reader(page).tags if tag in ("svg", "img")]
    assert images
    assert all(its.get("aria-label") or its.get("alt") for its in images)


def test_nothing_that_is_said_becomes_markup() -> None:
    evil = "<script>alert('1')</script> & \"quoted\" \x00\u202e"
    made = evaluation(
        8,
        title=evil,
        made=evil,
        structures=(Structure(value=1, label=evil), Structure(value=2, label="]]>")),
        provenance=((evil, evil),),
        reasons={"roc_auc": evil},
        test=manifest("test", 3) | {"groups": {evil: {evil: 1}}, "left_out": [{"reason": evil}]},
        pictures=(Picture(case=evil, patient=evil, caption=evil, image=Image.new("RGB", (9, 9))),),
    )
    named = tuple(replace(one, groups={"scanner": evil}) for one in made.candidate.cases)
    read = Reader(html(replace(made, candidate=Contender(name=evil, cases=named))))
    assert not read.open
    assert not [tag for tag, _ in read.tags if tag == "script"]
    assert "<script>alert('1')</script>" in read.said
    assert "\x00" not in read.said
    assert "<script>" in text_of(pdf(made))


@pytest.mark.parametrize(
    "lacks",
    [
        pytest.param(dict(patients=1), id="one patient"),
        pytest.param(dict(patients=0), id="no patient"),
        pytest.param(dict(baseline=None, training=None, test={}, progress=(), provenance=()), id="hardly anything"),
        pytest.param(dict(progress=({"epoch": 1, "loss": 0.5, "dice": None}, {"epoch": 2, "step": 3})), id="an epoch"),
    ],
)
def test_what_does_not_exist_is_a_dash_with_a_reason(lacks: dict[str, Any]) -> None:
    made = evaluation(**({"patients": 9} | lacks))
    for said in (Reader(html(made)).said, text_of(pdf(made))):
        assert not re.search(r"\b(nan|NaN|inf|None)\b", said)
        assert words.NONE in said
        assert "does not exist; why is said below" in said


def test_a_first_network_is_held_against_its_card() -> None:
    protocol = Protocol(primary_classes=(1,), absolute={1: 0.5}, bootstraps=500, permutations=500)
    candidate = cases(20, 0.1, 2)
    made = evaluation(
        protocol=protocol,
        verdict=judge(protocol, pairs((), candidate, protocol), look=1),
        champion=None,
        candidate=Contender(name="new", cases=candidate),
    )
    assert made.verdict.outcome is Outcome.PASS
    said = Reader(html(made)).said
    assert "reaches what its card asks for" in said
    assert "champion’s" not in said
    assert "There is no champion" in text_of(pdf(made))


def test_the_same_evaluation_makes_the_same_bytes(usual: Evaluation, files: tuple[str, bytes]) -> None:
    assert (html(usual), pdf(usual)) == files


def test_the_columns_are_whose_numbers_they_are() -> None:
    """Candidate and champion exchanged would turn every number round."""
    made = evaluation(12, 0.08, baseline=None)
    page = html(made)
    row = re.search(r"<tr><th scope=\"row\">Dice \(= F1 of the voxels\)</th>(.*?)</tr>", page)
    assert row is not None
    champion, candidate, difference = (Reader(cell).said for cell in re.findall(r"<td.*?</td>", row[1]))
    dices = [
        np.mean([case.classes[0].dice for case in who.cases])
        for who in (made.champion, made.candidate)
        if who is not None
    ]
    assert champion.startswith(f"{dices[0]:.3f}")
    assert candidate.startswith(f"{dices[1]:.3f}")
    assert difference.startswith(f"+{dices[1] - dices[0]:.3f}")


def test_what_is_seen_where_nothing_is_shows_in_every_comparison() -> None:
    """The truth lacks the class: the champion rightly finds none, the candidate finds some."""
    made = evaluation(12, 0.0, baseline=None)
    assert made.champion is not None
    *others, last = made.candidate.cases
    seen = replace(last.classes[1], predicted_ml=9.0, dice=0.0, nsd=0.0, precision=0.0, recall=0.0, both_empty=False)
    assert last.classes[1].both_empty
    same = (*others, replace(last, classes=(last.classes[0], seen)))
    quiet = tuple(replace(case, seconds=1.0) for case in made.candidate.cases)
    made = replace(made, candidate=replace(made.candidate, cases=same), champion=replace(made.champion, cases=quiet))
    row = re.search(r"<h3>Lymph node</h3>.*?Dice \(= F1 of the voxels\)</th>(.*?)</tr>", html(made), re.DOTALL)
    assert row is not None
    difference = Reader(re.findall(r"<td.*?</td>", row[1])[-1]).said
    assert difference.startswith(words.number(-1 / 11, 3))


def test_a_patient_left_out_of_a_mean_is_counted() -> None:
    page = html(evaluation(12))
    tables = page.split("<h3>Lymph node</h3>")[1]
    row = re.search(r"Left out: in neither, patients</th>(.*?)</tr>", tables)
    assert row is not None
    assert Reader(row[1]).said.split() == ["2", "2", "2"]


# charts


def test_ticks_are_round_and_inside() -> None:
    for low, high in ((0.0, 1.0), (-0.37, 0.12), (3.2, 901.0), (0.8123, 0.8125), (-5.0, -4.0)):
        axis = chart.Axis(low, high, 0, 100)
        ticks = axis.ticks()
        assert 2 <= len(ticks) <= 7
        assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
        assert all(len(chart.plain(tick)) <= 8 for tick in ticks)


def test_marks_lie_within_the_chart(files: tuple[str, bytes]) -> None:
    drawn = re.findall(r'<svg viewBox="0 0 ([\d.]+) ([\d.]+)"(.*?)</svg>', files[0])
    assert len(drawn) > 8
    for width, height, svg in drawn:
        for name, most in (("c?x", width), ("c?y", height)):
            places = [float(value) for value in re.findall(rf' {name}="(-?[\d.]+)"', svg)]
            assert all(-1 <= place <= float(most) + 1 for place in places)


def test_steps_and_repeated_epochs_are_no_epochs() -> None:
    lines: Sequence[dict[str, Any]] = (
        {"epoch": 1, "loss": 0.9, "dice": 0.1},
        {"epoch": 2, "step": 1, "steps": 5, "loss": 9.0},
        {"epoch": 1, "loss": 0.8, "dice": 0.2},
        {"epoch": 2, "loss": float("nan"), "dice": None},
    )
    assert [line["loss"] for line in curves.epochs(lines)][:1] == [0.8]
    assert [one.title for one in curves.learning(lines)] == ["Loss by epoch", "Validation Dice by epoch"]


# words


@pytest.mark.parametrize(
    ("value", "digits", "signed", "said"),
    [
        (None, 2, False, "–"),
        (float("nan"), 2, False, "–"),
        (float("inf"), 2, True, "–"),
        (-0.0004, 3, True, "0.000"),
        (-0.25, 2, False, "−0.25"),
        (0.25, 2, True, "+0.25"),
        (12345.6, 1, False, "12\u202f345.6"),
    ],
)
def test_numbers(value: float | None, digits: int, signed: bool, said: str) -> None:
    assert words.number(value, digits, signed=signed) == said


def test_short_names_stay_apart() -> None:
    names = ["a" * 20 + "1", "a" * 20 + "2", "b" * 21]
    assert len(set(words.shortened(names).values())) == 3
    assert set(map(len, words.shortened(["c" * 32, "d" * 32]).values())) == {8}


# pictures


def scene() -> tuple[NDArray[np.float32], NDArray[np.uint8], Geometry]:
    where = grid((1, 0, 0), (0, 1, 0), (2.0, 2.0, 3.0), tilt_degrees=15)
    labels = where.labels()
    values = np.random.default_rng(0).normal(labels * 2.0, 0.4).astype(np.float32)
    return values, labels, Geometry(where.affine, where.shape)


def test_what_is_right_missed_and_too_much() -> None:
    truth = np.array([[[0, 0, 1, 1, 1, 2]]], np.uint8)
    predicted = np.array([[[0, 1, 1, 0, 2, 2]]], np.uint8)
    expected = [0, pictures.EXTRA, pictures.AGREES, pictures.MISSED, pictures.OTHER, pictures.AGREES]
    assert pictures.compared(truth, predicted).tolist() == [[expected]]


def test_a_picture_shows_what_each_network_has_wrong() -> None:
    values, truth, geometry = scene()
    missing = np.where(truth == 1, 0, truth).astype(np.uint8)
    beside = np.roll(truth, 4, axis=2)
    colours = {}
    for name, predicted in (("right", truth), ("missing", missing), ("beside", beside)):
        image = pictures.picture(
            values, truth, [("Candidate", predicted)], geometry, Window(-1, 6), STRUCTURES, "Patient 1"
        )
        pixels = np.asarray(image)[60:-80].reshape(-1, 3)
        colours[name] = {kind: int((pixels == colour).all(1).sum()) for kind, colour in pictures.COLOURS.items()}
    assert colours["right"][pictures.MISSED] == colours["right"][pictures.EXTRA] == 0
    assert colours["missing"][pictures.MISSED] > 100
    assert colours["missing"][pictures.EXTRA] == 0
    assert min(colours["beside"][kind] for kind in (pictures.AGREES, pictures.MISSED, pictures.EXTRA)) > 100


def test_a_picture_of_nothing_and_of_another_grid() -> None:
    values, truth, geometry = scene()
    empty = np.zeros_like(truth)
    shown = pictures.picture(values, empty, [("Candidate", empty)], geometry, Window(-1, 6), STRUCTURES, "Nothing")
    assert shown.width == pictures.PICTURE_WIDTH
    with pytest.raises(ValueError, match="one grid"):
        pictures.picture(values, truth[1:], [], geometry, Window(-1, 6), STRUCTURES, "")


def test_a_picture_of_more_classes_than_can_be_told_apart() -> None:
    """The truth then has one outline, and what is wrong is still shown."""
    values, labels, geometry = scene()
    g = np.random.default_rng(0)
    truth = np.where(labels > 0, g.integers(1, 200, labels.shape), 0).astype(np.uint8)
    wrong = np.where(labels > 0, g.integers(1, 200, labels.shape), 0).astype(np.uint8)
    shown = pictures.picture(values, truth, [("Candidate", wrong)], geometry, Window(-1, 6), STRUCTURES, "Many")
    pixels = np.asarray(shown).reshape(-1, 3)
    assert (pixels == pictures.COLOURS[pictures.OTHER]).all(1).sum() > 100


def test_who_loses_is_pictured_first_then_the_lowest() -> None:
    made = evaluation(20, 0.02, harmed=7)
    assert made.champion is not None
    chosen = pictures.worst(made.champion.cases, made.candidate.cases, made.protocol, made.verdict, most=4)
    assert chosen[0] == "case0007"
    dices = {case.case: case.mean_dice((1, 2)) for case in made.candidate.cases}
    rest = sorted((dice, case) for case, dice in dices.items() if case != "case0007" and dice is not None)
    assert list(chosen[1:]) == [case for _, case in rest[:3]]


# the card of a version


def test_a_model_card_says_what_it_is_for_and_where_its_limits_are(usual: Evaluation) -> None:
    bundle = cards.read(cards.SHIPPED / "ct_lungs")
    said = Reader(model_card(usual, bundle.card, weights_sha256=bundle.weights_sha256, parent="Dr. <b>A</b>")).said
    for part in (bundle.card.intended_use, bundle.card.device_uid, bundle.weights_sha256, usual.verdict.blind_spot):
        assert part in said
    assert "Dr. <b>A</b>" in said
    assert "Left lung" in said
    broken = [guard.sentence for guard in usual.verdict.guards if guard.holds is False]
    assert all(sentence in said for sentence in broken)


def test_real_scores_go_through(tmp_path: Path) -> None:
    """From label maps to a page: nothing in between has to be made up."""
    _, truth, geometry = scene()
    found = []
    for shift in (1, 2):
        scores = score(truth, np.roll(truth, shift, 2), geometry.affine, [1, 2], lesions=[1])
        found.append((CaseScores(case="c", patient="p", classes=scores, seconds=1.0),))
    protocol = Protocol(primary_classes=(1, 2))
    made = evaluation(
        protocol=protocol,
        verdict=judge(protocol, pairs(found[1], found[0], protocol), look=1),
        candidate=Contender(name="a", cases=found[0]),
        champion=Contender(name="b", cases=found[1]),
        baseline=None,
    )
    file = tmp_path / "report.html"
    file.write_text(html(made), encoding="utf-8")
    assert "INCONCLUSIVE" in Reader(file.read_text(encoding="utf-8")).said
