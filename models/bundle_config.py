"""A bundle's configuration, read and made ready for a service: nothing on disk, nothing on another device.

The files stay as they are. What is changed is the parsed tree, before any of it is built: reading and writing images,
loading checkpoints and telling trackers get stand-ins in the same places; the data set holds one item, whatever the
configuration says about folders; a CUDA device that is written out becomes the one that this host has.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import monai.networks.nets
import torch
from monai.bundle import ConfigParser
from monai.data import Dataset

from . import readers
from .card import Bundle, CardError
from .finding_rules import Result
from .torchscript import extras, scripted
from .training.tree import named

HERE = __name__.rpartition(".")[0]
READERS, WRITERS = ("LoadImage",), ("SaveImage",)
#: what a bundle does with files, logs and trackers has no place in a service
LEFT_OUT = (*READERS, *WRITERS, "CheckpointLoader", "TensorBoard", "MLFlow", "StatsHandler", "ClearML")
SILENT = (
    *LEFT_OUT[2:],
    "CheckpointSaver",
    "SegmentationSaver",
    "ClassificationSaver",
    "DetectionSaver",
    "MetricsSaver",
)
#: arguments that a stand-in takes over
READ_WITH = ("keys", "dtype", "ensure_channel_first", "allow_missing_keys")
SAVED_WITH = ("keys", "resample", "mode", "padding_mode", "dtype", "allow_missing_keys")
#: data sets that keep what they have once made, on disk or in memory
KEEPING = ("Dataset", "CacheDataset", "PersistentDataset", "SmartCacheDataset", "LMDBDataset", "CacheNTransDataset")
#: where the bundle's own list of cases is put away; it may say more of a case than its images
OWN_DATA = "planimeter_own_data"
LOADERS = ("DataLoader", "ThreadDataLoader")

_NESTED = r"(?:[^()]|\([^()]*\))*"
#: in an expression: a device that is not this host's -> this host's
DEVICES = (
    (re.compile(rf"torch\.device\({_NESTED}cuda{_NESTED}\)"), "@device"),
    (re.compile(r"\.cuda\(\s*\d*\s*\)"), ".to(@device)"),
    (re.compile(r"(\.to\(|\b(?:map_location|device)\s*=)\s*(['\"])cuda(?::\d+)?\2"), r"\1@device"),
)
#: reading and writing that is hidden in an expression, where nothing can stand in for it
HIDDEN = re.compile(r"\b((?:LoadImage|SaveImage|CheckpointLoader)\w*)\(")
WRITTEN_OUT = re.compile(r"cuda(:\d+)?")

#: bundles whose own modules (`scripts`) may have been imported into this process
_taken_in: list[str] = []


@dataclass(frozen=True)
class Prepared:
    """A configuration that nothing was built from yet.

    Attributes:
        parser: MONAI's.
        commands: ids of the expressions that the bundle runs before its evaluator.
        weights_names: under which it looks for the network's weights in its checkpoint.
        strict: whether it takes weights without a place in the network as an error.
        planar: whether the network's input has two axes in space.
        ends_apart: whether its postprocessing counts even where its evaluator does not run it.
    """

    parser: ConfigParser
    commands: tuple[str, ...]
    weights_names: tuple[str, ...]
    strict: bool
    planar: bool
    ends_apart: bool


def prepare(bundle: Bundle, device: torch.device) -> Prepared:
    """Read the configuration of a bundle whose files were verified.

    Raises:
        CardError: it is not one that can be run; the sentence names the file and what is missing.
    """
    _take_in(bundle.folder)
    parser = ConfigParser()
    file = bundle.folder / bundle.card.config
    config, meta = _read(file, bundle.folder)
    parser.read_config(config)
    if meta is not None:
        parser.read_meta(meta)
    try:
        parser.resolve_macro_and_relative_ids()
    except (ValueError, KeyError, OSError) as error:
        raise CardError(f"{file}: a reference leads nowhere: {error}") from None
    for name in ("dataset", "evaluator"):
        if not isinstance(parser.get(name), dict) or "_target_" not in parser[name]:
            raise CardError(f"{file}: has no `{name}` that could be run: it is no MONAI bundle for inference")
    parser[""] = _on_this_host(parser.get(), file)
    parser["bundle_root"], parser["device"] = str(bundle.folder), device
    names, strict = _checkpoint(parser)
    for _path, node, name in named(parser.get()):
        _stand_in(node, name)
        _still_accepted(node, name)
    _one_item(parser)
    for metric in ("key_val_metric", "additional_metrics"):
        parser["evaluator"].pop(metric, None)  # they want a label
    _whole_network(parser, bundle.folder / bundle.card.weights)
    ends_apart = bundle.card.result is not Result.SEGMENTS
    return Prepared(parser, tuple(_commands(parser)), names, strict, _planar(parser), ends_apart)


def _take_in(folder: Path) -> None:
    """Let a bundle's own modules be found, and forget those of a bundle before: both may be called `scripts`."""
    for before in _taken_in:
        for name, module in list(sys.modules.items()):
            known = vars(module) if isinstance(module, ModuleType) else {}
            places = [known.get("__file__"), *list(known.get("__path__", ()))]
            if any(place and Path(place).is_relative_to(before) for place in places):
                del sys.modules[name]
        if before in sys.path:
            sys.path.remove(before)
    _taken_in[:] = [str(folder)]
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True


