"""Broken copies of a clip: what the checks must catch, so that a reader sees what a score can tell.

Each control changes frames, masks, depth and truth together. Contacts do not survive: they no longer happen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from worldgen.metrics.appearance import dilate, fill_holes
from worldgen.types import Clip


def reverse(clip: Clip) -> Clip:
    """The clip played backward: velocities and spins change sign. A lossy bounce becomes a gain of energy."""
    frames = clip.frames.shape[1]
    backward = _reorder(clip, torch.arange(frames - 1, -1, -1))
    truth = backward.truth
    if truth is None:
        return backward
    return replace(backward, truth=replace(truth, velocity=-truth.velocity, spin=-truth.spin))


def shuffle(clip: Clip, seed: int = 0) -> Clip:
    """The same frames in random order; truth keeps the velocities that the frames had."""
    order = torch.randperm(clip.frames.shape[1], generator=torch.Generator().manual_seed(seed))
    return _reorder(clip, order)


def freeze(clip: Clip) -> Clip:
    """The first frame, held: nothing moves, so no law is broken, and only the motion gate can refuse it."""
    held = _reorder(clip, torch.zeros(clip.frames.shape[1], dtype=torch.long))
    truth = held.truth
    if truth is None:
        return held
    still = torch.zeros_like(truth.velocity)
    return replace(held, truth=replace(truth, velocity=still, spin=still))


def teleport(clip: Clip, share: float = 0.25) -> Clip:
    """From a third of the clip on, the first object is elsewhere: cut out and pasted toward the roomier side.

    Args:
        clip: With masks; truth moves along where there is a camera.
        share: Jump as a share of the image width.
    """
    if clip.masks is None:
        raise ValueError(
            "teleport needs masks to cut the object out; the clip has none. Use a simulated clip."
        )
    if not 0 < share < 1:
        raise ValueError(f"share must lie in (0, 1) of the image width; got {share:g}.")
    frames, masks = clip.frames.clone(), clip.masks.clone()
    truth = clip.truth
    position = None if truth is None else truth.position.clone()
    height, width = frames.shape[-2:]
    start = frames.shape[1] // 3
    for item in range(len(clip)):
        mask = masks[item, start:, 0]  # (T', H, W)
        columns = mask.any(dim=(0, 1)).nonzero()
        if not len(columns):
            continue
        left, right = int(columns.min()), width - 1 - int(columns.max())
        jump = round(share * width) * (1 if right >= left else -1)
        late = frames[item, start:]
        grown = dilate(mask[:, None], 1)  # (T', 1, H, W): with the partly covered border
        emptied = torch.where(grown, fill_holes(late, mask), late)
        frames[item, start:] = torch.where(_shift(grown, jump), _shift(late, jump), emptied)
        masks[item, start:] &= ~_shift(mask, jump)[:, None]
        masks[item, start:, 0] = _shift(mask, jump)
        if position is not None and clip.camera is not None:
            camera = clip.camera
            where = camera.project(position, height, width)
            moved = camera.unproject(where + torch.tensor([float(jump), 0.0]), height, width)
            position[item, start:, 0] += (moved - camera.unproject(where, height, width))[item, start:, 0]
    if truth is not None:
        truth = replace(truth, position=position, contacts=None)
    return replace(clip, frames=frames, masks=masks, truth=truth, depth=None)


CONTROLS: dict[str, Callable[[Clip], Clip]] = {
    "reversed": reverse,
    "shuffled": shuffle,
    "frozen": freeze,
    "teleported": teleport,
}


def _reorder(clip: Clip, order: Int[Tensor, " T"]) -> Clip:
    truth = clip.truth
    if truth is not None:
        truth = replace(
            truth,
            position=truth.position[:, order],
            rotation=truth.rotation[:, order],
            velocity=truth.velocity[:, order],
            spin=truth.spin[:, order],
            present=truth.present[:, order],
            contacts=None,
        )
    return replace(
        clip,
        frames=clip.frames[:, order],
        depth=None if clip.depth is None else clip.depth[:, order],
        masks=None if clip.masks is None else clip.masks[:, order],
        sound=None,
        imu=None,
        truth=truth,
    )


def _shift(image: Tensor, columns: int) -> Tensor:
    """Moved to the right by so many columns; what leaves the image is lost and zeros come in."""
    moved = torch.zeros_like(image)
    if columns >= 0:
        moved[..., columns:] = image[..., : image.shape[-1] - columns]
    else:
        moved[..., :columns] = image[..., -columns:]
    return moved
