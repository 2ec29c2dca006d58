"""A bundle of any shape that the Model Zoo has gives from memory what MONAI gives from disk, or is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from models import card
from models.network import LPS_TO_RAS, Network, Unusable
from tests.zoo.bundles import AFFINE, Shape, images, modules_of, write
from tests.zoo.shapes import SHAPES

pytestmark = pytest.mark.filterwarnings("ignore")  # what libraries say of each other's arguments


#: these get a second study: it finds the network warm, and takes nothing over from the first
TWICE = (
    "plain",
    "own_argmax_before_a_linear_inversion",
    "saved_under_another_key",
    "several_keys_that_become_one_image",
)


def on_disk(array: NDArray[np.float32], file: Path, flat: bool) -> str:
    if flat:
        file = file.with_suffix(".png")
        Image.fromarray(array[0].astype(np.uint8)).save(file)
    else:
        file = file.with_suffix(".nii.gz")
        nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), LPS_TO_RAS @ AFFINE), file)  # type: ignore[attr-defined,no-untyped-call]
    return str(file)


def stock(shape: Shape, root: Path, network: torch.nn.Module, channels: list[NDArray[np.float32]]) -> NDArray[Any]:
    """The bundle run as MONAI runs it: from files to a file. (n, slices, rows, columns)."""
    folder = root.parent / "disk"
    folder.mkdir(exist_ok=True)
    files = [on_disk(channel, folder / f"{number}", shape.flat) for number, channel in enumerate(channels)]
    item: dict[str, Any] = dict(shape.beside)
    for key, numbers in shape.keys.items():
        chosen = [files[number] for number in numbers] or [on_disk(channels[0] * 0, folder / "empty", shape.flat)]
        item[key] = chosen if len(chosen) > 1 else chosen[0]
    with modules_of(root):
        config = root / shape.config_file if shape.config_file.startswith("configs") else _unpacked(shape, folder)
        workflow = ConfigWorkflow(str(config), workflow_type="infer", logging_file=False)
        parser = workflow.parser
        for id_, value in {"bundle_root": str(root), "output_dir": str(folder / "out"), "dataset#data": [item]}.items():
            parser[id_] = value
        parser["dataloader#num_workers"] = 0
        for id_, value in shape.stock.items():
            parser[id_] = value
        if shape.stock_network:
            parser["network"], parser["handlers"] = network, []
        workflow.initialize()
        starts = next((name for name in ("run", "evaluating") if name in parser), None)
        if starts is None:
            parser.get_parsed_content("evaluator").run()
        else:
            workflow._run_expr(starts)
    written, *others = sorted((folder / "out").rglob("*.*"), key=lambda file: "image" in file.name)
    if shape.flat:
        array = np.asarray(Image.open(written)).T[..., None]
    else:
        loaded: Any = nib.load(written)  # type: ignore[attr-defined]
        array = np.asarray(loaded.dataobj)
    for file in (written, *others):
        file.unlink()
    if array.ndim == 5:
        array = array[:, :, :, 0]
    array = array[..., None] if array.ndim == 3 else array
    return array.transpose(3, 2, 1, 0)


def _unpacked(shape: Shape, folder: Path) -> Path:
    import json

    file = folder / "inference.json"
    file.write_text(json.dumps(shape.config))
    return file


def expected(shape: Shape, found: NDArray[Any]) -> NDArray[Any]:
    """The label map of what lies on disk."""
    if shape.overlapping:
        return np.asarray((found > 0) * 2 ** np.arange(len(shape.values)).reshape(-1, 1, 1, 1)).sum(0)
    if found.shape[0] == 1:
        return found[0]
    masks = found if found.shape[0] == len(shape.values) else found[1:]
    return np.asarray((masks * np.array(shape.values).reshape(-1, 1, 1, 1)).sum(0))


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_bundle_gives_from_memory_what_it_gives_from_disk(tmp_path: Path, name: str) -> None:
    shape = SHAPES[name]()
    if shape.needs:
        pytest.importorskip(shape.needs)
    root = tmp_path / "bundle"
    network = write(shape, root)
    channels = images(shape)
    out = np.full(channels[0].shape[:3], 99, np.uint8)
    if shape.refused and not shape.refused.startswith("output-"):
        with pytest.raises(card.CardError, match=shape.refused):
            Network(card.read(root))
        return
    warm = Network(card.read(root))
    if shape.refused:
        with pytest.raises(Unusable) as unusable:
            warm.segment(channels, AFFINE, out)
        assert unusable.value.code == shape.refused
        return
    for turned in (False, True) if name in TWICE else (False,):
        given = [np.ascontiguousarray(channel[:, ::-1]) if turned else channel for channel in channels]
        planes = range(out.shape[0]) if shape.flat else [slice(None)]
        parts = [
            expected(shape, stock(shape, root, network, [one[plane][None] if shape.flat else one for one in given]))
            for plane in planes
        ]
        wanted = np.concatenate(parts)
        warm.segment(given, AFFINE, out)
        masks = [wanted & 1 << bit for bit in range(len(shape.values))] if shape.overlapping else []
        masks = masks or [wanted == value for value in shape.values]
        counts = [int((mask > 0).sum()) for mask in (wanted == 0, *masks)]
        assert min(counts) > 0.005 * wanted.size, f"the reference has too little of a label to prove anything: {counts}"
        assert np.array_equal(out, wanted), f"{(out != wanted).sum()} of {wanted.size} voxels differ"


def test_the_cards_rules_hold_where_a_bundle_gives_labels_alone(tmp_path: Path) -> None:
    """Small islands become what surrounds them, on the source grid, whatever the label values are."""
    shape = SHAPES["other_label_values"]()
    shape.config["postprocessing"]["transforms"].insert(0, {"_target_": "EnsureTyped", "keys": "pred"})
    shape.config["postprocessing"]["transforms"][2]["nearest_interp"] = True
    root = tmp_path / "bundle"
    write(shape, root)
    (channel,) = images(shape)
    found = {}
    for least_ml in (0, 1.5):
        text = (root / card.FILE).read_text()
        (root / card.FILE).write_text(
            f"smallest_component_ml = {least_ml}\n" + text.replace("smallest_component_ml = 0\n", "")
        )
        found[least_ml] = np.empty(channel.shape, np.uint8)
        Network(card.read(root)).segment([channel], AFFINE, found[least_ml])
    sizes = {least_ml: smallest_ml(labels) for least_ml, labels in found.items()}
    assert sizes[0] < 0.1
    assert sizes[1.5] >= 1.5
    assert set(np.unique(found[1.5])) <= {0, 11, 205}


def smallest_ml(labels: NDArray[np.uint8]) -> float:
    voxel_ml = 1.5 * 1.25 * 3 / 1000
    components = [ndimage.label(labels == value)[0] for value in np.unique(labels) if value]
    return float(min(np.bincount(one.ravel())[1:].min() for one in components) * voxel_ml)


def test_labels_are_inverted_rightly_at_once_and_a_second_run_is_the_exception(tmp_path: Path) -> None:
    runs = {}
    for name in ("argmax_before_a_linear_inversion", "own_argmax_before_a_linear_inversion"):
        shape = SHAPES[name]()
        write(shape, tmp_path / name / "bundle")
        network = Network(card.read(tmp_path / name / "bundle"))
        started: list[Any] = []
        network._evaluator.add_event_handler(Events.STARTED, started.append)
        channels = images(shape)
        counts = []
        for _ in range(2):
            network.segment(channels, AFFINE, np.empty(channels[0].shape, np.uint8))
            counts.append(len(started))
        runs[name] = counts
    assert runs == {"argmax_before_a_linear_inversion": [1, 2], "own_argmax_before_a_linear_inversion": [2, 3]}


def test_what_is_loaded_from_a_bundle_before_is_forgotten(tmp_path: Path) -> None:
    """Two bundles have modules of the same name, and each its own."""
    first, second = SHAPES["own_scripts"](), SHAPES["own_scripts"]()
    second.files["scripts/steps.py"] = second.files["scripts/steps.py"].replace("(3 - made[key])", "made[key]")
    roots = [tmp_path / f"{number}" / "bundle" for number in range(3)]
    for root, shape in zip(roots, (first, second, first), strict=True):
        write(shape, root)
    channels = images(first)
    found = []
    for root in roots:
        found.append(np.empty(channels[0].shape, np.uint8))
        Network(card.read(root)).segment(channels, AFFINE, found[-1])
    assert np.array_equal(found[0], found[2])
    assert not np.array_equal(found[0], found[1])
    assert np.array_equal(found[0] > 0, found[1] > 0)
