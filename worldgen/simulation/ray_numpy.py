"""The renderer that is always there: MuJoCo's own ray caster, shaded with NumPy.

It draws every geom that MuJoCo can hit with a ray, meshes included, with the rays, the light and the
smoothing of edges of the compiled renderer.
"""

from __future__ import annotations

import numpy as np

from worldgen.simulation.engine import mujoco
from worldgen.simulation.film import EDGE, FAR, SHADOW_BIAS, SKY, Film, Stage, stage_of, view_of
from worldgen.types import Camera


def render_multiray(model: mujoco.MjModel, qpos: np.ndarray, camera: Camera, size: int) -> Film:
    """Film the states ``qpos`` (T nq) of a model with a square image of ``size`` pixels.

    Raises:
        ValueError: A size below 1, a batch of cameras, or states that do not fit the model.
    """
    eye, axes, tangent = view_of(camera, size)
    caster = _Caster(model, stage_of(model, qpos), eye)
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float64)
    pixel = 2 * tangent / size

    def rays(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        local = np.stack([x * pixel - tangent, tangent - y * pixel, -np.ones_like(x)], axis=-1)
        return (
            local.reshape(-1, 3) @ axes.T
        )  # one metre along the camera's axis: the hit parameter is the depth

    centers = rays(columns + 0.5, rows + 0.5)
    frames = np.empty((len(qpos), size, size, 3), np.uint8)
    depth, ids = np.empty(frames.shape[:3], np.float32), np.empty(frames.shape[:3], np.int16)
    for frame, state in enumerate(qpos):
        caster.move(state)
        color, distance, hit = caster.look(centers)
        image, hits = color.reshape(size, size, 3), hit.reshape(size, size)
        edge = _edges(image, hits)
        if edge.any():
            y, x = rows[edge], columns[edge]
            corners = [rays(x + a, y + b) for b in (0.25, 0.75) for a in (0.25, 0.75)]
            image[edge] = np.mean([caster.look(corner)[0] for corner in corners], axis=0)
        frames[frame] = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
        depth[frame] = distance.reshape(size, size)
        ids[frame] = np.where(hits >= 0, caster.stage.owner[hits], -1)
    return Film(frames, depth, ids)


class _Caster:
    """Casts and shades rays in one frame after another."""

    def __init__(self, model: mujoco.MjModel, stage: Stage, eye: np.ndarray):
        self.model, self.stage, self.eye, self.data = model, stage, eye, mujoco.MjData(model)
        self.row_of_geom = np.full(model.ngeom, -1)
        self.row_of_geom[stage.geoms] = np.arange(len(stage.geoms))

    def move(self, qpos: np.ndarray) -> None:
        self.data.qpos[:] = qpos
        mujoco.mj_kinematics(self.model, self.data)

    def look(self, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Color (R 3), depth (R) and visible geom's row (R) of rays (R 3) from the eye."""
        stage = self.stage
        distance, geom, normal = self._cast(self.eye, rays)
        met = (geom >= 0) & (distance < FAR)
        color, hit = np.tile(np.array(SKY), (len(rays), 1)), np.full(len(rays), -1)
        hit[met] = self.row_of_geom[geom[met]]
        ray, normal = rays[met], normal[met]
        point = self.eye + distance[met, None] * ray
        facing = -np.einsum("ri,ri->r", normal, ray) / np.linalg.norm(ray, axis=1)
        to_lamp = stage.lamp - point
        slant = np.einsum("ri,ri->r", normal, to_lamp) / np.linalg.norm(to_lamp, axis=1)
        lit = slant > 0
        lit[lit] = self._reached(point[lit] + SHADOW_BIAS * normal[lit])
        light = stage.ambient + stage.head * np.maximum(facing, 0) + stage.key * np.where(lit, slant, 0)
        color[met] = stage.rgb[hit[met]] * light[:, None]
        return color, np.where(met, distance, 0), hit

    def _reached(self, points: np.ndarray) -> np.ndarray:
        """True where the lamp's light arrives; all rays start at the lamp, as MuJoCo wants one origin."""
        if not len(points):
            return np.zeros(0, dtype=bool)
        distance, geom, _ = self._cast(self.stage.lamp, points - self.stage.lamp)
        return (geom < 0) | (distance >= 1 - 1e-6)

    def _cast(self, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        count = len(rays)
        geom, distance, normal = np.full(count, -1, np.int32), np.full(count, -1.0), np.zeros(3 * count)
        mujoco.mj_multiRay(
            self.model, self.data, origin, np.ascontiguousarray(rays).ravel(), None, 1, -1,
            geom, distance, normal, count, mujoco.mjMAXVAL,
        )  # fmt: skip
        return distance, geom, normal.reshape(count, 3)


def _edges(image: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Pixels (H W) that differ from a neighbor in geom or color."""
    edge = np.zeros(hits.shape, dtype=bool)
    for axis in (0, 1):
        change = np.abs(np.diff(image, axis=axis)).sum(axis=-1) > EDGE
        change |= np.diff(hits, axis=axis) != 0
        before, after = [slice(None)] * 2, [slice(None)] * 2
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        edge[tuple(before)] |= change
        edge[tuple(after)] |= change
    return edge
