"""Made-up training cases: off by default, of training cases alone, in no validation and no test, and on record."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models import card
from models.ablation import page, pairs
from models.ablation.pairs import Budget, Pair
from models.ablation.picture import picture
from models.comparison import trials
from models.comparison.training import train
from models.comparison.trial import Outcome
from models.synthesis import likeness, shapes
from models.synthesis.adversaries import Adversaries
from models.synthesis.bucket import Bucket
from models.synthesis.fidelity import Fidelity
from models.synthesis.likeness import Likeness
from models.synthesis.maps import LEVELS, Maps
from models.synthesis.sampling import Sampler
from models.synthesis.scale import Scale
from models.synthesis.volume import Canvas, Volume
from models.training import synthetic
from models.training.__main__ import EXIT_UNTRAINABLE, main
from models.training.cases import read as read_case
from models.training.mixed import Mixed
from models.training.run import Stopped, Untrainable
from models.training.run import read as read_run
from node.errors import Refused
from node.learning import cases as node_cases
from node.learning.trainer import Order
from tests import in_process
from tests import tiny_training_bundle as tiny

#: of MONAI, whose LoadImage tries every reader that it knows
pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")

ASKED: dict[str, Any] = {"synthetic_share": 0.25, "synthetic_cases": 3, "generator_steps": 3, "canvas": 32}
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _the_process_as_it_was() -> Iterator[None]:
    with in_process.kept():
        yield


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, ...]:
    """Four cases to train with, two to validate."""
    return tuple(tiny.case(tmp_path, number) for number in range(6))


def asked(tmp_path: Path, folders: Sequence[Path], name: str = "run", **more: Any) -> Path:
    """The folder of a run with made-up cases."""
    bundle = tmp_path / "balls"
    if not bundle.exists():
        tiny.make(bundle)
    more = {"train": folders[:4], "validation": folders[4:], "augmentation": ASKED, **more}
    return tiny.run(tmp_path / name, bundle, more.pop("train"), more.pop("validation"), **more)


def make(run: Path, leave: Sequence[bool] = ()) -> synthetic.Synthetic:
    """Only the made-up cases of a run; `leave` is what asking it to leave answers, one after the other, then no."""
    answers = iter(leave)
    said = read_run(run)
    training = [read_case(folder, ["image"]) for folder in said.train]
    return synthetic.make(said, run, card.read(said.bundle), training, CPU, lambda: next(answers, False))


# ----------------------------------------------------------------- in a training


def test_nothing_is_made_up_unless_a_card_asks_for_it(tmp_path: Path, folders: tuple[Path, ...]) -> None:
    assert {card.read(folder).card.augmentation.synthetic_share for folder in card.SHIPPED.iterdir()} == {0}
    run = asked(tmp_path, folders, max_epochs=1, augmentation={"synthetic_share": 0})
    plain = tiny.run(tmp_path / "plain", tmp_path / "balls", folders[:4], folders[4:], max_epochs=1)
    assert read_run(run).identity == read_run(plain).identity, "a run of before goes on"
    assert main([str(run)]) == 0
    assert json.loads((run / "done.json").read_text())["synthetic"] is None
    assert not (run / synthetic.GENERATOR).exists()


def test_what_the_card_asks_for_reaches_the_run(tmp_path: Path, folders: tuple[Path, ...]) -> None:
    bundle = tiny.make(tmp_path / "balls")
    text = (bundle / card.FILE).read_text().replace("[files]", "[augmentation]\nsynthetic_share = 0.5\n\n[files]")
    (bundle / card.FILE).write_text(text)
    read = card.read(bundle)
    limits: dict[str, Any] = {"seed": 1, "max_epochs": 1, "max_minutes": 1.0, "early_stop": 1, "device": "cpu"}
    order = Order(
        bundle=read, start=None, train=folders[:4], validation=(), augmentation=read.card.augmentation, **limits
    )
    order.write(tmp_path / "with")
    assert read_run(tmp_path / "with").augmentation.synthetic_share == 0.5
    replace(order, augmentation=None).write(tmp_path / "without")
    assert "augmentation" not in json.loads((tmp_path / "without" / "run.json").read_text())
    (bundle / card.FILE).write_text(text.replace("0.5", "0.9"))
    with pytest.raises(card.CardError, match=r"augmentation.synthetic_share.*less than or equal to 0.5"):
        card.read(bundle)


def test_a_training_uses_made_up_cases_says_so_and_leaves_none(tmp_path: Path, folders: tuple[Path, ...]) -> None:
    run = asked(tmp_path, folders, max_epochs=2)
    assert main([str(run)]) == 0
    done = json.loads((run / "done.json").read_text())
    record = done["synthetic"]
    training, validation = ([folder.name for folder in some] for some in (folders[:4], folders[4:]))
    assert record["trained_on"] == training
    assert (record["seed"], record["synthetic_share"], len(record["cases"])) == (7, 0.25, 3 - record["dropped"])
    for one in record["cases"]:
        assert {one["host"], one["donor"], one["style_of"]} <= set(training)
        assert len(one["label.npy"]) == len(one["channel_0.npy"]) == 64
    assert not any(name in json.dumps(record) for name in validation)
    assert (done["trained_cases"], done["validation_cases"]) == (4, 2), "real ones alone are counted"
    assert "25% of the samples were made up" in done["notes"][0]
    assert not (run / synthetic.FOLDER).exists()
    assert not (run / synthetic.GENERATOR).exists()


@pytest.mark.parametrize("where", ["train", "validation"])
def test_a_made_up_case_among_those_that_a_run_is_given_ends_it(
    tmp_path: Path, folders: tuple[Path, ...], where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The very folder that another run made, found where real cases are listed."""
    made = make(asked(tmp_path, folders, "maker")).cases[0].folder
    given: dict[str, Any] = {"train": folders[:4], "validation": folders[4:]}
    given[where] = (*given[where], made)
    run = asked(tmp_path, folders, max_epochs=1, **given)
    assert main([str(run)]) == EXIT_UNTRAINABLE
    assert "is a made-up case; a run is given real ones alone" in capsys.readouterr().err


