"""plans.json and dataset.json of an nnU-Net v2 results folder, as far as a label map depends on them.

Whatever would have to be guessed is refused by name: another preprocessor, another trainer's network, a cascade.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..card import CardError
from .layers import Architecture, architecture

PLANS, DATASET = "plans.json", "dataset.json"
#: readers that give arrays as SimpleITK has them; pictures and TIFF stacks have no place in a patient
READERS = ("SimpleITKIO", "NibabelIO", "NibabelIOWithReorient")
REORIENTS = "NibabelIOWithReorient"
SCHEMES = ("CTNormalization", "ZScoreNormalization", "NoNormalization", "RescaleTo01Normalization")
RESAMPLE, KEEP = "resample_data_or_seg_to_shape", "no_resampling_data_or_seg_to_shape"
STATISTICS = ("mean", "std", "percentile_00_5", "percentile_99_5")
#: nnU-Net's own trainers, in whatever combination, that change the training and leave the network as planned
TRAINERS = re.compile(
    r"nnUNet_?Trainer(_?(\d+ep(och)?s?|DA5|(DA5?)?Seg[oO]rd0|DASegOrd0|DAOrd0|ord0|DAExtGPU|NoDA|noDummy2DDA|NoMirroring|"
    r"onlyMirror01|CosAnneal|warmup|(Vanilla)?Ada[mn]w?|\d+en\d+|(Dice)?(Topk|TopK)10Loss(LS01)?|(Dice)?(CE)?Loss|noSmooth|"
    r"NoDeepSupervision|probabilisticOversampling|\d{3}|BS\d+|Benchmark|noDataLoading))*"
)

Three = Annotated[tuple[int, int, int], Field()]


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Configuration(_Read):
    preprocessor_name: str = "DefaultPreprocessor"
    patch_size: Annotated[tuple[int, ...], Field(min_length=2, max_length=3)]
    spacing: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=2, max_length=3)]
    normalization_schemes: tuple[str, ...]
    use_mask_for_norm: tuple[bool, ...]
    resampling_fn_data: str = RESAMPLE
    resampling_fn_data_kwargs: dict[str, Any] = Field(default_factory=dict)
    resampling_fn_probabilities: str = RESAMPLE
    resampling_fn_probabilities_kwargs: dict[str, Any] = Field(default_factory=dict)


class _Plans(_Read):
    dataset_name: str = ""
    plans_name: str = ""
    transpose_forward: Three
    image_reader_writer: str = "SimpleITKIO"
    label_manager: str = "LabelManager"
    configurations: dict[str, dict[str, Any]]
    foreground_intensity_properties_per_channel: dict[str, dict[str, float]] = Field(default_factory=dict)
    foreground_intensity_properties_by_modality: dict[str, dict[str, float]] = Field(default_factory=dict)


class _Dataset(_Read):
    channel_names: dict[str, str] = Field(default_factory=dict)
    modality: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, int | tuple[int, ...]]
    regions_class_order: tuple[int, ...] | None = None
    name: str = ""
    description: str = ""
    licence: str = ""
    license: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that leads from an image to a label map, but the weights.

    Attributes:
        configuration: "3d_fullres".
        reorients: whether nnU-Net itself turns images to RAS.
        transpose, patch, spacing_mm: after transposing, as the plans have them.
        normalisation: of each channel, as `transforms.Prepared` wants it.
        resampling, export: arguments of `resampling.How` for the image and for the logits.
        channels: names of the input's channels.
        values: label value -> what it is, the background not among them.
        regions: label values in the order in which regions are painted; empty: each class is its number.
        heads: channels of the network's output.
    """

    dataset: str
    configuration: str
    reorients: bool
    transpose: tuple[int, ...]
    patch: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    normalisation: tuple[dict[str, Any], ...]
    resampling: dict[str, Any]
    export: dict[str, Any]
    channels: tuple[str, ...]
    values: dict[int, str]
    regions: tuple[int, ...]
    heads: int
    architecture: Architecture
    said: dict[str, str]


def configurations(folder: Path) -> list[str]:
    """What plans.json has plans for."""
    return sorted(_parsed(folder / PLANS, _Plans).configurations)


def read(folder: Path, configuration: str) -> Plan:
    """The plan of a results folder.

    Raises:
        CardError: a file is not nnU-Net's, or something in it cannot be kept exact; the sentence names it.
    """
    plans, dataset = _parsed(folder / PLANS, _Plans), _parsed(folder / DATASET, _Dataset)
    tree = _inherited(plans, configuration)
    if tree.get("previous_stage"):
        raise CardError(
            f"{configuration} is the second stage of a cascade: it reads the label map of {tree['previous_stage']} "
            "too, which is not supported; 3d_fullres, 3d_lowres and 2d are"
        )
    one = _valid(_Configuration, tree, f"{PLANS}, {configuration}")
    _only("preprocessor", one.preprocessor_name, ("DefaultPreprocessor",))
    _only("image reader", plans.image_reader_writer, READERS)
    _only("label manager", plans.label_manager, ("LabelManager",))
    names = dataset.channel_names or dataset.modality
    channels = tuple(names[str(number)] for number in range(len(names)) if str(number) in names)
    if not channels or len(channels) != len(names) or len(one.normalization_schemes) != len(channels):
        raise CardError(f"{DATASET}: its channel_names do not fit the plans' normalization_schemes")
    if sorted(plans.transpose_forward) != [0, 1, 2] or len(one.spacing) != len(one.patch_size):
        raise CardError(f"{PLANS}: its transpose_forward, spacing and patch_size do not fit together")
    values, regions, heads = _labels(dataset)
    return Plan(
        dataset=plans.dataset_name,
        configuration=configuration,
        reorients=plans.image_reader_writer == REORIENTS,
        transpose=plans.transpose_forward,
        patch=one.patch_size,
        spacing_mm=one.spacing,
        normalisation=tuple(_normalisation(plans, one, len(channels))),
        resampling=_how(one.resampling_fn_data, one.resampling_fn_data_kwargs),
        export=_how(one.resampling_fn_probabilities, one.resampling_fn_probabilities_kwargs),
        channels=channels,
        values=values,
        regions=regions,
        heads=heads,
        architecture=architecture(tree, len(one.patch_size)),
        said={"description": dataset.description or dataset.name, "licence": dataset.licence or dataset.license},
    )


