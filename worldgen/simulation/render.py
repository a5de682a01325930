"""From states to pixels without OpenGL: films a model, or a Trajectory in the scenes it came from.

`render` is the Numba ray tracer (`ray_numba.render_numba`), or MuJoCo's own rays shaded with NumPy
(`ray_numpy.render_multiray`) where Numba cannot be imported. They agree but for rounding.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.simulation.engine import mujoco
from worldgen.simulation.film import FAR, Film, camera_of, drawn_kinds, freed_model_of, object_bodies
from worldgen.simulation.ray_numpy import render_multiray
from worldgen.types import Camera, Trajectory

try:
    from worldgen.simulation.ray_numba import DRAWN, render_numba
except ImportError:  # Numba is not built for every platform
    render_numba = None

__all__ = ["Film", "film_trajectory", "render", "render_multiray", "render_numba"]


def render(model: mujoco.MjModel, qpos: np.ndarray, camera: Camera, size: int) -> Film:
    """Film the states ``qpos`` (T nq) of a model with a square image of ``size`` pixels.

    Raises:
        ValueError: A size below 1, a batch of cameras, or states that do not fit the model.
    """
    if render_numba is None or not drawn_kinds(model) <= DRAWN:
        return render_multiray(model, qpos, camera, size)
    return render_numba(model, qpos, camera, size)


def film_trajectory(trajectory: Trajectory, scenes: tuple[str, ...], size: int) -> Float[Tensor, "B T 3 H W"]:
    """Film a trajectory in its scenes: the bodies go where it says, the rest of each scene stays.

    Object n is the scene's n-th body with a joint, which does not hold it back here; rows with ``present``
    False are left out of the picture. Sizes and colors are the scene's. No gradient flows through it.

    Args:
        trajectory: Object states in metres.
        scenes: MJCF of each clip, with its camera.
        size: Height and width in pixels.

    Returns:
        Frames in [0, 1], float32, on the trajectory's device.

    Raises:
        ValueError: Another number of scenes than clips, lengths in pixels, present objects without a body
            or with states that are not finite, or a size below 1.
    """
    batch = len(trajectory.position)
    if len(scenes) != batch:
        raise ValueError(f"film_trajectory needs one scene per clip; got {len(scenes)} for {batch} clips.")
    if not trajectory.metric:
        raise ValueError("film_trajectory needs a trajectory in metres; got one in pixels.")
    films = []
    for index, xml in enumerate(scenes):
        model, camera = _set(xml)
        films.append(render(model, _qpos_of(trajectory, index, model, camera), camera, size).frames)
    frames = torch.from_numpy(np.stack(films)).permute(0, 1, 4, 2, 3).float().div(255)
    return frames.to(trajectory.position.device)


@lru_cache(maxsize=256)
def _set(xml: str) -> tuple[mujoco.MjModel, Camera]:
    model = freed_model_of(xml)
    return model, camera_of(model)


def _qpos_of(trajectory: Trajectory, index: int, model: mujoco.MjModel, camera: Camera) -> np.ndarray:
    """Generalized positions (T nq) that put the scene's bodies where the trajectory has them."""
    position, rotation, present = (
        tensor[index].detach().cpu().double().numpy()
        for tensor in (trajectory.position, trajectory.rotation, trajectory.present)
    )
    bodies = object_bodies(model)
    if present[:, len(bodies) :].any():
        raise ValueError(
            f"film_trajectory needs a body for every present object; clip {index} has object "
            f"{int(np.flatnonzero(present.any(axis=0))[-1])}, but its scene has {len(bodies)} free bodies."
        )
    # Far behind the camera: neither seen nor between the lamp and the stage.
    away = (camera.position[0] + 10 * FAR * camera.rotation[0, :, 2]).double().numpy()
    qpos = np.tile(model.qpos0, (len(position), 1))
    for number, body in enumerate(bodies):
        start = model.jnt_qposadr[model.body_jntadr[body]]
        for frame in range(len(position)):
            qpos[frame, start : start + 7] = *away, 1, 0, 0, 0
            if not (number < position.shape[1] and present[frame, number]):
                continue
            place, turn = position[frame, number], rotation[frame, number]
            if not (np.isfinite(place).all() and np.isfinite(turn).all()):
                raise ValueError(
                    f"film_trajectory needs finite states; those of object {number} of clip {index} are not "
                    f"in frame {frame}."
                )
            turn = turn / np.linalg.norm(turn)
            offset = np.empty(3)
            mujoco.mju_rotVecQuat(offset, model.body_ipos[body], turn)
            qpos[frame, start : start + 7] = *(place - offset), *turn
    return qpos