def test_the_node_reads_no_made_up_case_for_whatever_purpose(tmp_path: Path, folders: tuple[Path, ...]) -> None:
    """What is evaluated, tried, described or made again is read here."""
    made = make(asked(tmp_path, folders)).cases[0].folder
    assert node_cases.read(folders[0]).patient == "patient000"
    for read in (node_cases.read, node_cases.described):
        with pytest.raises(Refused) as refused:
            read(made)
        assert refused.value.code == "synthetic-case"


def test_a_generator_that_was_interrupted_goes_on_to_the_same_cases(tmp_path: Path, folders: tuple[Path, ...]) -> None:
    whole = make(asked(tmp_path, folders, "whole")).record
    cut = asked(tmp_path, folders, "cut")
    with pytest.raises(Stopped, match="its generator learnt"):
        make(cut, leave=[False, True])
    with pytest.raises(Stopped, match="cases were made"):
        make(cut, leave=[False, False, False, True])
    again = make(cut).record
    seconds = "generator_seconds"
    assert {**again, seconds: 0} == {**whole, seconds: 0}
    assert make(cut).record == again, "made once, and read from then on"


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"classes": [1, 2, 3]}, "no training case is annotated with every class"),
        ({"max_minutes": 0.0001}, "ask for fewer generator_steps"),
    ],
)
def test_what_a_generator_cannot_do_is_said(
    tmp_path: Path, folders: tuple[Path, ...], more: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Untrainable, match=sentence):
        make(asked(tmp_path, folders, **more))


def test_a_colour_image_is_refused(tmp_path: Path, folders: tuple[Path, ...]) -> None:
    np.save(folders[0] / "channel_0.npy", np.zeros((16, 16, 16, 3), np.float32))
    with pytest.raises(Untrainable, match="set synthetic_share = 0 for this network"):
        make(asked(tmp_path, folders))


def test_the_share_is_that_of_the_samples_and_the_length_that_of_the_real_ones() -> None:
    mixed = Mixed(["real"] * 7, ["made up"], 0.25)
    np.random.seed(3)
    drawn = [mixed[number % 7] for number in range(4000)]
    assert len(mixed) == 7
    assert drawn.count("made up") / 4000 == pytest.approx(0.25, abs=0.03)
    with pytest.raises(ValueError, match="no made-up case"):
        Mixed(["real"], [], 0.25)


# ------------------------------------------------------------------- the parts


def ball(middle: Sequence[float], radius: float, shape: tuple[int, int, int] = (12, 24, 28)) -> NDArray[np.bool_]:
    far = np.linalg.norm(np.indices(shape) - np.array(middle, float)[:, None, None, None], axis=0)
    return np.asarray(far < radius)


def body(number: int, spacing: float = 4.0) -> Volume:
    """A hot ball in a grey body in air; another ball for each number."""
    drawn = np.random.default_rng(number)
    values = np.where(ball((6, 12, 14), 11), 1.0, 0.0).astype(np.float32)
    label = ball((6, 10 + number % 4, 12 + number % 5), 3.5).astype(np.uint8)
    values[label > 0] = 8 + number % 3
    values += drawn.normal(0, 0.05, values.shape).astype(np.float32)
    return Volume(f"P{number}", values[None], label, np.diag([spacing, spacing, 3.0, 1.0]))


