"""Words for what an MJCF holds, for clips whose scene is no longer at hand: objects, floor and wall."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from worldgen.simulation.engine import mujoco, object_bodies
from worldgen.simulation.scenes.families import COLORS, RESTITUTION, restitution_of_damping

_SHAPES = {
    int(mujoco.mjtGeom.mjGEOM_SPHERE): "ball",
    int(mujoco.mjtGeom.mjGEOM_BOX): "box",
    int(mujoco.mjtGeom.mjGEOM_CYLINDER): "cylinder",
    int(mujoco.mjtGeom.mjGEOM_CAPSULE): "capsule",
    int(mujoco.mjtGeom.mjGEOM_ELLIPSOID): "ellipsoid",
}
_TONES = ((0.25, "dark "), (0.65, "gray "), (0.89, "light gray "), (2.0, "white "))


@dataclass(frozen=True)
class NamedThing:
    """An object in words."""

    color: str
    material: str
    """"" where the MJCF does not tell."""
    shape: str


def name_things(model: mujoco.MjModel) -> tuple[NamedThing, ...]:
    """The moving objects of a scene, in order.

    The color is the nearest one that has a name. A material shows in nothing but how it bounces: it is told
    where the contact's damping is that of a known one.
    """
    return tuple(_name_geom(model, int(model.body_geomadr[body])) for body in object_bodies(model))


def name_backdrop(model: mujoco.MjModel) -> str:
    """The floor and the wall of a scene in words, such as "a white wall and a gray floor"."""
    found = []
    for name in ("wall", "floor"):
        geom = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, name)
        if name == "wall" and mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, "background") >= 0:
            found.append("a patterned wall")
        elif geom >= 0 and model.geom_rgba[geom, 3] > 0:
            found.append(f"a {_tone(model.geom_rgba[geom, :3])}{name}")
    return " and ".join(found) or "an empty background"


def name_stands(model: mujoco.MjModel) -> tuple[str, ...]:
    """What else is fixed in the world, can be seen and has a name, such as "ramp" or "screen"."""
    names = [
        mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_GEOM, geom)
        for geom in range(model.ngeom)
        if model.geom_bodyid[geom] == 0 and model.geom_rgba[geom, 3] > 0
    ]
    return tuple(
        name for name in names if name and name.isalpha() and name not in ("wall", "floor", "background")
    )


def _name_geom(model: mujoco.MjModel, geom: int) -> NamedThing:
    rgb = model.geom_rgba[geom, :3]
    color = min(COLORS, key=lambda name: float(np.abs(np.array(COLORS[name]) - rgb).max()))
    stiffness, damping = -model.geom_solref[geom]
    material = ""
    if stiffness > 0 and 0 <= damping < 2 * math.sqrt(stiffness):
        restitution = restitution_of_damping(damping / (2 * math.sqrt(stiffness)))
        near = [name for name, value in RESTITUTION.items() if abs(value - restitution) < 1e-3]
        material = near[0] if near else ""
    return NamedThing(color, material, _SHAPES.get(int(model.geom_type[geom]), "object"))


def _tone(rgb: np.ndarray) -> str:
    if rgb.max() - rgb.min() > 0.08:
        return ""  # colored: no gray word is true of it
    return next(word for limit, word in _TONES if float(rgb.mean()) < limit)