def _read(file: Path, folder: Path) -> tuple[dict[str, Any], Any]:
    """The configuration and what metadata there is; from inside the network's file, if the card says so."""
    try:
        if scripted(file):
            inside = extras(file)
            if not isinstance(inside.get("inference"), dict):
                raise CardError(f"{file}: has no extra/inference.json inside")
            return inside["inference"], inside.get("metadata")
        meta = folder / "configs" / "metadata.json"
        read = ConfigParser.load_config_files(str(file))
    except (OSError, ValueError, KeyError) as error:
        raise CardError(f"{file}: cannot be read as a configuration: {error}") from None
    if not isinstance(read, dict):
        raise CardError(f"{file}: is no configuration")
    return read, str(meta) if meta.is_file() else None


def _on_this_host(config: Any, file: Path, key: str = "") -> Any:
    """The same with every string looked at: devices are this host's, and nothing is read or written in hiding."""
    if isinstance(config, dict):
        return {name: _on_this_host(value, file, str(name)) for name, value in config.items()}
    if isinstance(config, list):
        return [_on_this_host(value, file, key) for value in config]
    if not isinstance(config, str):
        return config
    if config.startswith("$"):
        if hidden := HIDDEN.search(config):
            raise CardError(f"{file}: makes {hidden[1]} in an expression; it has to be a component, with `_target_`")
        for pattern, ours in DEVICES:
            config = pattern.sub(ours, config)
    elif WRITTEN_OUT.fullmatch(config) and key.endswith(("device", "map_location")):
        return "@device"
    return config


def _checkpoint(parser: ConfigParser) -> tuple[tuple[str, ...], bool]:
    for _path, node, name in named(parser.get()):
        if name == "CheckpointLoader":
            wanted = node.get("load_dict")
            names = tuple(wanted) if isinstance(wanted, dict) else ()
            return names, not (node.get("strict") is False or node.get("strict_shape") is False)
    return (), True


def _stand_in(node: dict[str, Any], name: str) -> None:
    """Exchange a component that reads, writes or reports, in place."""
    if name.startswith(READERS) and name.endswith("d"):
        lies = {"rows_first": readers.rows_first(node), "left_as_lps": readers.left_as_lps(node)}
        _become(node, "FromMemory", READ_WITH)
        node |= lies
    elif name.startswith(WRITERS) and name.endswith("d"):
        _become(node, "Saved", SAVED_WITH)
    elif name.startswith(SILENT):
        _become(node, "Nothing", ())
    elif name in LOADERS:
        kept = {key: node[key] for key in ("dataset", "collate_fn") if key in node}
        node.clear()
        node |= {"_target_": "DataLoader", "batch_size": 1, "num_workers": 0} | kept


