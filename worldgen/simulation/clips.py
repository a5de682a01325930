"""One call from a family and a seed to a Clip, or to a Trajectory without pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from worldgen.simulation.rendering.cameras import MOTIONS
from worldgen.simulation.rendering.render import render
from worldgen.simulation.rollout import Rollout, check_timing, rollout
from worldgen.simulation.scenes.captions import describe
from worldgen.simulation.scenes.descriptions import describe_at_length
from worldgen.simulation.scenes.families import NANO, Scene, draw_scene, retake
from worldgen.simulation.scenes.naming import name_backdrop, name_stands
from worldgen.types import Camera, Clip, Contacts, Trajectory

_ATTEMPTS = 50
_HORIZON = 0.6  # seconds of every scene that are judged, so that a short clip is the start of a long one
# Seconds between which the first touch falls: context frames before, outcome after.
_TOUCH = {
    "drop": (0.12, 0.6),
    "bounce": (0.12, 0.5),
    "collide": (0.12, 0.5),
    "topple": (0.12, 0.5),
    "cradle": (0.12, 0.56),
    "dominoes": (0.08, 0.5),
}
_BETWEEN = ("collide", "topple", "cradle", "dominoes")  # only a touch of two things counts
_UNTOUCHED = ("projectile", "pendulum", "tumble")
_MARGIN = 0.25  # pixels of 64 between a thing and the border
_MOTION = 0.2  # metres that something of every scene moves while it is judged


def simulate_clip(
    family: str,
    seed: int,
    size: int = 64,
    frames: int = 16,
    fps: float = 25.0,
    gravity: float | None = None,
    split: str | None = None,
    take: int = 0,
) -> Clip:
    """Simulate, film and caption one scene: the same family and seed give the same bits.

    Draws whose things leave the view, or touch too early or too late to see cause and effect, give way to
    the next draw of the same seed.

    Args:
        family: A name in `families.FAMILIES` or `families.ARTICULATED`.
        seed: Not negative.
        size: Height and width in pixels.
        frames: How many.
        fps: Frames per second.
        gravity: m/s^2, downward, in place of 9.81: the same start in another world, which may leave the view.
        split: "train", "id" or "ood:FACTOR"; the usual ranges, those of no split, when None.
        take: 0 for the scene itself; k for its k-th repetition, started about 2 cm from there.

    Returns:
        A clip with B = 1: frames, depth, masks, camera, truth (float32), prompt, MJCF and description.

    Raises:
        ValueError: An unknown family or split, a negative seed or take, a size or length below 1, a rate
            that is not positive, or a clip too long for any draw to stay in view.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel; got {size}.")
    scene, played = _play(family, seed, frames, fps, gravity, split, take)
    camera = _camera_of(scene, played)
    film = render(played.model, played.qpos, camera, size)
    count = len(scene.things)
    masks = film.ids[:, None] == np.arange(count, dtype=film.ids.dtype)[:, None, None]  # (T, N, H, W)
    description = describe_at_length(
        scene.things,
        played.trajectory,
        camera,
        scene.gravity if gravity is None else gravity,
        name_backdrop(played.model),
        scene.wording,
        masks.any(axis=(2, 3)),
        name_stands(played.model),
    )
    return Clip(
        frames=torch.from_numpy(film.frames).permute(0, 3, 1, 2).float().div(255)[None],
        fps=torch.tensor([fps], dtype=torch.float32),
        prompts=(describe(scene),),
        depth=torch.from_numpy(film.depth)[None, :, None],
        masks=torch.from_numpy(masks)[None],
        camera=camera,
        truth=_single(played.trajectory),
        scenes=(played.xml,),
        descriptions=(description,),
    )


def simulate_trajectory(
    family: str,
    seed: int,
    frames: int = 16,
    fps: float = 25.0,
    gravity: float | None = None,
    split: str | None = None,
    take: int = 0,
) -> Trajectory:
    """The truth of `simulate_clip` without filming it: B = 1, float32, same errors."""
    return _single(_play(family, seed, frames, fps, gravity, split, take)[1].trajectory)


def _play(
    family: str, seed: int, frames: int, fps: float, gravity: float | None, split: str | None, take: int
) -> tuple[Scene, Rollout]:
    """The first draw of a seed that is worth watching, or the first watchable repetition of it."""
    check_timing(frames, fps)
    judged = max(frames, round(_HORIZON * fps) + 1)
    for attempt in range(_ATTEMPTS):
        scene = draw_scene(family, seed, attempt, split=split)
        played = rollout(scene, judged, fps, start=frames)
        if _is_watchable(scene, played):
            break
    else:
        raise ValueError(
            f"no {family!r} scene of seed {seed} stays in view for {judged / fps:.3g} s; "
            "ask for fewer frames."
        )
    if take:
        scene, played = _play_again(scene, take, judged, fps, frames)
    if gravity is not None:
        return scene, rollout(scene, frames, fps, gravity)
    assert played.start is not None, "it was asked for"
    return scene, played.start


