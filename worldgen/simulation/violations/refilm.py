"""Clips whose states were changed: frames in another order, or filmed again where something moved."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from worldgen.simulation.rendering.render import film_states
from worldgen.types import Clip, Trajectory


class NotViolable(ValueError):
    """The clip has nothing that this control could violate, or lacks what it needs."""


def take_frames(clip: Clip, order: Int[Tensor, " T"]) -> Clip:
    """The frames in this order, with depth, masks, camera and states, and without contacts and sound."""
    camera = clip.camera
    if camera is not None and camera.moves:
        camera = replace(camera, position=camera.position[:, order], rotation=camera.rotation[:, order])
    return replace(
        clip,
        frames=clip.frames[:, order],
        depth=None if clip.depth is None else clip.depth[:, order],
        masks=None if clip.masks is None else clip.masks[:, order],
        sound=None,
        imu=None,
        camera=camera,
        truth=None if clip.truth is None else take_states(clip.truth, order),
    )


def take_states(truth: Trajectory, order: Int[Tensor, " T"]) -> Trajectory:
    """The states in this order, without contacts."""
    return replace(
        truth,
        position=truth.position[:, order],
        rotation=truth.rotation[:, order],
        velocity=truth.velocity[:, order],
        spin=truth.spin[:, order],
        present=truth.present[:, order],
        contacts=None,
        joints=None if truth.joints is None else truth.joints.at(order),
    )


def refilm(clip: Clip, truth: Trajectory, scenes: tuple[str, ...] | None = None) -> Clip:
    """The clip with other states; only frames in which something visible changed are filmed again.

    All other frames stay as they are to the bit, so that a violation shares its context with the clip.

    Args:
        clip: With scenes and truth; its own camera films.
        truth: Of the same frames; bodies beyond the clip's own are new ones.
        scenes: MJCF with a body for each of them; the clip's own when None.
    """
    scenes = require_scenes(clip) if scenes is None else scenes
    changed = _changed(clip, truth)
    frames, depth, masks = clip.frames.clone(), clip.depth, clip.masks
    extra = truth.position.shape[2] - (0 if masks is None else masks.shape[2])
    if masks is not None:
        absent = masks.new_zeros(*masks.shape[:2], extra, *masks.shape[3:])
        masks = torch.cat([masks, absent], dim=2)
    depth = None if depth is None else depth.clone()
    for item in range(len(clip)):
        rows = changed[item].nonzero()[:, 0]
        if not len(rows):
            continue
        one, states = take_frames(clip[item], rows), take_states(_row(truth, item), rows)
        footage = film_states(states, scenes[item : item + 1], frames.shape[-1], one.camera)
        frames[item, rows] = footage.frames[0].to(frames)
        if depth is not None:
            depth[item, rows] = footage.depth[0].to(depth)
        if masks is not None:
            masks[item, rows] = footage.masks[0].to(masks.device)
    contacts = truth.contacts if bool(changed.any()) else (clip.truth.contacts if clip.truth else None)
    same = not bool(changed.any())
    return replace(
        clip,
        frames=frames,
        depth=depth,
        masks=masks,
        sound=clip.sound if same else None,
        imu=clip.imu if same else None,
        truth=replace(truth, contacts=contacts),
        scenes=scenes,
    )


def require_scenes(clip: Clip) -> tuple[str, ...]:
    """The clip's scenes, where states can be filmed again.

    Raises:
        NotViolable: It has no scenes, no truth, bodies with joints, or frames that are not square.
    """
    if clip.scenes is None or clip.truth is None:
        raise NotViolable(
            "this control films the clip again, which needs Clip.scenes and Clip.truth; the clip lacks them. "
            "Use a simulated clip."
        )
    if clip.truth.joints is not None:
        raise NotViolable("Bodies with joints cannot be put anywhere one by one. Use violations.articulated.")
    if clip.frames.shape[-1] != clip.frames.shape[-2]:
        raise NotViolable(
            "this control films the clip again, in square frames; "
            f"got {clip.frames.shape[-2]} x {clip.frames.shape[-1]}. Use a clip as it was simulated."
        )
    return clip.scenes


def _changed(clip: Clip, truth: Trajectory) -> Bool[Tensor, "B T"]:
    """Frames in which a body is elsewhere, has turned, has come or has gone."""
    old = clip.truth
    assert old is not None
    count = old.position.shape[2]
    seen, was = truth.present[:, :, :count], old.present
    moved = (truth.position[:, :, :count] != old.position).any(dim=-1)
    moved |= (truth.rotation[:, :, :count] != old.rotation).any(dim=-1)
    changed = (seen != was) | (seen & was & moved)
    return changed.any(dim=2) | truth.present[:, :, count:].any(dim=2)


def _row(truth: Trajectory, item: int) -> Trajectory:
    rows = slice(item, item + 1)
    return Trajectory(
        position=truth.position[rows],
        rotation=truth.rotation[rows],
        velocity=truth.velocity[rows],
        spin=truth.spin[rows],
        mass=truth.mass[rows],
        extent=truth.extent[rows],
        present=truth.present[rows],
        dt=truth.dt[rows],
        metric=truth.metric,
    )
