"""Violations that leave bodies where they are and change their looks: color and size.

Both begin after a third of the clip and grow evenly to its last frame. States know neither, so that the
truth stays as it is: only a look at the pixels can tell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from worldgen.simulation.engine import mujoco, object_bodies, spec_of
from worldgen.simulation.rendering.render import Footage, film_states
from worldgen.simulation.violations.refilm import require_scenes, take_frames, take_states
from worldgen.types import Clip, select


def recolor(clip: Clip, share: float = 1.0) -> Clip:
    """The first object turns into another color, little by little.

    Each of red, green and blue moves by up to half of its range.

    Args:
        clip: With scenes and truth.
        share: How far it gets, in [0, 1].

    Raises:
        NotViolable: The clip has no scenes.
        ValueError: A share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1]; got {share:g}.")
    require_scenes(clip)
    frames, start = clip.frames.clone(), clip.frames.shape[1] // 3
    rows = torch.arange(start, frames.shape[1])
    mixed = (share * _growth(clip, rows))[:, None, None, None]
    for item in range(len(clip) if share else 0):
        other = _film(clip, item, rows, _paint).frames[0].to(frames)
        frames[item, rows] = torch.lerp(frames[item, rows], other, mixed)
    return replace(clip, frames=frames)


def swell(clip: Clip, share: float = 1.0) -> Clip:
    """The first object grows about its center, little by little, and what it then touches does not mind.

    Args:
        clip: With scenes and truth.
        share: By how much of its size it has grown in the last frame, at least 0.

    Raises:
        NotViolable: The clip has no scenes.
        ValueError: A negative share.
    """
    if not share >= 0:
        raise ValueError(f"share must be at least 0; got {share:g}.")
    require_scenes(clip)
    frames, depth, masks = clip.frames.clone(), clip.depth, clip.masks
    depth = None if depth is None else depth.clone()
    masks = None if masks is None else masks.clone()
    rows = torch.arange(frames.shape[1] // 3, frames.shape[1])
    for item in range(len(clip) if share else 0):
        for row, growth in zip(rows.tolist(), _growth(clip, rows).tolist(), strict=True):
            footage = _film(
                clip, item, torch.tensor([row]), lambda geom, g=growth: _scale(geom, 1 + share * g)
            )
            frames[item, row] = footage.frames[0, 0].to(frames)
            if depth is not None:
                depth[item, row] = footage.depth[0, 0].to(depth)
            if masks is not None:
                masks[item, row] = footage.masks[0, 0].to(masks.device)
    return replace(clip, frames=frames, depth=depth, masks=masks)


def _growth(clip: Clip, rows: torch.Tensor) -> torch.Tensor:
    """From just above 0 in the first of the rows to 1 in the last frame."""
    return (rows - rows[0] + 1) / (clip.frames.shape[1] - rows[0])


def _film(clip: Clip, item: int, rows: torch.Tensor, change: Callable[[mujoco.MjsGeom], None]) -> Footage:
    """Some frames of a clip, with each shape of its first object changed."""
    assert clip.scenes is not None and clip.truth is not None
    spec = spec_of(clip.scenes[item])
    for geom in spec.bodies[object_bodies(spec.compile())[0]].geoms:
        change(geom)
    one, truth = take_frames(clip[item], rows), select(clip.truth, slice(item, item + 1))
    return film_states(take_states(truth, rows), (spec.to_xml(),), clip.frames.shape[-1], one.camera)


def _paint(geom: mujoco.MjsGeom) -> None:
    geom.material = ""
    geom.rgba[:3] = (geom.rgba[:3] + 0.5) % 1


def _scale(geom: mujoco.MjsGeom, factor: float) -> None:
    geom.size = factor * geom.size
    geom.pos = factor * geom.pos