def bucket_of(volumes: Sequence[Volume], side: int = 32) -> Bucket:
    grids = [(one.spacing_mm, one.label.shape) for one in volumes]
    return Bucket.of([lambda one=one: one for one in volumes], grids, side, [1])  # type: ignore[misc]


def test_the_canvas_keeps_what_lies_where() -> None:
    """A case of twice the resolution gets the canvas's pixels; its ball stays where it was, in mm."""
    fine = Volume(
        "fine",
        np.ones((1, 12, 48, 56), np.float32),
        ball((6, 30, 20), 8, (12, 48, 56)).astype(np.uint8),
        np.array([[2.0, 0, 0, -7], [0, 2.0, 0, 5], [0, 0, 3.0, 11], [0, 0, 0, 1]]),
    )
    spacings = [fine.spacing_mm, body(1).spacing_mm, body(1).spacing_mm]
    canvas = Canvas.of(spacings, [(12, 48, 56), *[(12, 24, 28)] * 2], 32)
    assert canvas.pixel_mm == 4.0
    taken = canvas.take(fine)
    assert taken.label.shape == (12, 24, 28)
    middles = [one.affine[:3] @ [*np.argwhere(one.label).mean(0)[::-1], 1] for one in (fine, taken)]
    np.testing.assert_allclose(middles[0], middles[1], atol=0.5)
    assert canvas.cut(canvas.pad(taken.label, 9), taken.label.shape).tolist() == taken.label.tolist()
    assert Canvas.of([np.array([3.0, 4.0, 4.0])], [(5, 64, 32)], 32).pixel_mm == 8.0, "coarser, so that it fits"


def test_values_come_back_from_the_scale() -> None:
    values = np.random.default_rng(1).gamma(1.0, 2.0, (2, 4, 20, 20)).astype(np.float32)
    scale = Scale.of([values])
    scaled = scale.apply(values)
    assert (scaled.min(), scaled.max()) == (-1, 1)
    np.testing.assert_allclose(scale.undo(scaled), values, atol=1e-4)
    assert np.isfinite(Scale.of([np.zeros((1, 2, 2, 2), np.float32)]).apply(values[:1])).all()


def test_a_lesion_is_moved_and_an_organ_is_not() -> None:
    maps = Maps((1, 2))
    host, donor = (
        maps.of(body(number).label, bucket_of([body(number)]).scale.apply(body(number).values)[0]) for number in (1, 2)
    )
    organ = ball((6, 18, 20), 3)
    host[organ] = LEVELS + 1
    drawn = np.random.default_rng(4)
    alone = shapes.without(host, maps.kinds_of([1]))
    assert not (alone == LEVELS).any()
    assert (alone[organ] == LEVELS + 1).all()
    found = [shapes.varied(host, donor, maps.kinds_of([1]), 1.0, drawn) for _ in range(6)]
    labels = [maps.label(one) for one in found]
    middles = np.array([np.argwhere(one == 1).mean(0) for one in labels])
    assert (middles.std(0)[1:] > 0.3).all(), "the lesion lies elsewhere each time"
    organs = np.array([np.argwhere(one == 2).mean(0) for one in labels])
    assert np.abs(organs - np.argwhere(organ).mean(0)).max() < 3, "the organ is bent, and stays"
    assert not any(((one == 1) & (host == 0)).sum() > 40 for one in labels), "and nothing grows in the air"
    assert {int(value) for one in labels for value in np.unique(one)} == {0, 1, 2}


def test_the_generator_draws_what_the_label_says() -> None:
    """After a few seconds the lesion is hot where it was moved to, in the images' own units."""
    bucket = bucket_of([body(number) for number in range(4)])
    adversaries = Adversaries(bucket, 3, CPU)
    first = np.mean([adversaries.step() for _ in range(5)])
    last = np.mean([adversaries.step() for _ in range(75)][-5:])
    assert last < first / 2
    sampler = Sampler(bucket, adversaries.generator, [1], 5)
    made = [sampler(number) for number in range(4)]
    assert {one.host for one in made} == {"P0", "P1", "P2", "P3"}, "each is host as often as any other"
    for one in made:
        inside = one.volume.label == 1
        assert inside.sum() > 20
        assert np.median(one.volume.values[0][inside]) > 4
        assert np.median(one.volume.values[0][~inside]) < 2
        assert one.volume.values.shape == (1, *one.volume.label.shape)
    again = sampler(2).volume
    assert np.array_equal(again.values, made[2].volume.values), "the n-th case follows from seed and n"
    drawn = picture(bucket, made)
    assert np.asarray(drawn).std() > 10


