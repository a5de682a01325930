"""One call from a family and a seed to a Clip, or to a Trajectory without pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from worldgen.simulation.captions import describe
from worldgen.simulation.descriptions import describe_at_length
from worldgen.simulation.film import camera_of
from worldgen.simulation.naming import name_backdrop, name_stands
from worldgen.simulation.render import render
from worldgen.simulation.rollout import Rollout, check_timing, rollout
from worldgen.simulation.scenes import Scene, draw_scene
from worldgen.types import Clip, Contacts, Trajectory

_ATTEMPTS = 50
_HORIZON = 0.6  # seconds of every scene that are judged, so that a short clip is the start of a long one
_CAUSE, _EFFECT = (
    0.12,
    0.5,
)  # seconds between which the first touch falls: context frames before, outcome after
_MARGIN = 0.25  # pixels of 64 between a ball and the border


def simulate_clip(
    family: str,
    seed: int,
    size: int = 64,
    frames: int = 16,
    fps: float = 25.0,
    gravity: float | None = None,
) -> Clip:
    """Simulate, film and caption one scene: the same family and seed give the same bits.

    Draws whose balls leave the view, or touch too early or too late to see cause and effect, give way to
    the next draw of the same seed.

    Args:
        family: "drop", "bounce" or "collide".
        seed: Not negative.
        size: Height and width in pixels.
        frames: How many.
        fps: Frames per second.
        gravity: m/s^2, downward, in place of 9.81: the same start in another world, which may leave the view.

    Returns:
        A clip with B = 1: frames, depth, masks, camera, truth (float32), prompt, MJCF and description.

    Raises:
        ValueError: An unknown family, a negative seed, a size or length below 1, a rate that is not
            positive, or a clip too long for any draw to stay in view.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel; got {size}.")
    scene, played = _play(family, seed, frames, fps, gravity)
    camera = camera_of(played.model)
    film = render(played.model, played.qpos, camera, size)
    count = len(scene.balls)
    masks = film.ids[:, None] == np.arange(count)[:, None, None]  # (T, N, H, W)
    description = describe_at_length(
        scene.balls,
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
    family: str, seed: int, frames: int = 16, fps: float = 25.0, gravity: float | None = None
) -> Trajectory:
    """The truth of `simulate_clip` without filming it: B = 1, float32, same errors."""
    return _single(_play(family, seed, frames, fps, gravity)[1].trajectory)


def _play(family: str, seed: int, frames: int, fps: float, gravity: float | None) -> tuple[Scene, Rollout]:
    """The first draw of a seed that is worth watching, and its rollout."""
    check_timing(frames, fps)
    judged = max(frames, round(_HORIZON * fps) + 1)
    for attempt in range(_ATTEMPTS):
        scene = draw_scene(family, seed, attempt)
        played = rollout(scene, judged, fps)
        if _is_watchable(scene, played):
            if judged == frames and gravity is None:
                return scene, played
            return scene, rollout(scene, frames, fps, gravity)
    raise ValueError(
        f"no {family!r} scene of seed {seed} stays in view for {judged / fps:.3g} s; ask for fewer frames."
    )


def _is_watchable(scene: Scene, played: Rollout) -> bool:
    """Every ball stays wholly in view, and the first touch leaves time to see its cause and its effect."""
    trajectory = played.trajectory
    assert trajectory.contacts is not None
    contacts = trajectory.contacts[0]
    between_balls = contacts.bodies.min(dim=1).values >= 0
    touches = contacts.time[between_balls] if scene.family == "collide" else contacts.time
    latest = _HORIZON if scene.family == "drop" else _EFFECT
    if not len(touches) or not _CAUSE <= float(touches[0]) <= latest:
        return False
    camera = camera_of(played.model)
    radius = trajectory.extent[:, None, :, :1].float()
    edges = [
        trajectory.position.float() + sign * radius * camera.rotation[:, None, None, :, axis]
        for axis in (0, 1)
        for sign in (-1, 1)
    ]
    pixels = camera.project(torch.cat(edges, dim=2), 64, 64)
    return bool((pixels >= -0.5 + _MARGIN).all() and (pixels <= 63.5 - _MARGIN).all())


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
    return replace(trajectory, **states, contacts=contacts)
