"""A trajectory for other programs: MJCF with a keyframe per frame, or a script that builds it in Blender.

With the clip's scene, bodies look as they do there; without it a trajectory knows half sizes only, and
bodies are balls where these are equal, boxes elsewhere.
"""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
import torch
from jaxtyping import Float

from worldgen.simulation.engine import mujoco, object_bodies, spec_of
from worldgen.types import Camera, Trajectory

_AWAY = -1000.0
"""Height in metres at which objects wait that are not present in a frame."""
_POINT = 0.01
"""Metres, radius that an object without a size is drawn with."""
_COLORS = (
    (0.85, 0.25, 0.20), (0.20, 0.45, 0.85), (0.25, 0.65, 0.30), (0.90, 0.75, 0.15), (0.60, 0.35, 0.75),
    (0.15, 0.70, 0.75),
)  # fmt: skip
_INTEGRATOR = (
    "Rests on implicitfast as MuJoCo 4 has it, which loses energy; MuJoCo 3.3.7 and MJX gain it, and play "
    "this otherwise"
)
_KINDS = {
    mujoco.mjtGeom.mjGEOM_SPHERE: "sphere",
    mujoco.mjtGeom.mjGEOM_BOX: "box",
    mujoco.mjtGeom.mjGEOM_CYLINDER: "cylinder",
    mujoco.mjtGeom.mjGEOM_CAPSULE: "capsule",
    mujoco.mjtGeom.mjGEOM_ELLIPSOID: "ellipsoid",
    mujoco.mjtGeom.mjGEOM_PLANE: "plane",
}


def mjcf_of(trajectory: Trajectory, scene: str | None = None, floor: float | None = 0.0) -> str:
    """MJCF of free bodies whose keyframe t holds positions, rotations, velocities and spins of frame t.

    Resetting to a keyframe and stepping simulates on from that frame. Objects that are not present wait a
    kilometre below.

    Args:
        trajectory: B = 1, metres.
        scene: The clip's MJCF; its joints give way to free ones.
        floor: Height of the floor where there is no scene; None for none.

    Raises:
        ValueError: Pixels, a batch, states that are not finite, or a scene without a body for each object.
    """
    spec, bodies = _spec_of(trajectory, scene, floor)
    for body in bodies:
        for joint in list(body.joints):
            spec.delete(joint)
        body.add_freejoint()
    model = spec.compile()
    position, rotation = _states(trajectory, len(bodies))
    velocity, spin = (
        _padded(states[0].double().numpy(), len(bodies)) for states in (trajectory.velocity, trajectory.spin)
    )
    velocity, spin = np.nan_to_num(velocity), np.nan_to_num(spin)
    offset, local, away = np.empty(3), np.empty(3), np.empty(4)
    for frame in range(len(position)):
        qpos, qvel = np.zeros(model.nq), np.zeros(model.nv)
        for number, body in enumerate(object_bodies(model)):
            adr, dof = model.jnt_qposadr[model.body_jntadr[body]], model.body_dofadr[body]
            turn = rotation[frame, number]
            mujoco.mju_rotVecQuat(offset, model.body_ipos[body], turn)
            mujoco.mju_negQuat(away, turn)
            mujoco.mju_rotVecQuat(local, spin[frame, number], away)
            qpos[adr : adr + 7] = *(position[frame, number] - offset), *turn
            moved = velocity[frame, number] - np.cross(spin[frame, number], offset)
            qvel[dof : dof + 6] = *moved, *local
        spec.add_key(name=f"frame{frame}", time=frame * float(trajectory.dt[0]), qpos=qpos, qvel=qvel)
    return _text_of(spec)


def mocap_mjcf_of(trajectory: Trajectory, scene: str | None = None, floor: float | None = 0.0) -> str:
    """MJCF of bodies that are held where keyframe t puts them, whatever they meet; as in `mjcf_of`."""
    spec, bodies = _spec_of(trajectory, scene, floor)
    model = spec.compile()
    ids = [model.body(body.name).id for body in bodies]
    centers = model.body_ipos[ids].copy()
    for body in bodies:
        for joint in list(body.joints):
            spec.delete(joint)
        body.mocap = True
    position, rotation = _states(trajectory, len(bodies))
    offset = np.empty(3)
    for frame in range(len(position)):
        places = position[frame].copy()
        for number, center in enumerate(centers):
            mujoco.mju_rotVecQuat(offset, center, rotation[frame, number])
            places[number] -= offset
        spec.add_key(
            name=f"frame{frame}",
            time=frame * float(trajectory.dt[0]),
            mpos=places.ravel(),
            mquat=rotation[frame].ravel(),
        )
    return _text_of(spec)