def trainer_is_known(name: str) -> bool:
    """Whether a trainer is one of nnU-Net's that train the planned network and no other."""
    return TRAINERS.fullmatch(name) is not None


def _parsed(file: Path, kind: type[Any]) -> Any:
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CardError(f"{file.name}: cannot be read: {error}") from None
    return _valid(kind, tree, file.name)


def _valid(kind: type[Any], tree: Any, name: str) -> Any:
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise CardError(f"{name}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None


def _inherited(plans: _Plans, name: str) -> dict[str, Any]:
    """A configuration with what it inherits."""
    chain: list[str] = []
    here: Any = name
    while here is not None:
        if here not in plans.configurations or here in chain:
            raise CardError(f"{PLANS}: has no configuration {here} that could be used")
        chain.append(here)
        here = plans.configurations[here].get("inherits_from")
    tree: dict[str, Any] = {}
    for one in reversed(chain):
        tree |= plans.configurations[one]
    return tree


def _only(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise CardError(f"{PLANS}: its {what} is {name}, which is not supported; {', '.join(known)} is")


def _normalisation(plans: _Plans, one: _Configuration, count: int) -> Iterator[dict[str, Any]]:
    statistics = plans.foreground_intensity_properties_per_channel or plans.foreground_intensity_properties_by_modality
    for number, (scheme, masked) in enumerate(zip(one.normalization_schemes, one.use_mask_for_norm, strict=False)):
        _only("normalisation", scheme, SCHEMES)
        said: dict[str, Any] = {"scheme": scheme}
        if scheme == "CTNormalization":
            its = statistics.get(str(number), {})
            if missing := [name for name in STATISTICS if name not in its]:
                raise CardError(f"{PLANS}: CTNormalization of channel {number} lacks {', '.join(missing)}")
            said |= {name: its[name] for name in STATISTICS}
        elif scheme == "ZScoreNormalization":
            said["masked"] = masked
        yield said
    if len(one.use_mask_for_norm) != count:
        raise CardError(f"{PLANS}: use_mask_for_norm does not have one entry per channel")


def _how(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `resampling.How`."""
    if name == KEEP:
        return {"none": True}
    _only("resampling", name, (RESAMPLE, KEEP))
    given = dict(arguments)
    if given.pop("is_seg", False):
        raise CardError(f"{PLANS}: resamples images as if they were labels")
    # where the plans say nothing the function's own defaults hold, which are not the planner's
    how = {"order": given.pop("order", 3), "order_z": given.pop("order_z", 0)}
    how["force_separate_z"] = given.pop("force_separate_z", False)
    if "separate_z_anisotropy_threshold" in given:
        how["threshold"] = given.pop("separate_z_anisotropy_threshold")
    if given:
        raise CardError(f"{PLANS}: its resampling has {', '.join(sorted(given))}, which is not supported")
    return how


def _labels(dataset: _Dataset) -> tuple[dict[int, str], tuple[int, ...], int]:
    """Label values by what they are, the order in which regions are painted, and the channels of the output."""
    labels = {name: (value,) if isinstance(value, int) else value for name, value in dataset.labels.items()}
    if labels.get("background") != (0,):
        raise CardError(f"{DATASET}: its labels have no background of 0")
    labels.pop("ignore", None)
    structures = {name: set(values) for name, values in labels.items() if set(values) != {0}}
    if not structures or any(not values for values in structures.values()):
        raise CardError(f"{DATASET}: has a label without a value, or none beside the background")
    if all(len(values) == 1 for values in structures.values()):
        values = {next(iter(values)): name for name, values in structures.items()}
        if sorted(values) != list(range(1, len(structures) + 1)):
            raise CardError(f"{DATASET}: its labels are not 1 to {len(structures)}, each once")
        return dict(sorted(values.items())), (), len(structures) + 1
    order = dataset.regions_class_order
    if order is None or len(order) != len(structures) or len(set(order)) != len(order) or 0 in order:
        raise CardError(f"{DATASET}: regions_class_order does not name one label value for each region")
    return _of_regions(list(structures.items()), order), order, len(structures)


def _of_regions(regions: Sequence[tuple[str, set[int]]], order: Sequence[int]) -> dict[int, str]:
    """What is left of each region once the later ones are painted over it: that is what its label value means."""
    said = {}
    for number, (value, (name, parts)) in enumerate(zip(order, regions, strict=True)):
        over = [other for other, its in regions[number + 1 :] if its & parts]
        said[value] = f"{name} without {', '.join(over)}" if over else name
    return dict(sorted(said.items()))
