"""Generator and discriminator while they learn, one step after the other.

What the generator is to give: the slice itself in its own style (absolute difference, and the discriminator's features
of both), and images that the discriminator takes for real (least squares). MONAI's perceptual loss is not used: its
networks would have to be downloaded, and have seen photographs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.losses import PatchAdversarialLoss
from torch.nn import functional

from .bucket import Bucket
from .generator import Generator, discriminator

BATCH = 8
LEARNING_RATE = 0.0006
#: of the loss: likeness to the slice, the discriminator's features, and how much styles may say
LIKENESS, FEATURES, STYLES = 10.0, 4.0, 0.02


class Adversaries:
    """Both networks, from a seed.

    Args:
        bucket: the training cases, and nothing else.
        seed: of the weights and of everything drawn; what a step draws follows from seed and step alone.

    Attributes:
        generator: to be used as it is.
        steps: that were made.
    """

    def __init__(self, bucket: Bucket, seed: int, device: torch.device) -> None:
        torch.manual_seed(seed)
        self.bucket, self.seed, self.device = bucket, seed, device
        channels = len(bucket.scale.knots)
        self.generator = Generator(channels, bucket.maps.channels, bucket.canvas.side).to(device)
        self.discriminator = discriminator(channels, bucket.maps.channels).to(device)
        self.steps = 0
        self._optimizers = [
            torch.optim.Adam(network.parameters(), LEARNING_RATE, betas=(0.5, 0.99))
            for network in (self.generator, self.discriminator)
        ]
        self._adversarial = PatchAdversarialLoss(criterion="least_squares")

    def step(self) -> float:
        """One step of each; the mean absolute difference from the real slices, on the scale of -1 ... 1."""
        drawn = np.random.default_rng([self.seed, self.steps])
        torch.manual_seed(int(drawn.integers(2**31)))
        images, shown = (one.to(self.device) for one in self.bucket.draw(BATCH, drawn))
        mean, log_variance = self.generator.styles(images)
        style = mean + torch.randn_like(mean) * torch.exp(log_variance / 2)
        made = self.generator(shown, style)
        self._teach_discriminator(images, made.detach(), shown)
        likeness = self._teach_generator(images, made, shown, (mean, log_variance))
        self.steps += 1
        return likeness

    def saved(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "networks": [self.generator.state_dict(), self.discriminator.state_dict()],
            "optimizers": [one.state_dict() for one in self._optimizers],
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from `saved`: what follows is what would have followed."""
        self.steps = int(saved["steps"])
        for network, state in zip((self.generator, self.discriminator), saved["networks"], strict=True):
            network.load_state_dict(state)
        for optimizer, state in zip(self._optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)

    def _teach_discriminator(self, images: torch.Tensor, made: torch.Tensor, shown: torch.Tensor) -> None:
        real, false = (self.discriminator(torch.cat([one, shown], 1))[-1] for one in (images, made))
        loss = sum(
            self._adversarial(verdict, target_is_real=is_real, for_discriminator=True)
            for verdict, is_real in ((real, True), (false, False))
        )
        self._optimizers[1].zero_grad(set_to_none=True)
        (loss / 2).backward()
        self._optimizers[1].step()

    def _teach_generator(
        self,
        images: torch.Tensor,
        made: torch.Tensor,
        shown: torch.Tensor,
        style: tuple[torch.Tensor, torch.Tensor],
    ) -> float:
        with torch.no_grad():
            wanted = self.discriminator(torch.cat([images, shown], 1))[:-1]
        *features, verdict = self.discriminator(torch.cat([made, shown], 1))
        likeness = functional.l1_loss(made, images)
        alike = torch.stack([functional.l1_loss(one, other) for one, other in zip(features, wanted, strict=True)])
        mean, log_variance = style
        divergence = -0.5 * torch.mean(1 + log_variance - mean**2 - torch.exp(log_variance))
        deceit = self._adversarial(verdict, target_is_real=True, for_discriminator=False)
        loss = LIKENESS * likeness + FEATURES * alike.mean() + STYLES * divergence + deceit
        self._optimizers[0].zero_grad(set_to_none=True)
        loss.backward()
        self._optimizers[0].step()
        return float(likeness.detach())