def test_a_training_slice_that_comes_again_is_found() -> None:
    bucket = bucket_of([body(number) for number in range(4)])
    real = [bucket.bare(one.volume.values) for one in bucket.cases]
    others = [bucket.bare(body(number).values + 0.3) for number in (5, 6)]
    same = likeness.of(real, [real[0], real[1]])
    assert same.synthetic_to_real == pytest.approx(1)
    assert same.repeated == 1
    assert likeness.repeats(real[2], np.concatenate(real), likeness.neighbours(real)) == 1
    noise = np.random.default_rng(1).uniform(-1, 1, real[0].shape).astype(np.float32)
    assert likeness.repeats(noise, np.concatenate(real), 0.1) == 0
    assert likeness.of(real, others).synthetic_to_real < 0.95


def test_likeness_is_of_the_images_and_not_of_what_lies_beside() -> None:
    drawn = np.random.default_rng(2)
    one, other = (np.full((1, 1, 32, 32), np.nan, np.float32) for _ in range(2))
    one[..., 10:22, 10:22], other[..., 10:22, 10:22] = (drawn.uniform(-1, 1, (12, 12)) for _ in range(2))
    assert abs(likeness.ssim(one, other)[0]) < 0.3, "with the empty border counted it would be near 1"
    assert likeness.ssim(one, one)[0] == pytest.approx(1)


# ----------------------------------------------------------------- the ablation


def test_who_is_judged_was_not_trained_on_and_the_small_set_is_part_of_the_large_one() -> None:
    named: list[dict[str, str]] = [{"patient": f"STS_{n:03}"} for n in range(1, 37)]
    judged = []
    for fold in range(pairs.FOLDS):
        few, unseen = pairs.patients(named, 6, fold)
        many, same = pairs.patients(named, 24, fold)
        assert (len(few), len(many), len(unseen)) == (6, 24, 12)
        assert unseen == same
        assert many[:6] == few
        assert not {one["patient"] for one in many} & {one["patient"] for one in unseen}
        judged += [one["patient"] for one in unseen]
    assert sorted(judged) == [one["patient"] for one in named]


def test_the_shipped_recipe_trains_on_real_and_made_up_cases_together(tmp_path: Path) -> None:
    written = [pairs.write(body(number), tmp_path) for number in range(3)]
    assert nib.load(written[0]["label"]).shape == (28, 24, 12)
    (tmp_path / "dataset.json").write_text(json.dumps({"cases": [{"patient": "P0", **written[0]}]}))
    (real,) = trials.cases_of(tmp_path)
    paths = {name: real[name] for name in ("image", "label")}
    trained = train(
        pairs.BUNDLE, [paths], {**pairs.mixing(written[1:]), "patch": [32, 32, 32], "batch_size": 2}, 0.01, 1
    )
    assert trained.steps >= 1
    assert np.isfinite(trained.loss)


def test_the_page_says_what_was_found_and_no_more() -> None:
    def pair(size: int, gain: Sequence[float]) -> Pair:
        before = [0.6, 0.4, 0.7]
        without, more = (
            tuple(Outcome(f"P{n}", dice, 90.0, 80.0, 0.1) for n, dice in enumerate(dices))
            for dices in (before, [one + two for one, two in zip(before, gain, strict=True)])
        )
        alike = Likeness(0.5, 0.6, 0.55, 0.9, 0.25)
        return Pair(size, 0, Budget(35, 160), 60.0, alike, Fidelity(0.8, 0.7), 100, 90, without, more)

    made = [pair(6, [0.1, 0.11, 0.12]), pair(24, [0.1, -0.1, 0.02])]
    assert [Pair.of_line(one.line()) for one in made] == made
    text = page.page(made, "augmentation.png").replace("\n", " ")
    assert "| 6 patients | 3 | 0.567 | 0.677 | +0.110 (+0.085 ... +0.135) | 1, 0 | 100, 90 |" in text
    assert "**They help here.** Better with made-up cases, beyond the interval: 6 patients. Worse: none." in text
    neither = page.page([pair(6, [0.1, -0.1, 0.02])], "augmentation.png").replace("\n", " ")
    assert "**That they help was not shown.**" in neither
    assert "| 24 patients | 0.50 | 0.60 | 0.55 | 0.90 | 25.0% |" in text