def _become(node: dict[str, Any], name: str, keep: tuple[str, ...]) -> None:
    kept = {key: node[key] for key in keep if key in node}
    node.clear()
    node |= {"_target_": f"{HERE}.stand_ins.{name}"} | kept


def _still_accepted(node: dict[str, Any], name: str) -> None:
    """Leave out the image size that Swin UNETR once only checked, and now refuses."""
    if name == "SwinUNETR" and "img_size" in node:
        accepted = inspect.signature(monai.networks.nets.SwinUNETR.__init__).parameters
        if "img_size" not in accepted:
            del node["img_size"]


def _one_item(parser: ConfigParser) -> None:
    node = parser["dataset"]
    parser[OWN_DATA] = node.get("data")
    if str(node["_target_"]).rsplit(".", 1)[-1] in KEEPING:
        transform = node.get("transform")
        node.clear()
        node |= {"_target_": f"{Dataset.__module__}.Dataset", "transform": transform}
    node["data"] = [{}]  # the evaluator counts them once; every run puts its own item here


def _whole_network(parser: ConfigParser, weights: Path) -> None:
    """A network that is a program of its own takes the place of the one that the configuration would build."""
    if scripted(weights):
        whole = {"_target_": f"{HERE}.weights.load_scripted", "path": str(weights), "device": "@device"}
        parser["network"] = whole
        parser["evaluator"]["network"] = "@network"


def _commands(parser: ConfigParser) -> Iterator[str]:
    """What the bundle runs itself before its evaluator, except for the loading of weights.

    `initialize`, then `run`, or whatever an older bundle calls the list that ends in `@evaluator.run()`.
    """
    config = parser.get()
    lists = [name for name, value in config.items() if isinstance(value, list) and name != "initialize"]
    starts = [name for name in lists if any(_starts(item) for item in config[name])]
    for name in ("initialize", *starts[:1]):
        listed = config.get(name)
        for number, item in enumerate(listed if isinstance(listed, list) else [listed]):
            if _starts(item):
                break
            if isinstance(item, str) and item.startswith("$") and "load_state_dict" not in item:
                yield f"{name}#{number}" if isinstance(listed, list) else name


def _starts(item: Any) -> bool:
    return isinstance(item, str) and re.search(r"@evaluator(#\w+)*\.run\(", item) is not None


def _planar(parser: ConfigParser) -> bool:
    """Whether one image of the network's input has two axes, and nothing cuts volumes into them for it."""
    meta = parser.get("_meta_") or {}
    inputs = (meta.get("network_data_format") or {}).get("inputs") or {}
    shapes = [one.get("spatial_shape") for one in inputs.values() if isinstance(one, dict)]
    sliced = any(name.startswith("SliceInferer") for _path, _node, name in named(parser.get()))
    return not sliced and bool(shapes) and all(isinstance(shape, list) and len(shape) == 2 for shape in shapes)


def build(prepared: Prepared) -> tuple[Any, Any]:
    """The bundle's evaluator and its postprocessing, or None; whatever goes wrong in a bundle is raised as it is."""
    parser = prepared.parser
    parser.parse(reset=True)
    for command in prepared.commands:
        parser.get_parsed_content(command)
    evaluator = parser.get_parsed_content("evaluator")
    ending = "evaluator#postprocessing"
    if ending not in parser and prepared.ends_apart and "postprocessing" in parser:
        ending = "postprocessing"  # that of a detector is run by the handler that saves its boxes
    return evaluator, parser.get_parsed_content(ending) if ending in parser else None


def constants(parser: ConfigParser) -> dict[str, Any]:
    """What the bundle's own list says of its first case beside its files: prompts, thresholds. Mostly nothing.

    Args:
        parser: after parsing.
    """
    try:
        cases = parser.get_parsed_content(OWN_DATA)
    except Exception:  # noqa: BLE001 - it may look for any file that is not here
        return {}
    first = cases[0] if isinstance(cases, list) and cases and isinstance(cases[0], dict) else {}
    return {str(key): value for key, value in first.items() if _no_path(value)}


def _no_path(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_no_path(one) for one in value)
    return isinstance(value, int | float)
