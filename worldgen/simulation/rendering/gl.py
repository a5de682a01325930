"""The renderer for graphics cards: MuJoCo's OpenGL pictures through EGL, without a display.

It draws everything that MuJoCo can show: meshes, any texture, several lights. Masks and depth agree with the
ray renderers' but for silhouette pixels, as OpenGL draws round bodies with many flat faces; colors are
OpenGL's own shading. The same driver gives the same picture, another one need not.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from worldgen.simulation.engine import mujoco, object_bodies
from worldgen.simulation.rendering.film import FAR, Film, view_of
from worldgen.types import Camera

if TYPE_CHECKING:
    from mujoco.egl import GLContext

_NEAR = 0.05  # metres
_SAMPLES = 2  # per pixel and axis; OpenGL's own smoothing would blend the object numbers


def render_gl(model: mujoco.MjModel, qpos: np.ndarray, camera: Camera, size: int) -> Film:
    """Film the states ``qpos`` (T nq) of a model with a square image of ``size`` pixels.

    Raises:
        ValueError: A size below 1, a batch of cameras, states or a camera of other than T frames, or no
            OpenGL through EGL on this machine.
    """
    eyes, views, tangent = view_of(camera, size, len(qpos))
    if qpos.ndim != 2 or qpos.shape[1] != model.nq:
        raise ValueError(f"qpos must be (T {model.nq}) for this model; got shape {qpos.shape}.")
    _context().make_current()
    quality, screen = model.vis.quality, model.vis.global_
    before = quality.offsamples, screen.offwidth, screen.offheight
    quality.offsamples, screen.offwidth, screen.offheight = 0, _SAMPLES * size, _SAMPLES * size
    try:
        drawer = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
    finally:
        quality.offsamples, screen.offwidth, screen.offheight = before
    try:
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, drawer)
        drawer.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        return _draw(model, qpos, (eyes, views, tangent), size, drawer)
    finally:
        drawer.free()


def _draw(
    model: mujoco.MjModel,
    qpos: np.ndarray,
    view: tuple[np.ndarray, np.ndarray, float],
    size: int,
    drawer: mujoco.MjrContext,
) -> Film:
    data, scene = mujoco.MjData(model), mujoco.MjvScene(model, maxgeom=model.ngeom + 1000)
    option, watcher = mujoco.MjvOption(), mujoco.MjvCamera()
    numbers = {body: index for index, body in enumerate(object_bodies(model))}
    owner = np.array([numbers.get(int(body), -1) for body in model.geom_bodyid] + [-1])
    small, large = (mujoco.MjrRect(0, 0, edge, edge) for edge in (size, _SAMPLES * size))
    colors = np.empty((_SAMPLES * size, _SAMPLES * size, 3), np.uint8)
    codes, buffer = np.empty((size, size, 3), np.uint8), np.empty((size, size), np.float32)
    frames = np.empty((len(qpos), size, size, 3), np.uint8)
    depth, ids = np.empty(frames.shape[:3], np.float32), np.empty(frames.shape[:3], np.int16)
    for frame, state in enumerate(qpos):
        data.qpos[:] = state
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        every = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(model, data, option, None, watcher, every, scene)
        _aim(scene, view[0][frame], view[1][frame], view[2])
        mujoco.mjr_render(large, scene, drawer)
        mujoco.mjr_readPixels(colors, None, large, drawer)
        blocks = colors.reshape(size, _SAMPLES, size, _SAMPLES, 3).mean(axis=(1, 3))
        frames[frame] = np.flipud((blocks + 0.5).astype(np.uint8))
        for flag in (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR):
            scene.flags[flag] = True
        mujoco.mjr_render(small, scene, drawer)
        mujoco.mjr_readPixels(codes, buffer, small, drawer)
        for flag in (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR):
            scene.flags[flag] = False
        code = codes.astype(np.int64) @ [1, 2**8, 2**16]
        geoms = np.full(scene.ngeom + 1, model.ngeom)  # the last owner is the world
        for drawn in scene.geoms[: scene.ngeom]:
            if drawn.segid >= 0 and drawn.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                geoms[drawn.segid + 1] = drawn.objid
        ids[frame] = np.flipud(owner[geoms[code]])
        distance = FAR * _NEAR / (buffer.astype(np.float64) * (FAR - _NEAR) + _NEAR)
        depth[frame] = np.flipud(np.where(code > 0, distance, 0))
    return Film(frames, depth, ids)


def _aim(scene: mujoco.MjvScene, eye: np.ndarray, axes: np.ndarray, tangent: float) -> None:
    """Point the scene's cameras, and the lamp that they carry."""
    for side in scene.camera:
        side.pos, side.forward, side.up = eye, -axes[:, 2], axes[:, 1]
        side.frustum_near, side.frustum_far = _NEAR, FAR
        side.frustum_top, side.frustum_bottom = _NEAR * tangent, -_NEAR * tangent
        side.frustum_center, side.frustum_width = 0.0, _NEAR * tangent
    for light in scene.lights[: scene.nlight]:
        if light.headlight:
            light.pos, light.dir = eye, -axes[:, 2]


@cache
def _context() -> GLContext:
    """The one OpenGL context of the process."""
    try:
        from mujoco.egl import GLContext

        return GLContext(1, 1)
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        raise ValueError(
            "render_gl needs OpenGL through EGL, which this machine or installation lacks "
            f"({type(error).__name__}: {' '.join(str(error).split())}). Install worldgen[gl] and a driver, "
            "or leave WORLDGEN_RENDERER unset: rays need neither."
        ) from error
