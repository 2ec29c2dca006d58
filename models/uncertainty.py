"""Several passes of a network over one image: their mean is its result, and where they differ it is not sure.

Either the image is mirrored along axes of the patient, and what comes out mirrored back, classes of the other side
exchanged; or the network's dropout stays on (Gal and Ghahramani, 2016). Of every voxel are known then

- the entropy of the mean of the passes' probabilities, divided by the logarithm of the number of classes: all doubt;
- the disagreement: that entropy less the mean entropy of the passes (mutual information; Smith and Gal, 2018), in the
  same unit: the part of the doubt that more training could take away;
- the confidence: the mean probability of the likeliest class.

With one sigmoid per channel each channel has two classes, itself and the rest; a voxel has the most doubtful channel's
values. The bundle's own ending goes on with the mean: with its logarithm where softmax comes next, which gives the mean
back, and with its logit where sigmoid does. Where neither comes next nobody knows what the output means: such a bundle
is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from nibabel.orientations import io_orientation
from numpy.typing import NDArray

from . import membership
from .card import Card, CardError
from .doubt import LEFT_RIGHT, OF_PATIENT, OF_PICTURE
from .ending import Ending
from .result import Unusable
from .sampled import Means
from .training.exchanging import exchanged_places

SOFTMAX, SIGMOID = "softmax", "sigmoid"
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass
class Uncertain:
    """What is told of a run, and what `Network.segment` fills in.

    Attributes:
        exchange: label values that are one another's mirror image; None: nobody has said.
        entropy, disagreement, confidence: label value -> mean over its voxels, in the final label map.
        maps: float16 (2, x, y, z), entropy and disagreement on the network's own grid; None for pictures.
        affine: 4x4, from (x, y, z) index to DICOM patient coordinates (LPS, mm).
    """

    exchange: Sequence[tuple[int, int]] | None = None
    entropy: dict[int, float] = field(default_factory=dict)
    disagreement: dict[int, float] = field(default_factory=dict)
    confidence: dict[int, float] = field(default_factory=dict)
    maps: NDArray[np.float16] | None = None
    affine: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))


class Passes:
    """In place of a bundle's inferer: it is called several times.

    Args:
        inferer: called as MONAI's evaluators do, with inputs and network.
        card: that has an `[uncertainty]`.
        planar: whether the network's input has two axes in space.

    Raises:
        CardError: what the card asks for cannot be had of this bundle.
    """

    def __init__(
        self, inferer: Callable[..., Any], card: Card, ending: Ending, network: torch.nn.Module, planar: bool
    ) -> None:
        assert card.uncertainty is not None
        self._inferer, self._rule = inferer, card.uncertainty
        self._parts = membership.parts(card)
        self._values = sorted(segment.value for segment in card.segment)
        self._softmax, self._relabels = ending.activation == SOFTMAX, ending.relabels
        self._dropouts = list(_dropouts(network))
        self._asked, self._seed, self._planar = Uncertain(), 0, planar
        self._of_voxels, self._affine, self._means = torch.empty(0), np.eye(4), Means()
        if ending.activation not in (SOFTMAX, SIGMOID):
            raise CardError("[uncertainty] needs a bundle whose postprocessing begins with softmax or sigmoid")
        if self._rule.method == "monte-carlo" and not self._dropouts:
            raise CardError("[uncertainty] asks for Monte Carlo, and the network has no dropout that could be left on")
        if wrong := set(self._rule.axes) - set(OF_PICTURE if planar else OF_PATIENT):
            raise CardError(f"[uncertainty]: the network has no axis {', '.join(sorted(wrong))}")

    @property
    def count(self) -> int:
        """How often the inferer is called for each image."""
        return self._rule.count

    def begin(self, channels: Sequence[NDArray[np.float32]], asked: Uncertain | None) -> None:
        """A new input; random numbers follow from it, so that the same study has the same result.

        Raises:
            Unusable: left and right are flipped, and nobody has said which classes that exchanges.
        """
        self._asked, self._means = asked or Uncertain(), Means()
        if LEFT_RIGHT in self._rule.axes and self._asked.exchange is None:
            raise Unusable("uncertainty-unusable", "left and right are flipped; which classes are paired is not said")
        if self._rule.method == "monte-carlo":
            digest = hashlib.blake2b(digest_size=8)
            for channel in channels:
                digest.update(np.ascontiguousarray(channel).data)
            self._seed = int.from_bytes(digest.digest()) >> 1

    def __call__(self, inputs: Any, network: Any, *args: Any, **kwargs: Any) -> Any:
        """The logarithm (the logit) of the mean of the passes' probabilities, (1, class, ...), in single precision."""
        mean = doubt = like = None
        with self._dropping(inputs):
            for axes in self._axes(inputs):
                turned = torch.flip(inputs, axes[0]) if axes[0] else inputs
                output = self._inferer(turned, network, *args, **kwargs)
                if not isinstance(output, torch.Tensor):
                    raise Unusable("uncertainty-unusable", f"the network gives a {type(output).__name__}, no tensor")
                like = MetaTensor([]).copy_meta_from(output) if isinstance(output, MetaTensor) else None
                one = self._probabilities(output, *axes)
                del output
                own = self._entropy(one)
                mean, doubt = (one, own) if mean is None or doubt is None else (mean.add_(one), doubt.add_(own))
        assert mean is not None
        assert doubt is not None
        mean /= self._rule.count
        self._keep(mean, doubt / self._rule.count)
        least = torch.finfo(mean.dtype).tiny
        result = mean.clamp_min_(least).log_() if self._softmax else torch.logit(mean, 1e-7)
        return MetaTensor(result).copy_meta_from(like) if like is not None else result

    def _axes(self, inputs: Any) -> Iterator[tuple[list[int], bool]]:
        """The axes of the tensor that each pass flips, and whether left and right are among them."""
        affine = getattr(inputs, "affine", None) if isinstance(inputs, MetaTensor) else None
        if affine is None or affine.shape[-2:] != (4, 4) or inputs.shape[0] != 1:
            raise Unusable("uncertainty-unusable", "the network's input is no single image that says where it lies")
        self._affine = np.asarray(affine.cpu(), np.float64).reshape(4, 4)
        along = {int(number): axis for axis, number in enumerate(io_orientation(self._affine)[:, 0])}
        numbers = OF_PATIENT | OF_PICTURE
        for flipped in self._rule.flips if self._rule.axes else [()] * self._rule.count:
            yield [2 + along[numbers[name]] for name in flipped], LEFT_RIGHT in flipped

    def _probabilities(self, output: torch.Tensor, axes: list[int], exchange: bool) -> torch.Tensor:
        plain = output.as_tensor() if isinstance(output, MetaTensor) else output
        made = plain.float().softmax(1) if self._softmax else plain.float().sigmoid()
        made = torch.flip(made, axes) if axes else made
        pairs = self._channels(made.shape[1]) if exchange else ()
        return exchanged_places(made[0], pairs)[None] if pairs else made

    def _channels(self, count: int) -> list[tuple[int, int]]:
        """The pairs of classes as channels of the network's output."""
        pairs = list(self._asked.exchange or ())
        if not pairs:
            return []
        if self._softmax:
            place = {value: value for value in self._values if value < count}
        else:
            first = count - len(self._values)
            place = {value: first + n for n, value in enumerate(self._values)} if first in (0, 1) else {}
        if self._relabels or not {value for pair in pairs for value in pair} <= set(place):
            raise Unusable("uncertainty-unusable", "which channels of the network are its paired classes is not known")
        return [(place[one], place[other]) for one, other in pairs]

    def _entropy(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Of each voxel, (1, 1, ...), or of each voxel and channel where these are sigmoids; 0 ... 1."""
        if not self._softmax:
            return (torch.special.entr(probabilities) + torch.special.entr(1 - probabilities)) / math.log(2)
        total = torch.zeros_like(probabilities[:, :1])
        for channel in range(probabilities.shape[1]):  # one at a time: the memory of all of them is not there twice
            total += torch.special.entr(probabilities[:, channel : channel + 1])
        return total / math.log(max(2, probabilities.shape[1]))

    def _keep(self, mean: torch.Tensor, doubt: torch.Tensor) -> None:
        """The three values of each voxel, (3, ...): entropy, disagreement, and what confidence lacks to 1."""
        entropy = self._entropy(mean)
        differ = (entropy - doubt).clamp_min_(0)
        rest = 1 - mean.amax(1) if self._softmax else torch.minimum(mean, 1 - mean).amax(1)
        self._of_voxels = torch.stack([entropy.amax(1)[0], differ.amax(1)[0], rest[0]]).half().cpu()

    def note(self, labels: NDArray[np.uint8], ras: NDArray[np.float64]) -> None:
        """Take what the last call found into what was asked for.

        Args:
            labels: (slices, rows, columns), the label map that came of it.
            ras: 4x4 of its grid, as the network was given it.
        """
        maps = self._of_voxels.numpy()
        maps = maps if maps.ndim == 4 else maps[..., None]
        self._means.add(maps, self._affine, labels, ras)
        asked = self._asked
        asked.entropy, asked.disagreement, rest = self._means.of_each(self._parts)
        asked.confidence = {value: round(1 - mean, 4) for value, mean in rest.items()}
        if not self._planar:
            asked.maps, asked.affine = maps[:2], RAS_TO_LPS @ self._affine
        self._of_voxels = torch.empty(0)

    @contextlib.contextmanager
    def _dropping(self, inputs: Any) -> Iterator[None]:
        """Dropout on, and random numbers from the seed; nothing of both where the image is flipped."""
        if self._rule.method != "monte-carlo":
            yield
            return
        device = inputs.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(self._seed)
            for module in self._dropouts:
                module.train()
            try:
                yield
            finally:
                for module in self._dropouts:
                    module.eval()


def _dropouts(network: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The layers that drop anything, of networks in Python or in TorchScript."""
    for module in network.modules():
        name = getattr(module, "original_name", type(module).__name__)
        if name.endswith(("Dropout", "Dropout1d", "Dropout2d", "Dropout3d")) and getattr(module, "p", 1.0) > 0:
            yield module
