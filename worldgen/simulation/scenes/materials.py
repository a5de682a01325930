"""What decides how balls move and is not seen: gravity, masses, and how they bounce.

It is read from an MJCF, exactly, or from a prompt, as far as that goes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldgen.simulation.engine import model_of, mujoco, object_bodies
from worldgen.simulation.scenes.balls import RESTITUTION
from worldgen.simulation.scenes.staging import restitution_of_damping
from worldgen.types import GRAVITY, Clip

_BALL = re.compile(rf"(?:({'|'.join(RESTITUTION)})[ -]+)?ball\b", re.IGNORECASE)
_BODY = re.compile(r"\b(?:ball|box|cylinder|capsule|ellipsoid)\b", re.IGNORECASE)
_HELD = re.compile(r"\b(ramp|rod|pendulum|swing|hang|stack|domino|gravity|space)", re.IGNORECASE)
_TURNS = re.compile(r"\b(float|tumble|spin)", re.IGNORECASE)
_TOUCHES = re.compile(
    r"\b(floor|ground|wall|water|bounc|land|hit|knock|bump|collid|slid|glid|roll)", re.IGNORECASE
)
_FLIES = re.compile(r"\b(flies|flying|thrown)\b", re.IGNORECASE)
_FLOATS = re.compile(r"\b(without gravity|no gravity|free space|floats?|floating)\b", re.IGNORECASE)
_UNKNOWN = sum(RESTITUTION.values()) / len(RESTITUTION)
_MOST = 4
"""Balls, of each of which a prompt is asked."""


class Materials(NamedTuple):
    """Of B scenes with at most N balls each; the places of a scene that has fewer hold 1 kg and no bounce."""

    gravity: Float[Tensor, " B"]
    """m/s^2, downward."""
    mass: Float[Tensor, "B N"]
    """kg; 0 where it is not known."""
    restitution: Float[Tensor, "B N"]
    """Of each ball: speed after a bounce over speed before it."""
    dead_floor: Bool[Tensor, " B"]
    """True where the floor gives nothing back, whatever falls on it."""
    free: Bool[Tensor, " B"]
    """True where what moves are balls on a floor, or bodies of any shape that fly and touch nothing; of other
    scenes the rest means nothing."""


def scene_materials(clip: Clip) -> Materials:
    """What the scenes of clips say: `read_materials`.

    Raises:
        ValueError: A clip without scenes; and as `read_materials`.
    """
    if clip.scenes is None:
        raise ValueError(
            "scene_materials needs Clip.scenes, and the clip has none. Use simulated clips, or "
            "prompt_materials."
        )
    return read_materials(clip.scenes)


def prompt_materials(clip: Clip) -> Materials:
    """What the prompts of clips say: gravity of the Earth, or none, and balls in the order they are named in.

    Where no material is named, and of balls that are not, the mean of all materials is assumed; masses are
    not known. A floor on which nothing is said to bounce gives nothing back. Whose prompt names no ball, or
    what holds, turns or meets one, is not free, but for bodies of any shape that fly and are not said to come
    down, or that float without gravity.
    """
    restitution = torch.full((len(clip), _MOST), _UNKNOWN)
    for index, prompt in enumerate(clip.prompts):
        named = [RESTITUTION.get(word.lower(), _UNKNOWN) for word in _BALL.findall(prompt)][:_MOST]
        restitution[index, : len(named)] = torch.tensor(named)
    return Materials(
        torch.tensor([0.0 if _floats(prompt) else GRAVITY for prompt in clip.prompts]),
        torch.zeros(len(clip), _MOST),
        restitution,
        torch.tensor(["bounc" not in prompt.lower() for prompt in clip.prompts]),
        torch.tensor([_is_free(prompt) for prompt in clip.prompts]),
    )


def _floats(prompt: str) -> bool:
    """Without gravity, and beside nothing that it could touch."""
    return bool(_FLOATS.search(prompt)) and not _TOUCHES.search(prompt)


def _is_free(prompt: str) -> bool:
    named = {name.lower() for name in _BODY.findall(prompt)}
    if not named or _floats(prompt):
        return bool(named)
    flies = bool(_FLIES.search(prompt)) and not _TOUCHES.search(prompt)
    balls = named == {"ball"} and not _TURNS.search(prompt)
    return (flies or balls) and not _HELD.search(prompt)


def read_materials(scenes: Sequence[str]) -> Materials:
    """What MJCF texts say of their balls.

    Raises:
        ValueError: A scene that is not of free balls on a floor, with gravity straight down.
    """
    read = [_read_scene(scene) for scene in scenes]
    most = max(len(masses) for _, masses, _, _ in read)

    def padded(values: list[float], blank: float) -> list[float]:
        return values + [blank] * (most - len(values))

    return Materials(
        torch.tensor([gravity for gravity, *_ in read]),
        torch.tensor([padded(masses, 1.0) for _, masses, _, _ in read]),
        torch.tensor([padded(bounces, 0.0) for _, _, bounces, _ in read]),
        torch.tensor([dead for *_, dead in read]),
        torch.ones(len(read), dtype=torch.bool),
    )


@lru_cache(256)  # of a batch of clips each is asked for several times, and it is compiled
def _read_scene(xml: str) -> tuple[float, list[float], list[float], bool]:
    model = model_of(xml)
    bodies = object_bodies(model)
    geoms = [int(model.body_geomadr[body]) for body in bodies]
    free = [model.jnt_type[model.body_jntadr[body]] == mujoco.mjtJoint.mjJNT_FREE for body in bodies]
    round_ = [model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_SPHERE for geom in geoms]
    floor = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, "floor")
    sideways = max(abs(float(model.opt.gravity[axis])) for axis in (0, 1))
    stands = [geom for geom in range(model.ngeom) if geom not in (*geoms, floor) and model.geom_contype[geom]]
    if not bodies or not all(free) or not all(round_) or floor < 0 or stands or sideways > 1e-6:
        raise ValueError(
            f"What is foretold are balls that move freely on a floor and touch nothing else, with gravity "
            f"straight down; got a scene of {len(bodies)} objects where that is not so. Take the families "
            "drop, bounce and collide."
        )
    bounces = [_restitution(model, geom) for geom in geoms]
    dead = bool(model.geom_priority[floor] > max(model.geom_priority[geom] for geom in geoms))
    masses = [float(model.body_mass[body]) for body in bodies]
    return -float(model.opt.gravity[2]), masses, bounces, dead and _restitution(model, floor) < 0.05


def _restitution(model: mujoco.MjModel, geom: int) -> float:
    """Of a geom's own contacts; 0 where they are damped so much that nothing comes back."""
    stiffness, damping = -model.geom_solref[geom]
    if stiffness <= 0 or not 0 <= damping < 2 * math.sqrt(stiffness):
        return 0.0
    return float(restitution_of_damping(damping / (2 * math.sqrt(stiffness))))