def _play_again(first: Scene, take: int, judged: int, fps: float, frames: int) -> tuple[Scene, Rollout]:
    """A repetition of a watchable scene, watchable too."""
    for attempt in range(_ATTEMPTS):
        scene = retake(first, take, attempt)
        played = rollout(scene, judged, fps, start=frames)
        if _is_watchable(scene, played):
            return scene, played
    raise ValueError(
        f"no second take of the {first.family!r} scene of seed {first.seed} stays in view for "
        f"{judged / fps:.3g} s; use another seed."
    )


def _is_watchable(scene: Scene, played: Rollout) -> bool:
    """Everything stays wholly in view, something happens, and there is time to see its cause and effect."""
    trajectory = played.trajectory
    assert trajectory.contacts is not None
    contacts = trajectory.contacts[0]
    if scene.family in _UNTOUCHED and len(contacts.time):
        return False
    if scene.family in _TOUCH and not (scene.family == "topple" and scene.things[0].shape == "box"):
        touches = contacts.time
        if scene.family in _BETWEEN:
            struck = (contacts.bodies == 0).any(dim=1)  # the first thing is the one that moves at first
            touches = touches[(contacts.bodies.min(dim=1).values >= 0) & struck]
        earliest, latest = _TOUCH[scene.family]
        if not len(touches) or not earliest <= float(touches[0]) <= latest:
            return False
    moved = (trajectory.position - trajectory.position[:, :1]).norm(dim=-1).max()
    if scene.family not in (*NANO, "tumble") and moved < _MOTION:
        return False
    camera = _camera_of(scene, played)
    center, edges = trajectory.position.float(), []
    for column in (0, 1):
        axis = camera.over(center.shape[1]).rotation[:, :, None, :, column]  # (1, T, 1, 3)
        offset = _reach(scene, trajectory, axis) * axis
        edges += [center - offset, center + offset]
    pixels = camera.project(torch.cat(edges, dim=2), 64, 64)
    return bool((pixels >= -0.5 + _MARGIN).all() and (pixels <= 63.5 - _MARGIN).all())


def _camera_of(scene: Scene, played: Rollout) -> Camera:
    """The scene's camera, B = 1, with a pose per frame where it moves."""
    motion = MOTIONS[scene.setting.camera_motion]
    trajectory = played.trajectory
    if motion is None:
        return played.camera
    return motion(played.camera, trajectory.position[:, :, 0], 1 / float(trajectory.dt[0]))


def _reach(scene: Scene, trajectory: Trajectory, axis: Tensor) -> Tensor:
    """Metres (1 T N 1) from each thing's center to its outermost point along an axis of the camera.

    That of the box around it, where it is no ball.
    """
    extent = trajectory.extent[:, None].expand_as(trajectory.position)  # (1, T, N, 3)
    if all(thing.shape == "ball" for thing in scene.things):
        return extent[..., :1].float()
    w, v = trajectory.rotation[..., :1], trajectory.rotation[..., 1:]
    axis = axis.double().expand_as(v)
    # The axis in the thing's own frame: turned back by its quaternion.
    local = (
        axis - 2 * w * torch.linalg.cross(v, axis) + 2 * torch.linalg.cross(v, torch.linalg.cross(v, axis))
    )
    reach = (local.abs() * extent).sum(dim=-1, keepdim=True)
    round_ = torch.tensor([thing.shape == "ball" for thing in scene.things])[:, None]
    return torch.where(round_, extent[..., :1], reach).float()


def _single(trajectory: Trajectory) -> Trajectory:
    """The same states in float32, as networks want them."""
    assert trajectory.contacts is not None

    def cast(value: Trajectory | Contacts, *names: str) -> dict[str, Tensor]:
        return {name: getattr(value, name).float() for name in names}

    contacts = tuple(
        replace(episode, **cast(episode, "time", "point", "normal", "impulse"))
        for episode in trajectory.contacts
    )
    states = cast(trajectory, "position", "rotation", "velocity", "spin", "mass", "extent", "dt")
    joints = trajectory.joints
    if joints is not None:
        parts = {name: getattr(joints, name).float() for name in ("angle", "anchor", "limits")}
        joints = replace(joints, **parts)
    return replace(trajectory, **states, contacts=contacts, joints=joints)
