"""Scenes of balls, played and not filmed: about 6 ms each, where a filmed clip takes a hundred."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldgen.simulation.engine import mujoco, object_bodies
from worldgen.simulation.rollout import check_timing, fit_timestep
from worldgen.simulation.scenes.crowds import crowd
from worldgen.simulation.scenes.factors import Factors, factors_of, stream_of
from worldgen.simulation.scenes.families import FAMILIES, Scene
from worldgen.types import Trajectory

BALLS = ("drop", "bounce", "collide", "projectile")
"""Families of balls that move freely; those of the cradle hang on rods, which a graph does not know yet."""

CROWD = "crowd"
"""Three to six balls that strike each other, seven or eight in ``ood:count``; see `scenes.crowds`."""

WIDE = "wide"
"""The split of all that others show, and of all that they hold out: what dynamics are learned from."""

_WIDE = Factors(
    mass=(0.4, 5.5), restitution=(0.35, 0.98), gravity=(3.5, 13.0), speed=(0.0, 1.5), size=(-0.1, 1.3)
)
_WIDE_STREAM = (99,)
_ATTEMPTS = 200
_DRAWN = {**{name: (list(FAMILIES).index(name), FAMILIES[name]) for name in BALLS}, CROWD: (1000, crowd)}
"""By name the place that decides a family's random numbers, and the family."""


@dataclass(frozen=True)
class BallStates:
    """B scenes of at most N balls over T frames: their states, and what else decides how they move."""

    trajectory: Trajectory
    gravity: Float[Tensor, " B"]
    """m/s^2, downward."""
    restitution: Float[Tensor, "B N"]
    """Of each ball."""
    dead_floor: Bool[Tensor, " B"]
    """True where the floor gives nothing back."""
    family: tuple[str, ...]
    split: str
    """That all of them are of; "" of none."""

    def __len__(self) -> int:
        return len(self.gravity)


def play_balls(family: str, seed: int, split: str | None, frames: int = 16, fps: float = 25.0) -> BallStates:
    """The first scene of balls of a family and a seed; whether all stays in view is not asked.

    Args:
        family: A name in `BALLS`, or `CROWD`.
        seed: Not negative.
        split: As of `draw_scene`, or `WIDE`.
        frames: How many.
        fps: Frames per second.

    Returns:
        B = 1, float32, without contacts.

    Raises:
        ValueError: Another family, an unknown split, a negative seed or a timing that cannot be simulated.
    """
    if family not in _DRAWN:
        raise ValueError(f"Scenes of free balls are {', '.join(_DRAWN)}; got {family!r}.")
    if seed < 0:
        raise ValueError(f"seed must not be negative; got {seed}.")
    check_timing(frames, fps)
    scene = _draw(family, seed, split)
    states = play_scene(scene, frames, fps)
    return BallStates(
        trajectory=states,
        gravity=torch.tensor([scene.gravity]),
        restitution=torch.tensor([[thing.restitution for thing in scene.things]]),
        dead_floor=torch.tensor([scene.setting.floor_priority > 1]),
        family=(family,),
        split=split or "",
    )


def play_scene(scene: Scene, frames: int, fps: float) -> Trajectory:
    """States of things that all move freely: B = 1, float32, without contacts."""
    model = scene.spec.compile()
    steps, data = fit_timestep(model, fps), mujoco.MjData(model)
    data.qvel[:] = scene.velocity
    count = len(scene.things)
    qpos, qvel = np.empty((frames, count, 7)), np.empty((frames, count, 6))
    for frame in range(frames):
        if frame:
            mujoco.mj_step(model, data, steps)
        qpos[frame], qvel[frame] = data.qpos.reshape(count, 7), data.qvel.reshape(count, 6)
    bodies = object_bodies(model)
    rotation = qpos[..., 3:] / np.linalg.norm(qpos[..., 3:], axis=-1, keepdims=True)

    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None]

    return Trajectory(
        position=tensor(qpos[..., :3]),
        rotation=tensor(rotation),
        velocity=tensor(qvel[..., :3]),
        spin=tensor(_turned(rotation, qvel[..., 3:])),
        mass=tensor(model.body_mass[bodies]),
        extent=tensor(np.array([thing.size for thing in scene.things])),
        present=torch.ones(1, frames, count, dtype=torch.bool),
        dt=torch.tensor([1 / fps]),
    )


def stack_balls(scenes: list[BallStates]) -> BallStates:
    """Scenes of one split beside each other; balls that one has fewer than another are not present."""
    most = max(scene.restitution.shape[1] for scene in scenes)

    def padded(values: Tensor, axis: int) -> Tensor:
        missing = list(values.shape)
        missing[axis] = most - values.shape[axis]
        return torch.cat([values, values[tuple([slice(None)] * axis + [slice(1)])].expand(missing)], dim=axis)

    states = [scene.trajectory for scene in scenes]
    joined = {
        field.name: torch.cat(
            [
                getattr(one, field.name)
                if field.name == "dt"
                else padded(getattr(one, field.name), 1 if field.name in ("mass", "extent") else 2)
                for one in states
            ]
        )
        for field in fields(Trajectory)
        if field.name not in ("contacts", "metric", "joints")
    }
    counts = torch.tensor([one.mass.shape[1] for one in states])
    joined["present"] &= (torch.arange(most) < counts[:, None])[:, None]
    return BallStates(
        trajectory=Trajectory(**joined),  # type: ignore[arg-type]
        gravity=torch.cat([scene.gravity for scene in scenes]),
        restitution=torch.cat([padded(scene.restitution, 1) for scene in scenes]),
        dead_floor=torch.cat([scene.dead_floor for scene in scenes]),
        family=tuple(name for scene in scenes for name in scene.family),
        split=scenes[0].split,
    )


def _draw(family: str, seed: int, split: str | None) -> Scene:
    """The first draw that is of balls alone: a projectile may be anything."""
    wide = split == WIDE
    factors, stream = (_WIDE, _WIDE_STREAM) if wide else (factors_of(split), stream_of(split))
    place, draw = _DRAWN[family]
    for attempt in range(_ATTEMPTS):
        key = np.random.SeedSequence([place, seed, attempt], spawn_key=stream)
        scene = draw(np.random.default_rng(key), factors)
        if all(thing.shape == "ball" for thing in scene.things):
            return scene
    raise AssertionError(f"no {family} of balls in {_ATTEMPTS} draws")


def _turned(rotation: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Vectors of a body's own axes in the world's: MuJoCo keeps the spin of a free body in the former."""
    axis = rotation[..., 1:]
    return vector + 2 * np.cross(axis, np.cross(axis, vector) + rotation[..., :1] * vector)
