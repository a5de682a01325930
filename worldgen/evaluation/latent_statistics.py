"""What the numbers of a latent are like: mean and spread of each channel, tails, use of codes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldgen.metrics.measure import Row

_FAR = 4.0


class LatentStatistics:
    """Sums over clips, in double precision.

    Args:
        channels: C of z.
    """

    def __init__(self, channels: int) -> None:
        self.n, self.far, self.codes = 0, 0, 0
        self.sums = torch.zeros(4, channels, dtype=torch.float64)
        """Of z to the powers 1 to 4."""
        self.steps = torch.zeros(2, dtype=torch.float64)
        """Squared change from step to step, and over how many numbers."""
        self.uses = torch.zeros(0, dtype=torch.long)

    def add(self, z: Float[Tensor, "B L C h w"]) -> None:
        """One more latent."""
        values = z.double().cpu().movedim(2, 0)  # (C, B, L, h, w)
        flat = values.flatten(1)
        self.n += flat.shape[1]
        self.sums += torch.stack([(flat**power).sum(dim=1) for power in (1, 2, 3, 4)])
        self.far += int((flat.abs() > _FAR).sum())
        change = values.diff(dim=2)
        self.steps += torch.tensor([float(change.square().sum()), change.numel()], dtype=torch.float64)

    def count(self, indices: Int[Tensor, "B L h w"], codes: int) -> None:
        """One more latent of numbered codes.

        Args:
            indices: Which of them.
            codes: How many there are.
        """
        found = torch.bincount(indices.flatten().cpu(), minlength=codes)
        self.uses = found if not len(self.uses) else self.uses + found

    def moments(self) -> tuple[Float[Tensor, " C"], Float[Tensor, " C"], Float[Tensor, " C"]]:
        """Mean, standard deviation and kurtosis (3 of a Gaussian) of each channel."""
        first, second, third, fourth = self.sums / self.n
        variance = (second - first**2).clamp(min=1e-24)
        around = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
        return first, variance.sqrt(), around / variance**2

    def rows(self) -> list[Row]:
        """What a table says of all channels together."""
        mean, spread, kurtosis = self.moments()
        step = float((self.steps[0] / self.steps[1]).sqrt()) if self.steps[1] else None
        rows = [
            Row("latent mean, largest of channels", float(mean.abs().max())),
            Row("latent spread, least of channels", float(spread.min())),
            Row("latent spread, mean of channels", float(spread.mean())),
            Row("latent spread, largest of channels", float(spread.max())),
            Row("latent kurtosis, median of channels", float(kurtosis.median()), note="3 of a Gaussian"),
            Row(
                f"latent numbers beyond {_FAR:g}", self.far / (self.n * len(mean)), note="6e-5 of a Gaussian"
            ),
            Row(
                "latent change from step to step",
                None if step is None else step / float(spread.square().mean().sqrt()),
                unit="spreads",
                note="does not apply: one step"
                if step is None
                else "1.41 of steps that know nothing of another",
            ),
        ]
        if len(self.uses):
            share = self.uses.double() / self.uses.sum()
            perplexity = float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum()))
            used = int((self.uses > 0).sum())
            rows.append(Row("codes used", float(used), unit=f"of {len(self.uses)}"))
            rows.append(Row("perplexity of codes", perplexity, unit=f"of {len(self.uses)}"))
        return rows

    def table(self) -> tuple[tuple[str, ...], Sequence[Sequence[object]]]:
        """Heads and lines, a line a channel."""
        lines = [(place, *map(float, one)) for place, one in enumerate(zip(*self.moments(), strict=True))]
        return ("channel", "mean", "spread", "kurtosis"), lines
