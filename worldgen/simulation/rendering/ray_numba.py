"""The fast renderer: an analytic ray tracer for MuJoCo's primitive shapes, compiled by Numba.

One ray through each pixel's center gives color, depth and object; pixels whose neighbors differ get four
more. One thread and no fast math, so the same scene gives the same bits.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from worldgen.simulation.engine import mujoco
from worldgen.simulation.rendering.film import (
    EDGE,
    FAR,
    SHADOW_BIAS,
    SKY,
    Film,
    Stage,
    bulb_points,
    stage_of,
    view_of,
)
from worldgen.types import Camera

_PLANE, _SPHERE, _CAPSULE, _ELLIPSOID, _CYLINDER, _BOX = _DRAWN = tuple(
    int(kind)
    for kind in (
        mujoco.mjtGeom.mjGEOM_PLANE,
        mujoco.mjtGeom.mjGEOM_SPHERE,
        mujoco.mjtGeom.mjGEOM_CAPSULE,
        mujoco.mjtGeom.mjGEOM_ELLIPSOID,
        mujoco.mjtGeom.mjGEOM_CYLINDER,
        mujoco.mjtGeom.mjGEOM_BOX,
    )
)
_MISS = 1e30


def render_numba(model: mujoco.MjModel, qpos: np.ndarray, camera: Camera, size: int) -> Film:
    """Film the states ``qpos`` (T nq) of a model with a square image of ``size`` pixels.

    Raises:
        ValueError: A size below 1, a batch of cameras, a geom that is no primitive shape, states or a camera
            of other than T frames, or a texture on anything but an infinite plane.
    """
    eyes, views, tangent = view_of(camera, size, len(qpos))
    stage = stage_of(model, qpos)
    foreign = _foreign(stage.kind)
    if foreign:
        raise ValueError(
            "render_numba draws planes, spheres, capsules, ellipsoids, cylinders and boxes; "
            f"got {', '.join(foreign)}. Use render_multiray."
        )
    shape = (len(qpos), size, size)
    frames = np.empty((*shape, 3), np.uint8)
    depth, ids = np.empty(shape, np.float32), np.empty(shape, np.int16)
    lights = np.array([stage.ambient, stage.head, stage.key, *stage.lamp])
    _film(
        stage.kind, stage.size, stage.position, stage.axes, stage.rgb, stage.owner,
        eyes, views, tangent, bulb_points(stage), lights, _pack_textures(stage), frames, depth, ids,
    )  # fmt: skip
    return Film(frames, depth, ids)


def can_draw(model: mujoco.MjModel) -> bool:
    """Whether `render_numba` knows every visible shape of a model."""
    return not _foreign(model.geom_type[model.geom_rgba[:, 3] > 0])


def _foreign(kinds: np.ndarray) -> list[str]:
    return sorted({mujoco.mjtGeom(kind).name for kind in kinds if kind not in _DRAWN})


def _pack_textures(stage: Stage) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shape and offset (G 3) and length (G 2) of each geom's texture, and all their pixels (P 3)."""
    layout, length, pixels, start = [], [], [np.zeros((1, 3))], 1
    for texture in stage.texture:
        if texture is None:
            layout.append((0, 0, 0))
            length.append((1.0, 1.0))
            continue
        rows, columns, _ = texture.pixels.shape
        layout.append((rows, columns, start))
        length.append(texture.length)
        pixels.append(texture.pixels.reshape(-1, 3))
        start += rows * columns
    count = len(stage.texture)
    return (
        np.array(layout, np.int64).reshape(count, 3),
        np.array(length).reshape(count, 2),
        np.concatenate(pixels),
    )


