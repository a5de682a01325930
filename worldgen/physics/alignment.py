"""How alike a generator's own tokens and those of a frozen encoder of the clean clip are.

Tokens lie on a grid (B T H W D). Two kinds of likeness: of the tokens themselves, and of how they relate to
each other, which asks less of who is to learn it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Grid = Float[Tensor, "B T H W D"]


def relation_distance(
    own: Float[Tensor, "B T H W D"], other: Float[Tensor, "B T H W E"], margin: float = 0.1
) -> Float[Tensor, ""]:
    """Token relation distillation (VideoREPA, Zhang et al. 2025, 2505.23656).

    ``mean relu(|S - S*| - margin)`` of the cosines between all tokens of a frame, plus the same between
    tokens of different frames.

    Args:
        own: Tokens that learn.
        other: Of the encoder, on the same grid; their width may be another.
        margin: Difference of cosines that is no fault.

    Raises:
        ValueError: The grids differ; a single token, which relates to nothing; a negative margin.
    """
    _require_grid(own, other)
    frames, cells = own.shape[1], own.shape[2] * own.shape[3]
    if frames * cells < 2:
        raise ValueError("Relations need two tokens or more; got one. Take longer clips or smaller patches.")
    if margin < 0:
        raise ValueError(f"A margin must not be negative; got {margin}.")
    strayed = (_relations(own) - _relations(other)).abs()  # (B, T S, T S)
    faults = (strayed - margin).clamp(min=0).unflatten(1, (frames, cells)).unflatten(3, (frames, cells))
    within = torch.eye(frames, dtype=torch.bool, device=own.device)[:, None, :, None]
    within = within.expand(frames, cells, frames, cells)
    parts = [faults[:, where] for where in (within, ~within) if bool(where.any())]
    # A cell of a frame of its own is like itself and tells nothing.
    parts = parts[1:] if cells == 1 else parts
    return torch.stack([part.mean() for part in parts]).sum()


def feature_distance(own: Float[Tensor, "B T H W D"], other: Float[Tensor, "B T H W D"]) -> Float[Tensor, ""]:
    """Representation alignment (REPA, Yu et al. 2024, 2410.06940): one minus the mean cosine of tokens.

    Args:
        own: Tokens that learn, brought to the encoder's width.
        other: Of the encoder, on the same grid.

    Raises:
        ValueError: The grids differ.
    """
    _require_grid(own, other)
    return 1 - F.cosine_similarity(own, other, dim=-1).mean()


def on_common_grid(
    own: Float[Tensor, "B T H W D"], other: Float[Tensor, "B U I J E"]
) -> tuple[Float[Tensor, "B t h w D"], Float[Tensor, "B t h w E"]]:
    """Both on the coarser of their grids along each axis, by means of the tokens that fall together."""
    t, h, w = (min(pair) for pair in zip(own.shape[1:4], other.shape[1:4], strict=True))
    target = t, h, w
    return _pool(own, target), _pool(other, target)


def _pool(tokens: Tensor, target: tuple[int, int, int]) -> Tensor:
    return F.adaptive_avg_pool3d(tokens.movedim(-1, 1), target).movedim(1, -1)


def _relations(tokens: Grid) -> Float[Tensor, "B L L"]:
    """Cosines of all pairs."""
    unit = F.normalize(tokens.flatten(1, 3), dim=-1)
    return unit @ unit.transpose(1, 2)


def _require_grid(own: Tensor, other: Tensor) -> None:
    if own.shape[:4] != other.shape[:4]:
        raise ValueError(
            f"Tokens must lie on one grid (B T H W); got {tuple(own.shape[:4])} and "
            f"{tuple(other.shape[:4])}. Bring them there with on_common_grid."
        )
