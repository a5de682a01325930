"""What the renderers share: the film they return, the stage they look at, and the rays of a camera.

Everything that can be seen is in the MJCF, so that a clip's scene is enough to film it again: shapes, colors,
2-D textures of planes, the first light and how large it is (``bulbradius``), the camera.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from worldgen.simulation.engine import mujoco, object_bodies
from worldgen.types import Camera

SKY = (0.85, 0.85, 0.85)
"""Color where a ray meets nothing."""

SHADOW_BIAS = 2e-3
"""Metres by which a shadow ray keeps clear of the surface it belongs to."""

FAR = 100.0
"""Metres beyond which nothing is drawn."""

HARD_BULB = 0.02
"""Radius in metres, MuJoCo's default, of a lamp that casts hard shadows; larger lamps cast soft ones."""

BULB_SAMPLES = 16
"""Points of a large lamp that each shadow is made of."""

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
class Texture:
    """An image that repeats over an infinite plane."""

    pixels: np.ndarray
    """(rows columns 3) in [0, 1]; rows down the plane's y axis, columns along its x axis."""
    length: tuple[float, float]
    """Metres along x and y that one image covers; the middle of one is the plane's origin."""


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
    bulb: float
    """Radius of the lamp in metres; 0 where its shadows are hard."""
    texture: tuple[Texture | None, ...]
    """(G) what the geom's color is multiplied by."""


def camera_of(model: mujoco.MjModel) -> Camera:
    """The model's first camera, B = 1, float32.

    Raises:
        ValueError: The model has no camera.
    """
    if not model.ncam:
        raise ValueError("the scene must have a camera; got an MJCF without. Add <camera> to its worldbody.")
    body = model.cam_bodyid[0]
    if body == 0:  # stands on the ground: no need to place every body first
        position, rotation = model.cam_pos[0], model.cam_mat0[0]
    else:
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        position, rotation = data.cam_xpos[0], data.cam_xmat[0]
    return Camera(
        position=torch.tensor(position[None], dtype=torch.float32),
        rotation=torch.tensor(rotation.reshape(1, 3, 3), dtype=torch.float32),
        fovy=torch.tensor(model.cam_fovy[:1], dtype=torch.float32),
    )


def view_of(camera: Camera, size: int, frames: int = 1) -> tuple[np.ndarray, np.ndarray, float]:
    """Eyes (T 3), axes (T 3 3) and half the image's height at one metre, of a camera with B = 1.

    Raises:
        ValueError: A size below one pixel, a batch of cameras, or one that moves over other than T frames.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel; got {size}.")
    if len(camera.fovy) != 1:
        raise ValueError(f"a film has one camera; got a batch of {len(camera.fovy)}. Select one.")
    camera = camera.over(frames)
    eye = camera.position[0].detach().cpu().double().numpy()
    axes = camera.rotation[0].detach().cpu().double().numpy()
    tangent = math.tan(math.radians(float(camera.fovy[0])) / 2)
    return np.ascontiguousarray(eye), np.ascontiguousarray(axes), tangent


def stage_of(model: mujoco.MjModel, qpos: np.ndarray) -> Stage:
    """Where everything is in every frame of ``qpos`` (T nq).

    Raises:
        ValueError: States that do not fit the model, or a texture on anything but an infinite plane.
    """
    if qpos.ndim != 2 or qpos.shape[1] != model.nq:
        raise ValueError(f"qpos must be (T {model.nq}) for this model; got shape {qpos.shape}.")
    color = _colors_of(model)
    geoms = np.flatnonzero(color[:, 3] > 0)
    owner = {body: index for index, body in enumerate(object_bodies(model))}
    data = mujoco.MjData(model)
    position, axes = np.empty((len(qpos), len(geoms), 3)), np.empty((len(qpos), len(geoms), 3, 3))
    for frame, state in enumerate(qpos):
        data.qpos[:] = state
        mujoco.mj_kinematics(model, data)
        position[frame], axes[frame] = data.geom_xpos[geoms], data.geom_xmat[geoms].reshape(-1, 3, 3)
    mujoco.mj_camlight(model, data)
    headlight = model.vis.headlight
    bulb = float(model.light_bulbradius[0]) if model.nlight else 0.0
    return Stage(
        geoms=geoms,
        kind=model.geom_type[geoms].astype(np.int64),
        size=model.geom_size[geoms].copy(),
        rgb=color[geoms, :3].astype(np.float64),
        owner=np.array([owner.get(int(model.geom_bodyid[geom]), -1) for geom in geoms], dtype=np.int16),
        position=position,
        axes=axes,
        lamp=data.light_xpos[0].copy() if model.nlight else np.zeros(3),
        ambient=float(headlight.ambient[0]),
        head=float(headlight.diffuse[0]),
        key=float(model.light_diffuse[0, 0]) if model.nlight else 0.0,
        bulb=bulb if bulb > HARD_BULB * 1.001 else 0.0,
        texture=tuple(_texture_of(model, int(geom)) for geom in geoms),
    )


def bulb_points(stage: Stage) -> np.ndarray:
    """Points (L 3) of the lamp that shadows are made of: its center, or a sunflower on the disc it shows."""
    if not stage.bulb:
        return stage.lamp[None].copy()
    number = np.arange(BULB_SAMPLES) + 0.5
    radius, angle = np.sqrt(number / BULB_SAMPLES) * stage.bulb, number * math.pi * (3 - math.sqrt(5))
    # A lamp is far above what it lights: its disc lies level.
    disc = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(BULB_SAMPLES)], axis=1)
    return stage.lamp + disc


def _colors_of(model: mujoco.MjModel) -> np.ndarray:
    """Color (G 4) of every geom: its own, or its material's where it has none of its own."""
    color = model.geom_rgba.copy()
    for geom in np.flatnonzero(model.geom_matid >= 0):
        if np.all(color[geom] == np.array([0.5, 0.5, 0.5, 1], np.float32)):
            color[geom] = model.mat_rgba[model.geom_matid[geom]]
    return color


def _texture_of(model: mujoco.MjModel, geom: int) -> Texture | None:
    material = model.geom_matid[geom]
    number = model.mat_texid[material, mujoco.mjtTextureRole.mjTEXROLE_RGB] if material >= 0 else -1
    if number < 0:
        return None
    infinite = model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_PLANE and not model.geom_size[geom, :2].any()
    flat = model.tex_type[number] == mujoco.mjtTexture.mjTEXTURE_2D and model.mat_texuniform[material]
    if not (infinite and flat):
        name = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_GEOM, geom) or str(geom)
        raise ValueError(
            "the ray renderers draw 2d textures with texuniform on infinite planes; "
            f"got another texture on geom {name}. Use render_gl."
        )
    height, width, channels = model.tex_height[number], model.tex_width[number], model.tex_nchannel[number]
    start = model.tex_adr[number]
    pixels = model.tex_data[start : start + height * width * channels].reshape(height, width, channels)
    # OpenGL's planes are two units wide before they are scaled, so N repeats cover two metres.
    repeat_x, repeat_y = (float(repeat) for repeat in model.mat_texrepeat[material])
    return Texture(pixels[..., :3].astype(np.float64) / 255, (2 / repeat_x, 2 / repeat_y))
