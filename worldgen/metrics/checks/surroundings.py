"""What a trajectory does not tell of its world: gravity, floor, shapes, what holds and what hides things."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float

from worldgen.simulation.engine import model_of, mujoco, object_bodies
from worldgen.types import GRAVITY, Clip

Shape = Literal["ball", "box", "cylinder", "capsule", "ellipsoid", "unknown"]
_SHAPES: dict[int, Shape] = {
    int(mujoco.mjtGeom.mjGEOM_SPHERE): "ball",
    int(mujoco.mjtGeom.mjGEOM_BOX): "box",
    int(mujoco.mjtGeom.mjGEOM_CYLINDER): "cylinder",
    int(mujoco.mjtGeom.mjGEOM_CAPSULE): "capsule",
    int(mujoco.mjtGeom.mjGEOM_ELLIPSOID): "ellipsoid",
}


@dataclass(frozen=True, eq=False)
class Obstacle:
    """A box that stays where it is."""

    center: Float[np.ndarray, " 3"]
    """Metres, world frame."""
    axes: Float[np.ndarray, "3 3"]
    """Columns are the box's own axes in the world frame."""
    half: Float[np.ndarray, " 3"]
    """Half sizes in metres."""


@dataclass(frozen=True)
class Surroundings:
    """The world around a trajectory; by default balls above a floor at 0."""

    gravity: float = GRAVITY
    """m/s^2, downward."""
    floor: float | None = 0.0
    """Height in metres; None where it is unknown."""
    shapes: tuple[Shape, ...] = ()
    """One per object; balls beyond the last. Penetration is not measured for unknown ones."""
    held: tuple[bool, ...] = ()
    """Objects on rods and hinges, which never fly; free beyond the last."""
    blocks: tuple[Obstacle, ...] = ()
    """Solid ones, such as a ramp."""
    screens: tuple[Obstacle, ...] = ()
    """Those that things pass through, but are not seen behind."""

    def shape(self, index: int) -> Shape:
        return self.shapes[index] if index < len(self.shapes) else "ball"

    def holds(self, index: int) -> bool:
        return index < len(self.held) and self.held[index]

    def tracked(self) -> Surroundings:
        """The same for tracks, which tell size and place of a ball, but not how anything else is turned."""
        return replace(self, shapes=tuple("ball" if shape == "ball" else "unknown" for shape in self.shapes))


@lru_cache(maxsize=64)
def read_surroundings(scene: str) -> Surroundings:
    """The surroundings that an MJCF text describes.

    Raises:
        ValueError: The text is not valid MJCF.
    """
    model = model_of(scene)
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)
    bodies = object_bodies(model)
    solid = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    ahead = -data.cam_xmat[0].reshape(3, 3)[:, 2] if model.ncam else np.zeros(3)
    floors, blocks, screens = [], [], []
    for geom in range(model.ngeom):
        if model.body_weldid[model.geom_bodyid[geom]] != 0:
            continue
        axes = data.geom_xmat[geom].reshape(3, 3).copy()
        if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_PLANE and solid[geom] and axes[2, 2] > 0.999:
            floors.append(float(data.geom_xpos[geom, 2]))
        elif model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_BOX:
            block = Obstacle(data.geom_xpos[geom].copy(), axes, model.geom_size[geom].copy())
            if solid[geom]:
                blocks.append(block)
            elif (((data.xipos[bodies] - block.center) @ ahead) > block.half.min()).all():
                screens.append(block)  # nearer to the camera than anything that moves
    kinds = [int(model.geom_type[model.body_geomadr[body]]) for body in bodies]
    free = mujoco.mjtJoint.mjJNT_FREE
    return Surroundings(
        gravity=float(-model.opt.gravity[2]),
        floor=max(floors) if floors else None,
        shapes=tuple(_SHAPES.get(kind, "unknown") for kind in kinds),
        held=tuple(bool(model.jnt_type[model.body_jntadr[body]] != free) for body in bodies),
        blocks=tuple(blocks),
        screens=tuple(screens),
    )


def tracked_surroundings(clip: Clip) -> Surroundings | None:
    """The surroundings for tracks of a clip (B = 1); None where it has no scene."""
    return read_surroundings(clip.scenes[0]).tracked() if clip.scenes else None
