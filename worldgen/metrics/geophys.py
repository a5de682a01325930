"""GeoPhys: how a clip bends and hurries through an encoder's feature space (arXiv:2606.20707).

Five signals of the path z_1 .. z_T of per-frame features, with ``v_t = z_{t+1} - z_t`` and ``theta_t`` the
angle between v_t and v_{t+1}. Larger is less plausible, between clips *of one scene* only. A frozen clip
would have the best value of all: it is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.encoders.base import Encoder
from worldgen.metrics.fidelity import MOVING
from worldgen.types import Clip

SIGNALS = ("speed", "curvature", "angle_consistency", "acceleration", "residual")
BLIND_TO = ("a clip beside no true one of its scene", "time reversal", "what the features do not see")
GATE = 1e-4
"""Share of the picture that must change for anything to be said."""
_STILL = 1e-6
"""Steps shorter than this share of the features' size have no direction."""


@dataclass(frozen=True)
class Geometry:
    """The five signals of one clip, in units of the features."""

    speed: float
    """Standard deviation of ``|v_t|`` over time."""
    curvature: float
    """Mean angle in radians."""
    angle_consistency: float
    """Standard deviation of the angles in radians."""
    acceleration: float
    """Mean ``|z_{t+1} - 2 z_t + z_{t-1}|^2``."""
    residual: float
    """Mean distance of z_{t+1} from the straight line fitted to z_1 .. z_t."""


def geometry(z: Float[Tensor, "T D"]) -> Geometry:
    """The five signals of one path.

    Raises:
        ValueError: Fewer than four moments, or a path that stands still.
    """
    if z.ndim != 2 or len(z) < 4:
        raise ValueError(f"A path of features must be (T D) with T at least 4; got {tuple(z.shape)}.")
    z = z.double()
    v = z.diff(dim=0)
    length = v.norm(dim=1)
    moving = length > _STILL * z.norm(dim=1).mean()
    both = moving[:-1] & moving[1:]
    if not bool(both.any()):
        raise ValueError("A path of features must move to have a shape; this one stands still.")
    turn = (v[:-1] * v[1:]).sum(dim=1)[both] / (length[:-1] * length[1:])[both]
    angle = turn.clamp(-1, 1).acos()
    return Geometry(
        float(length.std(correction=0)),
        float(angle.mean()),
        float(angle.std(correction=0)),
        float(v.diff(dim=0).square().sum(dim=1).mean()),
        float(torch.stack([(z[t] - _continue_line(z[:t])).norm() for t in range(2, len(z))]).mean()),
    )


@torch.no_grad()
def frame_features(encoder: Encoder, clip: Clip) -> Float[Tensor, "B T D"]:
    """Mean token of every moment: a frame, or a tubelet for encoders that join frames.

    Raises:
        ValueError: An encoder that does not say when its tokens are.
    """
    moments = count_moments(encoder, clip)
    if moments is None:
        raise ValueError(
            f"GeoPhys needs an encoder whose tokens have a time, such as VJEPA2 or TimmVideo; "
            f"{type(encoder).__name__} has none."
        )
    values = encoder.encode(clip).values
    return values.unflatten(1, (moments, -1)).mean(dim=2).double().cpu()


def count_moments(encoder: Encoder, clip: Clip) -> int | None:
    """How many moments the tokens are of; None unless they lie in order of time, as many at each."""
    positions = encoder.positions(clip)
    if positions is None or not bool(positions[0, :, 0].isfinite().all()):
        return None
    steps = positions[0, :, 0].diff()
    moments = int((steps != 0).sum()) + 1
    return moments if bool((steps >= 0).all()) and positions.shape[1] % moments == 0 else None


def changed_share(clip: Clip) -> Float[Tensor, " B"]:
    """Share of the pixels that at some time differ visibly from the first frame: the motion gate."""
    differs = (clip.frames - clip.frames[:, :1]).abs().amax(dim=2) > MOVING  # (B, T, H, W)
    return differs.any(dim=1).flatten(1).double().mean(dim=1)


def clip_geometry(encoder: Encoder, clip: Clip) -> tuple[Geometry | None, ...]:
    """The signals of each clip; None for those in which nothing moves."""
    paths, moving = frame_features(encoder, clip), changed_share(clip) >= GATE
    found: list[Geometry | None] = []
    for path, moves in zip(paths, moving.tolist(), strict=True):
        try:
            found.append(geometry(path) if moves else None)
        except ValueError as error:
            if "stands still" not in str(error):
                raise
            found.append(None)
    return tuple(found)


def _continue_line(z: Float[Tensor, "T D"]) -> Float[Tensor, " D"]:
    """Where the least-squares line through the past is one step later."""
    t = torch.arange(len(z), dtype=z.dtype) - (len(z) - 1) / 2
    slope = (t[:, None] * z).sum(dim=0) / t.square().sum()
    return z.mean(dim=0) + slope * (len(z) + 1) / 2