def blender_script_of(
    trajectory: Trajectory,
    scene: str | None = None,
    camera: Camera | None = None,
    floor: float | None = 0.0,
) -> str:
    """A Python script that builds the world in Blender: bodies with keyframes, materials, light and camera.

    It needs nothing but Blender: ``blender --python SCRIPT``.

    Args:
        trajectory: B = 1, metres.
        scene: The clip's MJCF, for shapes, colors and what stands around.
        camera: B = 1; the scene's own, or one in front of everything, when None.
        floor: Height of the floor where there is no scene; None for none.

    Raises:
        ValueError: As in `mjcf_of`.
    """
    spec, bodies = _spec_of(trajectory, scene, floor)
    model = spec.compile()
    ids = [model.body(body.name).id for body in bodies]
    position, rotation = _states(trajectory, len(bodies))
    frames = len(position)
    present = _padded(trajectory.present[0].numpy(), len(bodies))
    root = [int(model.body_rootid[body]) for body in range(model.nbody)]
    things = []
    for number, body in enumerate(ids):
        own = [geom for geom in range(model.ngeom) if root[model.geom_bodyid[geom]] == body]
        things.append(
            {
                "name": model.body(body).name or f"object{number}",
                "parts": [_part_of(model, geom, body) for geom in own],
                "frames": [
                    [
                        *np.round(position[frame, number], 6).tolist(),
                        *np.round(rotation[frame, number], 7).tolist(),
                    ]
                    for frame in range(frames)
                ],
                "present": present[:, number].astype(int).tolist(),
            }
        )
    still = [geom for geom in range(model.ngeom) if root[model.geom_bodyid[geom]] not in ids]
    world = {
        "fps": round(1 / float(trajectory.dt[0]), 4),
        "things": things,
        "stands": [_part_of(model, geom, 0) for geom in still],
        "camera": _camera_of(model, camera, position[present.astype(bool)], frames),
        "lamp": model.light_pos[0].round(4).tolist() if model.nlight else [2.0, -4.0, 8.0],
    }
    template = files("worldgen.simulation").joinpath("blender_scene.py.txt").read_text(encoding="utf-8")
    return template.replace("__WORLD__", json.dumps(world, separators=(",", ":")))


def _spec_of(
    trajectory: Trajectory, scene: str | None, floor: float | None
) -> tuple[mujoco.MjSpec, list[mujoco.MjsBody]]:
    """A spec with a body for each object, in their order."""
    if len(trajectory.position) != 1:
        raise ValueError(
            f"an export holds one clip; got {len(trajectory.position)}. Use select(trajectory, ...)."
        )
    if not trajectory.metric:
        raise ValueError("an export needs metres; got pixels without scale. Give the tracks a scale first.")
    seen = trajectory.present[0]
    for name in ("position", "rotation"):
        finite = torch.isfinite(getattr(trajectory, name)[0]).all(dim=-1)
        if bool((seen & ~finite).any()):
            frame, number = (seen & ~finite).nonzero()[0].tolist()
            raise ValueError(
                f"an export needs finite states; the {name} of object {number} is not in frame {frame}. "
                "Mark it as not present."
            )
    spec = _plain_spec(trajectory, floor) if scene is None else spec_of(scene)
    for key in list(spec.keys):
        spec.delete(key)
    bodies = [body for body in spec.bodies if body.joints]
    count = int(seen.any(dim=0).nonzero().max()) + 1 if bool(seen.any()) else 0
    if count > len(bodies):
        raise ValueError(
            f"an export needs a body for every object; the scene has {len(bodies)}, and object "
            f"{count - 1} is present. Give no scene to draw balls and boxes."
        )
    for number, body in enumerate(bodies):
        if body.parent != spec.worldbody:
            raise ValueError(f"objects must be children of the world; {body.name!r} hangs on another body.")
        body.name = body.name or f"object{number}"
    return spec, bodies


