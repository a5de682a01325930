"""The renderer that is always there: MuJoCo's own ray caster, shaded with NumPy.

It draws every geom that MuJoCo can hit with a ray, meshes included, with the rays, the light and the
smoothing of edges of the compiled renderer.
"""

from __future__ import annotations

import numpy as np

from worldgen.simulation.engine import mujoco
from worldgen.simulation.rendering.film import (
    EDGE,
    FAR,
    SHADOW_BIAS,
    SKY,
    Film,
    Stage,
    Texture,
    bulb_points,
    stage_of,
    view_of,
)
from worldgen.types import Camera


def render_multiray(model: mujoco.MjModel, qpos: np.ndarray, camera: Camera, size: int) -> Film:
    """Film the states ``qpos`` (T nq) of a model with a square image of ``size`` pixels.

    Raises:
        ValueError: A size below 1, a batch of cameras, states or a camera of other than T frames, or a
            texture on anything but an infinite plane.
    """
    eyes, views, tangent = view_of(camera, size, len(qpos))
    caster = _Caster(model, stage_of(model, qpos))
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float64)
    pixel = 2 * tangent / size

    def rays(x: np.ndarray, y: np.ndarray, axes: np.ndarray) -> np.ndarray:
        # One metre along the camera's axis: the hit parameter is the depth.
        local = np.stack([x * pixel - tangent, tangent - y * pixel, -np.ones_like(x)], axis=-1)
        return local.reshape(-1, 3) @ axes.T

    frames = np.empty((len(qpos), size, size, 3), np.uint8)
    depth, ids = np.empty(frames.shape[:3], np.float32), np.empty(frames.shape[:3], np.int16)
    for frame, state in enumerate(qpos):
        axes = views[frame]
        caster.data.qpos[:] = state
        mujoco.mj_kinematics(model, caster.data)
        caster.frame, caster.eye = frame, eyes[frame]
        color, distance, hit = caster.look(rays(columns + 0.5, rows + 0.5, axes))
        image, hits = color.reshape(size, size, 3), hit.reshape(size, size)
        edge = _edges(image, hits)
        if edge.any():
            y, x = rows[edge], columns[edge]
            corners = [rays(x + a, y + b, axes) for b in (0.25, 0.75) for a in (0.25, 0.75)]
            image[edge] = np.mean([caster.look(corner)[0] for corner in corners], axis=0)
        frames[frame] = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
        depth[frame] = distance.reshape(size, size)
        ids[frame] = np.where(hits >= 0, caster.stage.owner[hits], -1)
    return Film(frames, depth, ids)


class _Caster:
    """Casts and shades rays in one frame after another."""

    def __init__(self, model: mujoco.MjModel, stage: Stage):
        self.model, self.stage, self.data = model, stage, mujoco.MjData(model)
        self.frame, self.eye = 0, np.zeros(3)
        self.bulb = bulb_points(stage)
        self.row_of_geom = np.full(model.ngeom, -1)
        self.row_of_geom[stage.geoms] = np.arange(len(stage.geoms))

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
        lit = (slant > 0).astype(np.float64)
        lit[slant > 0] = self._reached(point[slant > 0] + SHADOW_BIAS * normal[slant > 0])
        light = stage.ambient + stage.head * np.maximum(facing, 0)
        light = light + stage.key * np.where(lit > 0, lit * slant, 0)
        color[met] = stage.rgb[hit[met]] * light[:, None]
        for row in np.unique(hit[met]):
            texture, own = stage.texture[row], hit == row
            if texture is not None:
                color[own] *= self._painted(texture, row, self.eye + distance[own, None] * rays[own])
        return color, np.where(met, distance, 0), hit

    def _painted(self, texture: Texture, row: int, points: np.ndarray) -> np.ndarray:
        stage, (height, width, _) = self.stage, texture.pixels.shape
        local = (points - stage.position[self.frame, row]) @ stage.axes[self.frame, row]
        u, v = local[:, 0] / texture.length[0] + 0.5, 0.5 - local[:, 1] / texture.length[1]
        column = np.minimum(((u - np.floor(u)) * width).astype(int), width - 1)
        return texture.pixels[np.minimum(((v - np.floor(v)) * height).astype(int), height - 1), column]

    def _reached(self, points: np.ndarray) -> np.ndarray:
        """Share of the lamp that is seen; all rays start at the lamp, as MuJoCo wants one origin."""
        seen = np.zeros(len(points))
        for lamp in self.bulb if len(points) else ():
            distance, geom, _ = self._cast(lamp, points - lamp)
            seen += (geom < 0) | (distance >= 1 - 1e-6)
        return seen / len(self.bulb)

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