@numba.njit(cache=True)
def _film(
    kind, size, position, axes, rgb, owner, eyes, views, tangent, bulb, lights, paint, frames, depth, ids
):
    rows = frames.shape[1]
    image, hits = np.empty((rows, rows, 3)), np.empty((rows, rows), np.int64)
    pixel = 2 * tangent / rows
    for t in range(frames.shape[0]):
        scene, eye, view = (kind, size, position[t], axes[t]), eyes[t], views[t]
        for j in range(rows):
            for i in range(rows):
                x, y = (i + 0.5) * pixel - tangent, tangent - (j + 0.5) * pixel
                r, g, b, z, hit = _look(scene, rgb, eye, view, x, y, bulb, lights, paint)
                image[j, i, 0], image[j, i, 1], image[j, i, 2], hits[j, i] = r, g, b, hit
                depth[t, j, i] = z
                ids[t, j, i] = owner[hit] if hit >= 0 else -1
        for j in range(rows):
            for i in range(rows):
                r, g, b = image[j, i, 0], image[j, i, 1], image[j, i, 2]
                if _is_edge(image, hits, j, i):
                    r = g = b = 0.0
                    for corner in range(4):
                        x = (i + 0.25 + 0.5 * (corner % 2)) * pixel - tangent
                        y = tangent - (j + 0.25 + 0.5 * (corner // 2)) * pixel
                        red, green, blue, _, _ = _look(scene, rgb, eye, view, x, y, bulb, lights, paint)
                        r, g, b = r + red / 4, g + green / 4, b + blue / 4
                frames[t, j, i, 0] = int(min(max(r, 0.0), 1.0) * 255 + 0.5)
                frames[t, j, i, 1] = int(min(max(g, 0.0), 1.0) * 255 + 0.5)
                frames[t, j, i, 2] = int(min(max(b, 0.0), 1.0) * 255 + 0.5)


@numba.njit(cache=True)
def _is_edge(image, hits, j, i):
    for step in range(4):
        y, x = j + (step == 0) - (step == 1), i + (step == 2) - (step == 3)
        if 0 <= y < hits.shape[0] and 0 <= x < hits.shape[1]:
            change = 0.0
            for channel in range(3):
                change += abs(image[y, x, channel] - image[j, i, channel])
            if hits[y, x] != hits[j, i] or change > EDGE:
                return True
    return False


@numba.njit(cache=True)
def _look(scene, rgb, eye, view, x, y, bulb, lights, paint):
    """Color, depth and geom on the ray through (x, y), both metres at one metre before the eye."""
    vx = view[0, 0] * x + view[0, 1] * y - view[0, 2]
    vy = view[1, 0] * x + view[1, 1] * y - view[1, 2]
    vz = view[2, 0] * x + view[2, 1] * y - view[2, 2]
    z, hit = _nearest(scene, eye[0], eye[1], eye[2], vx, vy, vz, FAR)
    if hit < 0:
        return SKY[0], SKY[1], SKY[2], 0.0, -1
    px, py, pz = eye[0] + z * vx, eye[1] + z * vy, eye[2] + z * vz
    nx, ny, nz = _normal(scene, hit, px, py, pz)
    facing = -(nx * vx + ny * vy + nz * vz) / math.sqrt(vx * vx + vy * vy + vz * vz)
    light = lights[0] + lights[1] * max(facing, 0.0)
    lx, ly, lz = lights[3] - px, lights[4] - py, lights[5] - pz
    slant = (nx * lx + ny * ly + nz * lz) / math.sqrt(lx * lx + ly * ly + lz * lz)
    if lights[2] > 0 and slant > 0:
        sx, sy, sz = px + SHADOW_BIAS * nx, py + SHADOW_BIAS * ny, pz + SHADOW_BIAS * nz
        seen = 0
        for n in range(bulb.shape[0]):
            _, blocker = _nearest(scene, sx, sy, sz, bulb[n, 0] - sx, bulb[n, 1] - sy, bulb[n, 2] - sz, 1.0)
            seen += blocker < 0
        if seen > 0:
            light += lights[2] * slant * (seen / bulb.shape[0])
    r, g, b = rgb[hit, 0] * light, rgb[hit, 1] * light, rgb[hit, 2] * light
    layout, length, pixels = paint
    if layout[hit, 0] > 0:
        texel = _texel(scene, layout[hit], length[hit], hit, px, py, pz)
        r, g, b = r * pixels[texel, 0], g * pixels[texel, 1], b * pixels[texel, 2]
    return r, g, b, z, hit


@numba.njit(cache=True)
def _texel(scene, layout, length, g, px, py, pz):
    """Row of the packed pixels that a plane shows at a point."""
    position, axes = scene[2], scene[3]
    ax, ay, _ = _into(axes[g], px - position[g, 0], py - position[g, 1], pz - position[g, 2])
    u, v = ax / length[0] + 0.5, 0.5 - ay / length[1]
    row = min(int((v - math.floor(v)) * layout[0]), layout[0] - 1)
    column = min(int((u - math.floor(u)) * layout[1]), layout[1] - 1)
    return layout[2] + row * layout[1] + column


@numba.njit(cache=True)
def _nearest(scene, ox, oy, oz, vx, vy, vz, limit):
    """Ray parameter and index of the first geom that the ray meets before ``limit``; -1 for none."""
    kind, size, position, axes = scene
    best, hit = limit, -1
    for g in range(kind.shape[0]):
        dx, dy, dz = ox - position[g, 0], oy - position[g, 1], oz - position[g, 2]
        if kind[g] == _SPHERE:
            s = _meet_sphere(size[g, 0], dx, dy, dz, vx, vy, vz)
        else:
            R = axes[g]
            ax, ay, az = _into(R, dx, dy, dz)
            bx, by, bz = _into(R, vx, vy, vz)
            if kind[g] == _PLANE:
                s = _meet_plane(size[g], ax, ay, az, bx, by, bz)
            elif kind[g] == _BOX:
                s = _meet_box(size[g], ax, ay, az, bx, by, bz)
            else:
                s = _meet_round(kind[g], size[g], ax, ay, az, bx, by, bz)
        if s < best:
            best, hit = s, g
    return best, hit


@numba.njit(cache=True)
def _meet_sphere(radius, dx, dy, dz, vx, vy, vz):
    a, b = vx * vx + vy * vy + vz * vz, dx * vx + dy * vy + dz * vz
    square = b * b - a * (dx * dx + dy * dy + dz * dz - radius * radius)
    if square < 0:
        return _MISS
    root = math.sqrt(square)
    if -b - root > 0:
        return (-b - root) / a
    return (-b + root) / a if -b + root > 0 else _MISS


@numba.njit(cache=True)
def _meet_plane(size, ax, ay, az, bx, by, bz):
    if bz >= 0 or az <= 0:  # seen from its front only, as MuJoCo's rays do
        return _MISS
    s = -az / bz
    inside = (size[0] <= 0 or abs(ax + s * bx) <= size[0]) and (size[1] <= 0 or abs(ay + s * by) <= size[1])
    return s if inside else _MISS


@numba.njit(cache=True)
def _meet_box(size, ax, ay, az, bx, by, bz):
    enter, leave = -_MISS, _MISS
    for axis in range(3):
        o = ax if axis == 0 else (ay if axis == 1 else az)
        v = bx if axis == 0 else (by if axis == 1 else bz)
        if abs(v) < 1e-12:
            if abs(o) > size[axis]:
                return _MISS
            continue
        near, far = (-size[axis] - o) / v, (size[axis] - o) / v
        enter, leave = max(enter, min(near, far)), min(leave, max(near, far))
    if enter > leave or leave <= 0:
        return _MISS
    return enter if enter > 0 else leave


@numba.njit(cache=True)
def _meet_round(kind, size, ax, ay, az, bx, by, bz):
    if kind == _ELLIPSOID:  # a sphere of radius one, in units of the half axes
        return _meet_sphere(
            1.0, ax / size[0], ay / size[1], az / size[2], bx / size[0], by / size[1], bz / size[2]
        )
    enter, leave = _meet_tube(size[0], size[1], ax, ay, bx, by, az, bz)
    for end in range(2):
        height = size[1] if end == 0 else -size[1]
        if kind == _CYLINDER:
            near, far = _meet_lid(size[0], height, ax, ay, az, bx, by, bz)
        else:
            near, far = _meet_cap(size[0], height, ax, ay, az, bx, by, bz)
        enter, leave = min(enter, near), max(leave, far)
    if leave <= 0 or enter >= _MISS:
        return _MISS
    return enter if enter > 0 else leave


@numba.njit(cache=True)
def _meet_tube(radius, half, ax, ay, bx, by, az, bz):
    """First and last ray parameter on the side of an upright tube; the first is missing where both are."""
    a, b = bx * bx + by * by, ax * bx + ay * by
    square = b * b - a * (ax * ax + ay * ay - radius * radius)
    enter, leave = _MISS, -_MISS
    if a > 1e-18 and square >= 0:
        root = math.sqrt(square)
        for sign in (-1.0, 1.0):
            s = (-b + sign * root) / a
            if abs(az + s * bz) <= half:
                enter, leave = min(enter, s), max(leave, s)
    return enter, leave


@numba.njit(cache=True)
def _meet_lid(radius, height, ax, ay, az, bx, by, bz):
    if abs(bz) < 1e-18:
        return _MISS, -_MISS
    s = (height - az) / bz
    x, y = ax + s * bx, ay + s * by
    if x * x + y * y > radius * radius:
        return _MISS, -_MISS
    return s, s


@numba.njit(cache=True)
def _meet_cap(radius, height, ax, ay, az, bx, by, bz):
    """Where the ray meets the half of a sphere that lies beyond the end of a tube."""
    cz = az - height
    a, b = bx * bx + by * by + bz * bz, ax * bx + ay * by + cz * bz
    square = b * b - a * (ax * ax + ay * ay + cz * cz - radius * radius)
    enter, leave = _MISS, -_MISS
    if square >= 0:
        root = math.sqrt(square)
        for sign in (-1.0, 1.0):
            s = (-b + sign * root) / a
            if (cz + s * bz) * height > 0:
                enter, leave = min(enter, s), max(leave, s)
    return enter, leave


@numba.njit(cache=True)
def _normal(scene, g, px, py, pz):
    """Outward unit normal of a geom at a point of its surface."""
    kind, size, position, axes = scene
    R = axes[g]
    if kind[g] == _PLANE:
        return R[0, 2], R[1, 2], R[2, 2]
    dx, dy, dz = px - position[g, 0], py - position[g, 1], pz - position[g, 2]
    if kind[g] == _SPHERE:
        return dx / size[g, 0], dy / size[g, 0], dz / size[g, 0]
    ax, ay, az = _into(R, dx, dy, dz)
    if kind[g] != _BOX:
        return _round_normal(kind[g], size[g], R, ax, ay, az)
    x, y, z = abs(ax) / size[g, 0], abs(ay) / size[g, 1], abs(az) / size[g, 2]
    axis = 0 if x >= y and x >= z else (1 if y >= z else 2)
    sign = math.copysign(1.0, ax if axis == 0 else (ay if axis == 1 else az))
    return sign * R[0, axis], sign * R[1, axis], sign * R[2, axis]


@numba.njit(cache=True)
def _round_normal(kind, size, R, ax, ay, az):
    """Outward unit normal of a capsule, ellipsoid or cylinder at a point given in its own axes."""
    if kind == _ELLIPSOID:
        x, y, z = ax / size[0] ** 2, ay / size[1] ** 2, az / size[2] ** 2
    elif kind == _CAPSULE:
        x, y, z = ax, ay, az - min(max(az, -size[1]), size[1])
    elif abs(az) / size[1] > math.sqrt(ax * ax + ay * ay) / size[0]:
        x, y, z = 0.0, 0.0, az
    else:
        x, y, z = ax, ay, 0.0
    scale = 1 / math.sqrt(x * x + y * y + z * z)
    x, y, z = x * scale, y * scale, z * scale
    return (
        R[0, 0] * x + R[0, 1] * y + R[0, 2] * z,
        R[1, 0] * x + R[1, 1] * y + R[1, 2] * z,
        R[2, 0] * x + R[2, 1] * y + R[2, 2] * z,
    )


@numba.njit(cache=True)
def _into(R, x, y, z):
    """Components of a vector along the columns of R."""
    return (
        R[0, 0] * x + R[1, 0] * y + R[2, 0] * z,
        R[0, 1] * x + R[1, 1] * y + R[2, 1] * z,
        R[0, 2] * x + R[1, 2] * y + R[2, 2] * z,
    )
