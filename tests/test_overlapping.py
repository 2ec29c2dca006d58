"""Segments that share voxels: as channels of their own, or as unions of label values, from the network to the PACS."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import MRImageStorage

from models import card, entropy, golden, membership, overlapping
from models.card import Bundle, Card, CardError
from models.incoming import draft
from models.network import Network, Probabilities
from models.scores.case import score
from node.errors import Refused
from node.learning import masks
from node.learning.correction import compare
from node.learning.mapping import Mapped, compose
from node.learning.shadowing import agreement
from node.learning.structures import Structure
from node.learning.trainer import must_be_trainable
from node.measurements.measure import measure
from node.objects import results
from node.objects.checks.whole import faults
from node.objects.forms import Form
from node.objects.pictures.choice import number_of_key_images
from node.objects.run import Run
from node.objects.segments.writer import segmentation
from node.study import volume
from node.study.decode import Decoders
from node.study.volume import Volume
from tests import brats_bundle, scenes
from tests.brats_bundle import STRUCTURES, Masks
from tests.fake_pacs import FakePacs
from tests.peers_tools import dciodvfy
from tests.running import RunningNode
from tests.runs import provenance_of, run_of
from tests.synthetic import as_files

SHAPE = (6, 14, 18)
AFFINE = np.array([[1.5, 0, 0, -20.0], [0, 1.25, 0, -15.0], [0, 0, 3.0, 40.0], [0, 0, 0, 1.0]])
WHERE = scenes.grid((1, 0, 0), (0, 1, 0), (4, 3, 6), extent_mm=72)
BOTH = pytest.mark.parametrize("painted", [False, True], ids=["channels", "unions"])


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Bundle]:
    folder = tmp_path_factory.mktemp("brats")
    return {
        painted: card.read(brats_bundle.make(folder, f"brats{painted:d}", painted=painted)) for painted in (False, True)
    }


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(1)
    yield pool
    pool.close()


def tumour(shape: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """T1c and FLAIR, (slices, rows, columns): a tumour with a core, an enhancing rim of it, and an island of core."""
    t1c, flair = np.full(shape, 50, np.float32), np.full(shape, 80, np.float32)
    flair[1:-1, 2:-3, 3:-2] = 600
    t1c[1:-2, 4:-5, 5:-6] = 500
    t1c[2:-2, 4:7, 5:9] = 900
    t1c[1, 3, 4] = 500
    return t1c, flair


def label_map(masks_of: Masks, painted: bool) -> NDArray[np.uint8]:
    """As the two bundles give it."""
    core, whole, enhancing = masks_of
    if painted:
        return np.where(enhancing, 4, np.where(core, 1, np.where(whole, 2, 0))).astype(np.uint8)
    return np.asarray(core + 2 * whole + 4 * enhancing, np.uint8)


# ----------------------------------------------------------------- the card


def changed(bundle: Bundle, *pairs: tuple[str, str], folder: Path) -> Card:
    text = (bundle.folder / card.FILE).read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    (folder / card.FILE).write_text(text)
    return card.read(folder).card


def test_a_card_names_the_label_values_of_its_segments(bundles: dict[bool, Bundle]) -> None:
    assert membership.parts(bundles[True].card) == {1: (1, 4), 2: (1, 2, 4), 4: (4,)}
    assert membership.parts(bundles[False].card) == {1: (1, 3, 5, 7), 2: (2, 3, 6, 7), 4: (4, 5, 6, 7)}
    assert all(membership.overlap(one.card) for one in bundles.values())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("one_class_per_core_mm = 3", "exclude one another"),
        ("grow_mm = 2", "exclude one another"),
        ("gate = {baseline = [{value = 1, above = 3}]}", "baseline"),
    ],
)
def test_rules_for_segments_that_exclude_one_another_are_refused(
    bundles: dict[bool, Bundle], tmp_path: Path, more: str, said: str
) -> None:
    with pytest.raises(CardError, match=said):
        changed(bundles[False], ("overlapping = true", f"overlapping = true\n{more}"), folder=tmp_path)


def test_a_byte_has_eight_bits(bundles: dict[bool, Bundle], tmp_path: Path) -> None:
    block = re.search(r"\[\[segment\]\].*?(?=\n\[\[)", (bundles[False].folder / card.FILE).read_text(), re.DOTALL)
    assert block
    more = "".join(block[0].replace("value = 1", f"value = {value}") + "\n" for value in range(10, 15))
    assert len(changed(bundles[False], ("[files]", f"{more}\n[files]"), folder=tmp_path).segment) == 8
    with pytest.raises(CardError, match="2 to 8 segments"):
        ninth = block[0].replace("value = 1", "value = 20")
        changed(bundles[False], ("[files]", f"{more}{ninth}\n\n[files]"), folder=tmp_path)


def test_made_of_has_no_place_beside_channels(bundles: dict[bool, Bundle], tmp_path: Path) -> None:
    with pytest.raises(CardError, match="`made_of` has no place"):
        changed(
            bundles[True],
            ('weights_licence = "Apache-2.0"', 'weights_licence = "x"\noverlapping = true'),
            folder=tmp_path,
        )


def test_a_bundle_that_ends_in_thresholds_of_sigmoids_is_drafted_as_overlapping(bundles: dict[bool, Bundle]) -> None:
    of_channels = draft.draft(bundles[False].folder, "brats", "1.2.3", lambda _: None)
    assert "overlapping = true" in of_channels
    assert [int(one) for one in re.findall(r"^value = (\d+)", of_channels, re.MULTILINE)] == [1, 2, 3]
    assert re.findall(r'^label = "(.*)"', of_channels, re.MULTILINE) == [one[0] for one in STRUCTURES]
    painted = draft.draft(bundles[True].folder, "brats", "1.2.3", lambda _: None)
    assert "overlapping" not in painted, "one label map is made of its channels afterwards"


def test_such_a_network_is_not_trained_here(bundles: dict[bool, Bundle]) -> None:
    for bundle in bundles.values():
        with pytest.raises(Refused, match="is not trained here") as refused:
            must_be_trainable(bundle.card)
        assert refused.value.code == "training-impossible"
    must_be_trainable(card.find("ct_lungs", (card.SHIPPED,)).card)


# -------------------------------------------------------------- the network


@pytest.mark.filterwarnings("ignore:inverse has been called")  # as of the bundle that these are like
@BOTH
def test_the_label_map_holds_every_segment_whole(bundles: dict[bool, Bundle], painted: bool) -> None:
    t1c, flair = tumour(SHAPE)
    out, doubt = np.full(SHAPE, 99, np.uint8), dict[int, float]()
    kept = Probabilities()
    Network(bundles[painted]).segment([t1c, t1c * 0, t1c * 0, flair], AFFINE, out, doubt, kept)
    meant = brats_bundle.made(t1c, flair)
    assert np.array_equal(out, label_map(meant, painted))
    for segment, mask in zip(bundles[painted].card.segment, meant, strict=True):
        assert np.array_equal(membership.inside(out, segment.values), mask)
    if not painted:
        assert set(doubt) == {1, 2, 4}, "each of its channels is a probability"
        assert max(doubt.values()) < 0.01, "and sure"
        assert kept.array is not None
        assert kept.array.shape[0] == 4
        assert np.array_equal(kept.array[2].transpose(2, 1, 0) > 0.5, meant[1])


def test_the_entropy_of_a_channel_is_in_bits_and_of_its_own_segment() -> None:
    probabilities = torch.tensor([[0.5, 0.9, 0.1, 0.0], [1.0, 0.5, 0.5, 0.0]]).reshape(2, 4, 1, 1)
    doubt = overlapping.Doubt(probabilities, 0.5)
    of_90 = -(0.9 * np.log2(0.9) + 0.1 * np.log2(0.1))
    assert doubt.means(probabilities, [7, 9]) == pytest.approx({7: (1 + of_90) / 2, 9: 2 / 3}, abs=2e-3)
    probabilities[0] = 0
    assert set(doubt.means(probabilities, [7, 9])) == {9}, "a segment that a rule took away has none"


def test_the_entropy_of_a_union_is_over_all_of_it() -> None:
    probabilities = torch.tensor([[0.1, 0.2], [0.9, 0.0], [0.0, 0.8]]).reshape(3, 2, 1, 1)
    own = entropy.of_softmax(probabilities)
    one, other = entropy.means(own, probabilities).values()
    assert entropy.means(own, probabilities, {5: (1, 2), 2: (2,)}) == pytest.approx(
        {5: (one + other) / 2, 2: other}, abs=1e-3
    )


def test_the_rules_work_on_each_segment_by_itself(bundles: dict[bool, Bundle], tmp_path: Path) -> None:
    """An island of one channel within another one goes, a hole in it is filled, and the other stays as it is."""
    rules = "overlapping = true\nsmallest_component_ml = 0.05\nfill_holes_mm2 = 10"
    its = changed(bundles[False], ("overlapping = true", rules), folder=tmp_path)
    probabilities = torch.zeros(3, 18, 14, 6)
    probabilities[0, 2:9, 2:9, 1:4], probabilities[0, 5, 5, :] = 0.75, 0.25
    probabilities[0, 14, 10, 3] = 0.75
    probabilities[1, 12:17, 8:13, 1:5] = 0.625
    before = probabilities.clone()
    overlapping.mend(probabilities, AFFINE, its, 0.5)
    assert probabilities[0, 14, 10, 3] == 0, "the island"
    assert (probabilities[0, 5, 5, 1:4] == 1).all(), "the hole"
    assert torch.equal(probabilities[1], before[1])
    assert int((probabilities[0] != before[0]).sum()) == 4


# -------------------------------------------------------- everything of a run


@pytest.fixture(scope="module")
def mr(decoders: Decoders, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Volume]:
    built = volume.build(as_files(scenes.images("MR", WHERE), tmp_path_factory.mktemp("mr")), decoders)
    yield built
    built.close()


FORMS = [Form("SEG", "BINARY"), Form("SR", "TID1411"), Form("SR", "TID1501"), Form("RTSTRUCT", "CONTOURS")]
FORMS += [Form("STL", "SEGMENT2"), Form("PDF", "REPORT"), *(Form("SC", f"KEY0{n}") for n in range(1, 5))]


def a_run(bundle: Bundle, mr: Volume, painted: bool) -> Run:
    labels = label_map(brats_bundle.made(*tumour(mr.geometry.shape)), painted)
    return run_of(mr, labels, provenance_of(mr, labels, card=bundle.card))


def by_highdicom(file: Path | BytesIO, mr: Volume) -> Masks:
    """(segment; slices, rows, columns), on the grid of the images."""
    seg = hd.seg.segread(file)
    assert str(seg.SegmentsOverlap) == "YES"
    grid = hd.Volume(np.zeros(mr.geometry.shape), mr.geometry.affine[:, [2, 1, 0, 3]], coordinate_system="PATIENT")
    read = [seg.get_volume(segment_numbers=[n]).match_geometry(grid).array for n in (1, 2, 3)]
    return np.stack([one.reshape(mr.geometry.shape) > 0 for one in read])


@BOTH
def test_all_that_is_made_of_a_run_shows_every_segment_whole(
    bundles: dict[bool, Bundle], mr: Volume, tmp_path: Path, painted: bool
) -> None:
    run, meant = a_run(bundles[painted], mr, painted), brats_bundle.made(*tumour(mr.geometry.shape))
    assert number_of_key_images(run.labels, bundles[painted].card) == 4
    made = results.make(run, FORMS)
    assert faults(made, run) == []
    file = tmp_path / "seg.dcm"
    file.write_bytes(made[0].data)
    assert np.array_equal(by_highdicom(file, mr), meant)
    assert dciodvfy(file) == []
    structures = dcmread(BytesIO(next(one.data for one in made if one.form.kind == "RTSTRUCT")))
    sizes = [float(roi.ROIVolume) for roi in structures.StructureSetROISequence]
    wanted = [mask.sum() * mr.geometry.voxel_ml for mask in meant]
    assert sizes == pytest.approx(wanted, abs=1e-3)
    report = next(one.data for one in made if one.form == Form("SR", "TID1411"))
    assert volumes_ml(dcmread(BytesIO(report))) == pytest.approx(wanted, abs=0.006)


@BOTH
def test_each_segment_is_measured_as_if_it_were_alone(bundles: dict[bool, Bundle], mr: Volume, painted: bool) -> None:
    run = a_run(bundles[painted], mr, painted)
    meant = brats_bundle.made(*tumour(mr.geometry.shape))
    for segment, mask, found in zip(run.provenance.card.segment, meant, run.measured, strict=True):
        plain = segment.model_copy(update={"made_of": ()})
        (alone,) = measure(mr, mask.astype(np.uint8) * np.uint8(segment.value), [plain])
        assert found == alone


def test_the_self_check_finds_what_is_wrong_with_overlapping_segments(bundles: dict[bool, Bundle], mr: Volume) -> None:
    run = a_run(bundles[False], mr, False)
    (seg,) = results.make(run, FORMS[:1])
    denied = dcmread(BytesIO(seg.data))
    denied.SegmentsOverlap = "NO"
    stream = BytesIO()
    denied.save_as(stream, enforce_file_format=True)
    assert any("overlapping" in one for one in faults([replace(seg, data=stream.getvalue())], run))
    other = run.labels.copy()
    other[2, 5, 6] ^= 2
    assert any("voxels are not those of the network" in one for one in faults([seg], replace(run, labels=other)))


def test_there_is_no_label_map_of_segments_that_overlap(bundles: dict[bool, Bundle], mr: Volume) -> None:
    for painted, bundle in bundles.items():
        with pytest.raises(Refused, match="which no label map can show") as refused:
            segmentation(a_run(bundle, mr, painted), label_map=True)
        assert refused.value.code == "segments-overlap"


# ---------------------------------------------------------- truth and scores


@BOTH
def test_scores_agreement_and_corrections_are_those_of_each_segment(bundles: dict[bool, Bundle], painted: bool) -> None:
    truth, found = brats_bundle.made(*tumour(SHAPE)), brats_bundle.made(*tumour(SHAPE))
    found[1, 4], found[0, 2, :5], found[2, 3] = False, False, False
    if painted:
        found[0] |= found[2]
        found[1] |= found[0]
    its, maps = bundles[painted].card, [label_map(one, painted) for one in (truth, found)]
    parts = membership.parts(its)
    lesions = [1]
    scored = score(maps[0], maps[1], AFFINE, list(parts), lesions=lesions, parts=parts)
    agreed = agreement(maps[0], maps[1], AFFINE, parts)
    corrected = compare(maps[0], maps[1], list(parts), AFFINE, parts)
    for n, (value, of_it) in enumerate(zip(parts, scored, strict=True)):
        one, other = (of[n].astype(np.uint8) for of in (truth, found))
        (alone,) = score(one, other, AFFINE, [1], lesions=lesions if value == 1 else [])
        assert replace(of_it, value=1) == alone
        assert agreed[str(value)]["dice"] == pytest.approx(alone.dice)
        assert corrected.classes[n].voxels_changed == int((truth[n] ^ found[n]).sum())
    assert corrected.voxels_changed == int((truth ^ found).any(0).sum())


def structure(number: int, mask: NDArray[np.bool_]) -> Structure:
    return Structure(number=number, name=STRUCTURES[number - 1][0], mask=mask)


def mapped(masks_of: Masks) -> list[Mapped]:
    values = [one[2] for one in STRUCTURES]
    return [
        Mapped(structure(n, one), value, "code") for n, (one, value) in enumerate(zip(masks_of, values, strict=True), 1)
    ]


@BOTH
def test_outlines_that_overlap_become_the_label_map_that_says_so(bundles: dict[bool, Bundle], painted: bool) -> None:
    meant = brats_bundle.made(*tumour(SHAPE))
    made = compose(mapped(meant), bundles[painted].card, SHAPE)
    assert np.array_equal(made.mask, label_map(meant, painted))
    assert made.annotated == (1, 2, 4)
    assert made.given_away == {}


def test_outlines_that_no_label_value_says_are_refused_or_put_right(bundles: dict[bool, Bundle]) -> None:
    """A core outside of its tumour: channels can say it, a label map of 0, 1, 2 and 4 cannot."""
    meant = brats_bundle.made(*tumour((8, 20, 24)))
    meant[0, 0, :2, :2] = True
    assert compose(mapped(meant), bundles[False].card, meant[0].shape).mask[0, 0, 0] == 1
    made = compose(mapped(meant), bundles[True].card, meant[0].shape)
    assert made.given_away == {1: 4}, "a few voxels at the edge are no contradiction"
    assert made.mask[0, 0, 0] == 0
    meant[0, :, :, 0] = True
    with pytest.raises(Refused, match="are Tumor core but not Whole tumor or Enhancing tumor") as refused:
        compose(mapped(meant), bundles[True].card, meant[0].shape)
    assert refused.value.code == "label-overlap"


@BOTH
def test_a_label_of_one_segment_is_completed_by_the_label_before(bundles: dict[bool, Bundle], painted: bool) -> None:
    """The new one stays as it was drawn; where the enhancing part left the tumour, the tumour grows with it."""
    its, older = bundles[painted].card, brats_bundle.made(*tumour(SHAPE))
    drawn = np.zeros(SHAPE, np.bool_)
    drawn[2:4, 4:6, 5:8] = drawn[5, 0, :3] = True
    mask = compose([Mapped(structure(3, drawn), 4, "code")], its, SHAPE).mask
    added = masks.complete(mask, [4], label_map(older, painted), [1, 2, 4], its)
    parts = membership.parts(its)
    core, whole, enhancing = (membership.inside(mask, parts[value]) for value in (1, 2, 4))
    assert np.array_equal(enhancing, drawn)
    assert np.array_equal(whole, older[1] | drawn if painted else older[1])
    assert np.array_equal(core, older[0] | drawn if painted else older[0])
    assert added == {1: int(core.sum()), 2: int(whole.sum())}


def test_a_golden_case_is_judged_segment_by_segment(bundles: dict[bool, Bundle]) -> None:
    labels = label_map(brats_bundle.made(*tumour(SHAPE)), painted=True)
    case = golden.Golden(name="a", channels=(), affine=AFFINE, expected=labels, minimum_dice=0.98)
    assert golden.deviation(bundles[True], case, labels) == ""
    said = golden.deviation(bundles[True], case, np.where(labels == 4, 1, labels).astype(np.uint8))
    assert "Enhancing tumor" in said
    assert "Tumor core" not in said, "the core is 1 and 4, and has them all"


# ------------------------------------------------------------ the whole way


def four_series() -> tuple[list[Dataset], Masks]:
    """An MR study as it is sent, and what is to be found in it."""
    t1c, flair = tumour(WHERE.shape)
    study, place = generate_uid(), generate_uid()
    sent = []
    for number, (name, values) in enumerate(
        {"t1c": t1c, "t1": t1c * 0 + 9, "t2": t1c * 0 + 7, "flair": flair}.items(), 1
    ):
        images = scenes.images("MR", WHERE)
        for ds, plane in zip(images, values, strict=True):
            ds.StudyInstanceUID, ds.FrameOfReferenceUID = study, place
            ds.SeriesDescription, ds.SeriesNumber = name, number
            scenes.with_pixels(ds, plane.astype(np.int16))
        sent += images
    return sent, brats_bundle.made(t1c, flair)


def c_store(port: int, images: Sequence[Dataset]) -> None:
    ae = AE("SCANNER")
    ae.add_requested_context(MRImageStorage)
    assoc = ae.associate("127.0.0.1", port, ae_title="PLANIMETER")
    assert assoc.is_established
    assert all(assoc.send_c_store(ds).Status == 0x0000 for ds in images)
    assoc.release()


def once(objects: Sequence[Dataset]) -> list[Dataset]:
    """What a busy machine sent again, after a time-out, is the same object."""
    return list({ds.SOPInstanceUID: ds for ds in objects}.values())


def volumes_ml(report: Dataset) -> list[float]:
    groups = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_volumetric_roi_measurement_groups()
    return [float(group.get_measurements()[0].value) for group in groups]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_four_mr_series_come_back_as_segments_that_overlap(
    start_node: Callable[..., RunningNode], pacs: FakePacs, decoders: Decoders, tmp_path: Path
) -> None:
    """A network with channels and one with unions, from memory and from one study."""
    home = tmp_path / "home"
    for painted in (False, True):
        brats_bundle.make(home / "models", f"brats{painted:d}", painted=painted)
    settings = tmp_path / "settings.toml"
    settings.write_text(
        f'[[peer]]\nname = "pacs"\nae_title = "{pacs.ae_title}"\n'
        f'[peer.destination]\nhost = "127.0.0.1"\nport = {pacs.port}\nlabel_map = true\n'
        '[[route]]\nname = "brains"\nnetworks = ["brats0", "brats1"]\ndestinations = ["pacs"]\n'
    )
    home.chmod(0o700)
    node = start_node("--quiet-seconds", "5", "--config", str(settings), home=home)
    sent, meant = four_series()
    c_store(node.port, sent)
    study: Any = node.wait_for(sent[0].StudyInstanceUID, "done", 240)
    assert study["images"] == len(sent)
    found = once(pacs.of_modality("SEG"))
    assert {seg.SegmentationType for seg in found} == {"BINARY"}, "the destination shows label maps; there can be none"
    assert len(found) == 2
    built = volume.build(as_files(sent[: WHERE.shape[0]], tmp_path / "t1c"), decoders)
    for number, seg in enumerate(found):
        file = tmp_path / f"{number}.dcm"
        seg.save_as(file, enforce_file_format=True)
        assert np.array_equal(by_highdicom(file, built), meant)
    wanted = [mask.sum() * built.geometry.voxel_ml for mask in meant]
    built.close()
    sized = [volumes for one in once(pacs.of_modality("SR")) if (volumes := volumes_ml(one))]
    assert sized == [pytest.approx(wanted, abs=0.006)] * 2