def _plain_spec(trajectory: Trajectory, floor: float | None) -> mujoco.MjSpec:
    spec = mujoco.MjSpec()
    geom = mujoco.mjtGeom
    spec.worldbody.add_light(name="lamp", pos=[2, -4, 8], dir=[-0.2, 0.4, -0.9])
    if floor is not None:
        spec.worldbody.add_geom(
            name="floor",
            type=geom.mjGEOM_PLANE,
            size=[0, 0, 0.05],
            pos=[0, 0, floor],
            rgba=[0.5, 0.5, 0.5, 1],
        )
    for number, size in enumerate(trajectory.extent[0].double().numpy()):
        size = np.where(size > 0, size, _POINT)
        ball = np.ptp(size) <= 1e-3 * size.max()
        body = spec.worldbody.add_body(name=f"object{number}")
        body.add_freejoint()
        body.add_geom(
            name=f"object{number}",
            type=geom.mjGEOM_SPHERE if ball else geom.mjGEOM_BOX,
            size=[size[0], 0, 0] if ball else size,
            mass=max(float(trajectory.mass[0, number]), 1e-6),
            rgba=[*_COLORS[number % len(_COLORS)], 1],
        )
    return spec


def _states(trajectory: Trajectory, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Position (T count 3) and rotation (T count 4); what is not present waits away from everything."""
    position = _padded(trajectory.position[0].double().numpy(), count)
    rotation = _padded(trajectory.rotation[0].double().numpy(), count)
    gone = ~_padded(trajectory.present[0].numpy(), count)
    waiting = np.stack([np.zeros(count), 10.0 * np.arange(count), np.full(count, _AWAY)], axis=-1)
    position = np.where(gone[..., None], waiting, position)
    rotation = np.where(gone[..., None], np.array([1.0, 0, 0, 0]), rotation)
    return position, rotation / np.linalg.norm(rotation, axis=-1, keepdims=True)


def _padded(values: np.ndarray, count: int) -> np.ndarray:
    """As many objects: zeros (False) added, or the last ones left out."""
    values = values[:, :count]
    absent = [(0, 0), (0, count - values.shape[1]), *[(0, 0)] * (values.ndim - 2)]
    return np.pad(values, absent)


def _text_of(spec: mujoco.MjSpec) -> str:
    if spec.option.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST:
        spec.comment = _INTEGRATOR
    spec.compile()
    return spec.to_xml()


def _part_of(model: mujoco.MjModel, geom: int, root: int) -> dict[str, object]:
    """One visible shape in the frame of its object's center, which is where a trajectory has it."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    place, turn = data.geom_xpos[geom].copy(), np.empty(4)
    mujoco.mju_mat2Quat(turn, data.geom_xmat[geom])
    if root:
        inverse = np.empty(4)
        mujoco.mju_negQuat(inverse, data.xquat[root])
        mujoco.mju_rotVecQuat(place, place - data.xipos[root], inverse)
        relative = np.empty(4)
        mujoco.mju_mulQuat(relative, inverse, turn)
        turn = relative
    kind = _KINDS.get(mujoco.mjtGeom(int(model.geom_type[geom])))
    if kind is None:
        name = model.geom(geom).name or str(geom)
        raise ValueError(
            f"an export draws balls, boxes, cylinders, capsules, ellipsoids and planes; not {name!r}."
        )
    size = model.geom_size[geom].tolist()
    return {
        "name": model.geom(geom).name or f"geom{geom}",
        "kind": kind,
        "size": [round(part, 6) for part in size],
        "position": place.round(6).tolist(),
        "rotation": turn.round(7).tolist(),
        "color": [round(float(part), 4) for part in model.geom_rgba[geom]],
    }


def _camera_of(
    model: mujoco.MjModel, camera: Camera | None, places: Float[np.ndarray, "K 3"], frames: int
) -> dict[str, object]:
    """Poses (one, or one per frame) as position and quaternion, and the vertical field of view in degrees."""
    if camera is not None:
        poses = zip(camera.position.reshape(-1, 3), camera.rotation.reshape(-1, 3, 3), strict=True)
        seen = [(place.double().numpy(), turn.double().numpy()) for place, turn in poses]
        fovy = float(camera.fovy[0])
    elif model.ncam:
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        seen, fovy = [(data.cam_xpos[0], data.cam_xmat[0].reshape(3, 3))], float(model.cam_fovy[0])
    else:
        middle = (places.min(axis=0) + places.max(axis=0)) / 2 if len(places) else np.zeros(3)
        reach = float(np.ptp(places, axis=0).max()) + 1.0 if len(places) else 2.0
        axes = np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])  # along y, z up
        seen, fovy = [(middle + np.array([0, -2.5 * reach, 0]), axes)], 30.0
    poses, turn = [], np.empty(4)
    for place, axes in seen[:frames]:
        mujoco.mju_mat2Quat(turn, np.ascontiguousarray(axes).ravel())
        poses.append([*place.round(6).tolist(), *turn.round(7).tolist()])
    return {"poses": poses, "fovy": round(fovy, 5)}
