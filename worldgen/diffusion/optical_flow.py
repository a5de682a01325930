"""Optical flow between two frames, a vector for each cell: how things move where the known frames end."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample, pad

_FLAT = 1e-5
"""Added to the squared gradients: where there is no texture the flow is zero, not anything."""
_CHANGED = 0.03
"""Change of brightness at which a pixel counts half: what does not change is background, and stands still."""
_ROUNDS = 3


def optical_flow(
    first: Float[Tensor, "B 3 H W"], second: Float[Tensor, "B 3 H W"], cells: tuple[int, int]
) -> Float[Tensor, "B 2 h w"]:
    """Flow of what changes in a window of twice a cell's size around each cell.

    Least squares of ``I_x u + I_y v = -I_t`` (Lucas & Kanade 1981) in closed form, solved again on both
    frames moved half way toward each other, so that steps of several pixels are found too. Pixels weigh by
    how much they change: edges of a background in the window would hold the flow back.

    Args:
        first: Frames in [0, 1].
        second: The frames that follow them.
        cells: (h, w); divides the frames.

    Returns:
        Pixels per frame, to the right and down; at most a window's half.
    """
    height, width = first.shape[-2:]
    size = (height // cells[0], width // cells[1])
    grid = _windows(size, cells).to(first)  # (P, N, 2)
    first, second = _blur(first), _blur(second)
    changed = _blur((second - first).square().sum(dim=1, keepdim=True))
    weight = _sample(changed / (changed + _CHANGED**2), grid[None])[:, 0]
    weight = weight * ((grid > -0.5) & (grid < grid.new_tensor([width - 0.5, height - 0.5]))).all(dim=-1)
    slopes = [torch.cat([frame, *_gradients(frame)], dim=1) for frame in (first, second)]
    limit = first.new_tensor([size[1], size[0]])
    flow = first.new_zeros(len(first), len(grid), 1, 2)
    for _ in range(_ROUNDS):
        before, after = _sample(slopes[0], grid - flow / 2), _sample(slopes[1], grid + flow / 2)
        change = (after - before)[:, :3]
        right, down = ((before + after) / 2)[:, 3:].chunk(2, dim=1)

        def gather(product: Float[Tensor, "B 3 P N"]) -> Float[Tensor, "B P"]:
            return (product.sum(dim=1) * weight).mean(dim=-1)

        xx, xy, yy = gather(right * right) + _FLAT, gather(right * down), gather(down * down) + _FLAT
        xt, yt = -gather(right * change), -gather(down * change)
        step = torch.stack([yy * xt - xy * yt, xx * yt - xy * xt], dim=-1) / (xx * yy - xy * xy)[..., None]
        flow = torch.minimum(torch.maximum(flow + step[:, :, None], -limit), limit)
    return flow[:, :, 0].transpose(1, 2).unflatten(-1, cells)


def _windows(size: tuple[int, int], cells: tuple[int, int]) -> Float[Tensor, "P N 2"]:
    """(x, y) of the pixels of each cell's window."""
    rows, columns = (
        (torch.arange(count)[:, None] * length + torch.arange(-length / 2, length * 3 / 2).floor())
        for count, length in zip(cells, size, strict=True)
    )  # (h, 2 H/h), (w, 2 W/w)
    shape = (*cells, rows.shape[1], columns.shape[1])
    x, y = columns[None, :, None, :].expand(shape), rows[:, None, :, None].expand(shape)
    return torch.stack([x, y], dim=-1).flatten(2, 3).flatten(0, 1)


def _sample(image: Float[Tensor, "B C H W"], grid: Float[Tensor, "#B P N 2"]) -> Float[Tensor, "B C P N"]:
    """Values between pixels, bilinear; beyond the border, the border's."""
    size = grid.new_tensor([image.shape[-1], image.shape[-2]])
    place = (grid.expand(len(image), -1, -1, -1) + 0.5) * 2 / size - 1
    return grid_sample(image, place, padding_mode="border", align_corners=False)


def _gradients(image: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, Tensor]:
    padded = pad(image, (1, 1, 1, 1), mode="replicate")
    return (
        (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2,
        (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2,
    )


def _blur(image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Binomial smoothing over 5 x 5 pixels: flow is the first order of a change, which edges are not."""
    weight = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=image.device, dtype=image.dtype) / 16
    rows = pad(image.flatten(0, 1)[:, None], (2, 2, 2, 2), mode="replicate")
    smooth = conv2d(conv2d(rows, weight[None, None, :, None]), weight[None, None, None])
    return smooth[:, 0].unflatten(0, image.shape[:2])
