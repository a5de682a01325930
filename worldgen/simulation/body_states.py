"""Scenes of balls, boxes and capsules, free or on rods, played and not filmed, and what they may touch."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldgen.simulation.ball_states import play_scene
from worldgen.simulation.rollout import check_timing, rollout
from worldgen.simulation.scenes.families import Scene, draw_scene
from worldgen.simulation.scenes.staging import Stand
from worldgen.types import Trajectory

BODIES = (
    "drop", "bounce", "collide", "projectile", "tumble", "slide", "roll", "topple", "dominoes", "pendulum",
    "cradle",
)  # fmt: skip
"""Families of rigid things that a graph of bodies knows; those of the last two hang on rods."""

_SHAPES = ("ball", "box", "capsule")
_ATTEMPTS = 200
_NOWHERE = Stand("nothing", (0.1, 0.1, 0.1), (0.0, 0.0, -1e3))
"""In place of stands that one scene has and another has not."""


@dataclass(frozen=True)
class BodyStates:
    """B scenes of at most N bodies over T frames: their states, and what else decides how they move.

    Of the K things that stand still the first is the floor; what one scene has fewer than another lies a
    kilometre below it.
    """

    trajectory: Trajectory
    gravity: Float[Tensor, "B 3"]
    """m/s^2."""
    rounding: Float[Tensor, "B N"]
    """Metres of each body's half sizes that are rounding: the radius of balls and capsules, 0 of boxes."""
    restitution: Float[Tensor, "B N"]
    friction: Float[Tensor, "B N"]
    static_position: Float[Tensor, "B K 3"]
    static_rotation: Float[Tensor, "B K 4"]
    static_extent: Float[Tensor, "B K 3"]
    static_restitution: Float[Tensor, "B K"]
    static_friction: Float[Tensor, "B K"]
    master: Bool[Tensor, "B K"]
    """True where the geom's own restitution and friction count, whatever touches it."""
    pivot: Float[Tensor, "B N 3"]
    """Where the rod that a body hangs on turns; 0 of what moves freely."""
    axis: Float[Tensor, "B N 3"]
    """About which it turns; 0 of what moves freely."""
    family: tuple[str, ...]
    split: str
    """That all of them are of; "" of none."""

    def __len__(self) -> int:
        return len(self.gravity)


def play_bodies(family: str, seed: int, split: str | None, frames: int = 16, fps: float = 25.0) -> BodyStates:
    """The first scene of balls, boxes and capsules of a family and a seed, in view or not.

    A projectile and a tumbling body may be a cylinder or an ellipsoid as well: such draws are passed over.

    Args:
        family: A name in `BODIES`.
        seed: Not negative.
        split: As of `draw_scene`.
        frames: How many.
        fps: Frames per second.

    Returns:
        B = 1, float32, without contacts.

    Raises:
        ValueError: Another family, an unknown split, a negative seed or a timing that cannot be simulated.
    """
    if family not in BODIES:
        raise ValueError(
            f"Scenes of rigid bodies are {', '.join(BODIES)}; got {family!r}. What is soft or has joints "
            "is not among them."
        )
    check_timing(frames, fps)
    scene = _draw(family, seed, split)
    things, setting = scene.things, scene.setting
    solid = [stand for stand in setting.stands if stand.solid]

    def one(values: object) -> Tensor:
        return torch.tensor([values], dtype=torch.float32)

    hung = [thing.pivot is not None for thing in things]
    return BodyStates(
        trajectory=_play_hung(scene, frames, fps) if any(hung) else play_scene(scene, frames, fps),
        gravity=one([0.0, 0.0, -setting.gravity]),
        rounding=one([0.0 if thing.shape == "box" else thing.radius for thing in things]),
        restitution=one([thing.restitution for thing in things]),
        friction=one([thing.friction for thing in things]),
        static_position=one([(0.0, 0.0, 0.0), *(stand.position for stand in solid)]),
        static_rotation=one([(1.0, 0.0, 0.0, 0.0), *(stand.rotation for stand in solid)]),
        static_extent=one([(0.0, 0.0, 0.0), *(stand.size for stand in solid)]),
        static_restitution=one([0.0] * (1 + len(solid))),
        static_friction=one([setting.floor_friction, *[0.0] * len(solid)]),
        master=torch.tensor([[setting.floor_priority > 1, *[False] * len(solid)]]),
        pivot=one([thing.pivot or (0.0, 0.0, 0.0) for thing in things]),
        axis=one([(0.0, float(hangs), 0.0) for hangs in hung]),
        family=(family,),
        split=split or "",
    )


def stack_bodies(scenes: list[BodyStates]) -> BodyStates:
    """Scenes of one split beside each other; bodies that one has fewer than another are not present."""
    counts = torch.tensor([scene.rounding.shape[1] for scene in scenes])
    most, geoms = int(counts.max()), max(scene.master.shape[1] for scene in scenes)

    def together(name: str, axis: int = 1) -> Tensor:
        parts = [getattr(scene.trajectory if axis == 2 else scene, name) for scene in scenes]
        return torch.cat([_widened(part, most, axis) for part in parts])

    states = {name: together(name, 2) for name in ("position", "rotation", "velocity", "spin", "present")}
    states["present"] &= (torch.arange(most) < counts[:, None])[:, None]
    blank = {
        "static_position": torch.tensor(_NOWHERE.position), "static_extent": torch.tensor(_NOWHERE.size),
        "static_rotation": torch.tensor(_NOWHERE.rotation), "static_restitution": torch.tensor(0.0),
        "static_friction": torch.tensor(0.0), "master": torch.tensor(False),
    }  # fmt: skip

    def stands(name: str) -> Tensor:
        parts = [getattr(scene, name)[0] for scene in scenes]
        fill = blank[name]
        return torch.stack([torch.cat([part, fill.expand(geoms - len(part), *fill.shape)]) for part in parts])

    return BodyStates(
        trajectory=Trajectory(
            **states,  # type: ignore[arg-type]
            mass=torch.cat([_widened(scene.trajectory.mass, most, 1) for scene in scenes]),
            extent=torch.cat([_widened(scene.trajectory.extent, most, 1) for scene in scenes]),
            dt=torch.cat([scene.trajectory.dt for scene in scenes]),
        ),
        gravity=torch.cat([scene.gravity for scene in scenes]),
        **{name: together(name) for name in ("rounding", "restitution", "friction", "pivot", "axis")},
        **{name: stands(name) for name in blank},
        family=tuple(name for scene in scenes for name in scene.family),
        split=scenes[0].split,
    )


def _play_hung(scene: Scene, frames: int, fps: float) -> Trajectory:
    """As of `play_scene`, of things on rods."""
    states = rollout(scene, frames, fps).trajectory
    numbers = {
        field.name: getattr(states, field.name).float()
        for field in fields(Trajectory)
        if field.name not in ("present", "contacts", "metric", "joints")
    }
    return Trajectory(**numbers, present=states.present)


def _widened(values: Tensor, most: int, axis: int) -> Tensor:
    """The first of an axis again and again, until there are so many."""
    shape = list(values.shape)
    shape[axis] = most - shape[axis]
    return torch.cat([values, values.narrow(axis, 0, 1).expand(shape)], dim=axis)


def _draw(family: str, seed: int, split: str | None) -> Scene:
    for attempt in range(_ATTEMPTS):
        scene = draw_scene(family, seed, attempt, split=split)
        if all(thing.shape in _SHAPES for thing in scene.things):
            return scene
    raise AssertionError(f"no {family} of {', '.join(_SHAPES)} in {_ATTEMPTS} draws")
