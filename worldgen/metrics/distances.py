"""How far generated clips are, as a crowd, from real ones: JEDi and Frechet distance of their features.

Both see the pictures more than the motion, and both are above zero between two halves of the *same* real
clips. A value is worth reading only beside its n and that floor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.encoders.base import Encoder
from worldgen.metrics.measure import Measure
from worldgen.types import Clip

Features = Float[Tensor, "n d"]
JEDI_BLIND_TO = ("features that change their sign", "which law was broken", "single bad clips among many")
FRECHET_BLIND_TO = ("everything beyond mean and covariance", "which law was broken", "single bad clips")
_SPLITS = 10


def jedi(x: Features, y: Features) -> float:
    """JEDi: ``100 MMD^2`` with the kernel ``(x y / d)^2``, biased estimator (Luo et al. 2024, 2410.05203).

    The kernel is the square of an inner product, so that the whole sum over pairs is
    ``(100 / d^2) || X'X / n - Y'Y / m ||_F^2``: only second raw moments count, and JEDi(X, -X) = 0.

    Raises:
        ValueError: Features of different dimension, no clips, or values that are not finite.
    """
    x, y = _require_features(x, y)
    return float(100 * (_moment(x) - _moment(y)).square().sum() / x.shape[1] ** 2)


def jedi_floor(real: Features, n: int, m: int) -> float:
    """What `jedi` is on average between n and m clips of the same kind as the real ones.

    ``100 (1/n + 1/m) (E k(x, x) - E k(x, x'))``, with the unbiased estimate of the latter.

    Raises:
        ValueError: Fewer than two real clips.
    """
    real, _ = _require_features(real, real)
    count, dim = real.shape
    if count < 2:
        raise ValueError(f"A floor needs at least two real clips; got {count}.")
    own = float((real.square().sum(dim=1) / dim).square().sum())
    every = float(_moment(real).square().sum()) * count**2 / dim**2
    return 100 * (1 / n + 1 / m) * (own / count - (every - own) / (count * (count - 1)))


def frechet(x: Features, y: Features) -> float:
    """Frechet distance of two Gaussians: ``|mu - mu'|^2 + tr(S + S' - 2 (S S')^(1/2))``.

    Frechet *video* distance takes features of an I3D (Unterthiner et al. 2018, 1812.01717); of other features
    the value is another one. The trace of the root comes from the eigenvalues of ``S^(1/2) S' S^(1/2)``. With
    fewer clips than dimensions it is biased upward by much.

    Raises:
        ValueError: Features of different dimension, fewer than two clips, or values that are not finite.
    """
    x, y = _require_features(x, y)
    if min(len(x), len(y)) < 2:
        raise ValueError(f"A covariance needs at least two clips; got {len(x)} and {len(y)}.")
    root = _root(torch.cov(x.T).reshape(x.shape[1], -1))
    other = torch.cov(y.T).reshape(y.shape[1], -1)
    cross = torch.linalg.eigvalsh(root @ other @ root).clamp(min=0).sqrt().sum()
    apart = (x.mean(dim=0) - y.mean(dim=0)).square().sum()
    return max(float(apart + root.square().sum() + other.trace() - 2 * cross), 0.0)  # but for rounding


@dataclass(frozen=True)
class Spread:
    """A distance between random halves of the same clips, several times."""

    mean: float
    low: float
    high: float
    """Least and most of the splits."""
    half: int
    """Clips in each half."""


def split_floor(
    distance: Callable[[Features, Features], float], real: Features, seed: int = 0, splits: int = _SPLITS
) -> Spread:
    """The distance between disjoint halves of the real clips: as near as this many clips can come.

    Raises:
        ValueError: Fewer than four real clips.
    """
    half = len(real) // 2
    if half < 2:
        raise ValueError(f"A floor needs at least four real clips to split; got {len(real)}.")
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(splits):
        order = torch.randperm(len(real), generator=generator)
        values.append(distance(real[order[:half]], real[order[half : 2 * half]]))
    return Spread(float(np.mean(values)), min(values), max(values), half)


@torch.no_grad()
def clip_features(encoder: Encoder, clips: Sequence[Clip]) -> Features:
    """One vector per clip: the mean of its real tokens, in double precision.

    JEDi's authors pool V-JEPA tokens by an attentive probe instead: their published values are of other
    features.
    """
    found = []
    for clip in clips:
        values, mask = encoder.encode(clip)
        weight = mask[..., None].to(values)
        found.append(((values * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)).double().cpu())
    return torch.cat(found)


def measure_distances(made: Features, real: Features, seed: int = 0) -> tuple[Measure, ...]:
    """JEDi and Frechet distance with n and floor: JEDi's for these very n, the other's of a real split."""
    measures = []
    for name, distance, blind in (
        ("JEDi", jedi, JEDI_BLIND_TO),
        ("Frechet distance", frechet, FRECHET_BLIND_TO),
    ):
        if min(len(made), len(real)) < 4:
            note = f"does not apply: {len(made)} generated and {len(real)} real clips; it needs four of each"
            measures.append(Measure(name, None, "", "lower", 0.0, "fidelity", len(made), note=note))
            continue
        halves = split_floor(distance, real, seed)
        floor, limit = halves.mean, halves.high
        note = f"{len(made)} generated and {len(real)} real clips of {real.shape[1]} dimensions; "
        between = f"halves of {halves.half}, {halves.low:.4g} .. {halves.high:.4g}"
        if distance is jedi:
            # A squared difference of means falls as their variance: halves are too few clips by half.
            floor, scale = (
                jedi_floor(real, len(made), len(real)),
                halves.half * (1 / len(made) + 1 / len(real)),
            )
            limit *= scale / 2
            note += f"the floor is for so many clips, and the limit that of {between}, times {scale / 2:.3g}"
        else:
            note += f"the floor is that of {between}: above that of all clips, it falls about as 1 / n"
        if distance is frechet and min(len(made), halves.half) <= real.shape[1]:
            note += "; fewer clips than dimensions, so biased upward"
        measures.append(
            Measure(
                name,
                distance(made, real),
                "",
                "lower",
                limit,
                "fidelity",
                len(made),
                floor=floor,
                note=note,
                blind_to=blind,
            )
        )
    return tuple(measures)


def _moment(x: Features) -> Float[Tensor, "d d"]:
    return x.T @ x / len(x)


def _root(covariance: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def _require_features(x: Features, y: Features) -> tuple[Features, Features]:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or 0 in (*x.shape, *y.shape):
        raise ValueError(
            f"Features must be (n d) and (m d), not empty; got {tuple(x.shape)} and {tuple(y.shape)}."
        )
    x, y = x.double(), y.double()
    if not (bool(x.isfinite().all()) and bool(y.isfinite().all())):
        raise ValueError("Features must be finite; got NaN or infinite ones. Leave such clips out.")
    return x, y
