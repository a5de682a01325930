"""What the renderers share: the film they return, the stage they look at, and the rays of a camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from worldgen.simulation.engine import mujoco
from worldgen.types import Camera

SKY = (0.85, 0.85, 0.85)
"""Color where a ray meets nothing."""

SHADOW_BIAS = 2e-3
"""Metres by which a shadow ray keeps clear of the surface it belongs to."""

FAR = 100.0
"""Metres beyond which nothing is drawn."""

EDGE = 0.03
"""Change between neighboring pixels, summed over RGB, that is smoothed: low enough for the faint shadows."""


@dataclass(frozen=True)
class Film:
    """What a camera recorded: T frames of H rows and W columns."""

    frames: np.ndarray
    """(T H W 3) uint8 RGB."""
    depth: np.ndarray
    """(T H W) float32, metres along the camera's axis at the pixel's center; 0 where there is nothing."""
    ids: np.ndarray
    """(T H W) int16, index of the object at the pixel's center; -1 for the world."""


@dataclass(frozen=True)
class Stage:
    """The G visible geoms of a model over T frames, and its light."""

    geoms: np.ndarray
    """(G) geom ids in the model."""
    kind: np.ndarray
    """(G) MuJoCo's geom types."""
    size: np.ndarray
    """(G 3) metres."""
    rgb: np.ndarray
    """(G 3) in [0, 1]."""
    owner: np.ndarray
    """(G) int16 object index, -1 for the world."""
    position: np.ndarray
    """(T G 3) metres."""
    axes: np.ndarray
    """(T G 3 3), columns are the geom's axes."""
    lamp: np.ndarray
    """(3) position of the first light in metres; it shines evenly in all directions."""
    ambient: float
    head: float
    """Brightness of the light at the camera, which casts no shadow."""
    key: float
    """Brightness of the lamp."""


def model_of(xml: str) -> mujoco.MjModel:
    """The compiled model of an MJCF text.

    Raises:
        ValueError: The text is not valid MJCF; the message carries MuJoCo's reason.
    """
    return mujoco.MjModel.from_xml_string(xml)


def freed_model_of(xml: str) -> mujoco.MjModel:
    """The compiled model of an MJCF text whose objects all move freely, so that they can be put anywhere.

    Hinges and the like give way to free joints; the order of the objects stays.

    Raises:
        ValueError: The text is not valid MJCF, or an object hangs on another one.
    """
    model = model_of(xml)
    if (model.jnt_type == mujoco.mjtJoint.mjJNT_FREE).all():
        return model
    spec = mujoco.MjSpec.from_string(xml)
    for body in spec.bodies:
        if body.joints and body.joints[0].type != mujoco.mjtJoint.mjJNT_FREE:
            if body.parent != spec.worldbody:
                raise ValueError(
                    f"objects must be children of the world; {body.name!r} hangs on another body."
                )
            for joint in body.joints:
                spec.delete(joint)
            body.add_freejoint()
    return spec.compile()


def object_bodies(model: mujoco.MjModel) -> list[int]:
    """Ids of the bodies that count as objects: those with a joint, in the model's order.

    A body without one, such as the rod of a pendulum, belongs to the world even where it is carried along.
    """
    return [int(body) for body in np.flatnonzero(model.body_jntnum)]


def drawn_kinds(model: mujoco.MjModel) -> set[str]:
    """MuJoCo's names of the kinds of geoms that are visible."""
    return {mujoco.mjtGeom(kind).name for kind in model.geom_type[model.geom_rgba[:, 3] > 0]}


def camera_of(model: mujoco.MjModel) -> Camera:
    """The model's first camera, B = 1, float32.

    Raises:
        ValueError: The model has no camera.
    """
    if not model.ncam:
        raise ValueError("the scene must have a camera; got an MJCF without. Add <camera> to its worldbody.")
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)
    return Camera(
        position=torch.tensor(data.cam_xpos[:1], dtype=torch.float32),
        rotation=torch.tensor(data.cam_xmat[0].reshape(1, 3, 3), dtype=torch.float32),
        fovy=torch.tensor(model.cam_fovy[:1], dtype=torch.float32),
    )


def view_of(camera: Camera, size: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Eye (3), axes (3 3) and half the image's height at one metre, of a camera with B = 1.

    Raises:
        ValueError: A size below one pixel, or a batch of cameras.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel; got {size}.")
    if len(camera.fovy) != 1:
        raise ValueError(f"a film has one camera; got a batch of {len(camera.fovy)}. Select one.")
    eye = camera.position[0].detach().cpu().double().numpy()
    axes = camera.rotation[0].detach().cpu().double().numpy()
    return eye, np.ascontiguousarray(axes), math.tan(math.radians(float(camera.fovy[0])) / 2)


def stage_of(model: mujoco.MjModel, qpos: np.ndarray) -> Stage:
    """Where everything is in every frame of ``qpos`` (T nq)."""
    if qpos.ndim != 2 or qpos.shape[1] != model.nq:
        raise ValueError(f"qpos must be (T {model.nq}) for this model; got shape {qpos.shape}.")
    geoms = np.flatnonzero(model.geom_rgba[:, 3] > 0)
    owner = {body: index for index, body in enumerate(object_bodies(model))}
    data = mujoco.MjData(model)
    position, axes = np.empty((len(qpos), len(geoms), 3)), np.empty((len(qpos), len(geoms), 3, 3))
    for frame, state in enumerate(qpos):
        data.qpos[:] = state
        mujoco.mj_kinematics(model, data)
        position[frame], axes[frame] = data.geom_xpos[geoms], data.geom_xmat[geoms].reshape(-1, 3, 3)
    mujoco.mj_camlight(model, data)
    headlight = model.vis.headlight
    return Stage(
        geoms=geoms,
        kind=model.geom_type[geoms].astype(np.int64),
        size=model.geom_size[geoms].copy(),
        rgb=model.geom_rgba[geoms, :3].astype(np.float64),
        owner=np.array([owner.get(int(model.geom_bodyid[geom]), -1) for geom in geoms], dtype=np.int16),
        position=position,
        axes=axes,
        lamp=data.light_xpos[0].copy() if model.nlight else np.zeros(3),
        ambient=float(headlight.ambient[0]),
        head=float(headlight.diffuse[0]),
        key=float(model.light_diffuse[0, 0]) if model.nlight else 0.0,
    )
