"""From states to pixels: films a model, or a Trajectory in the scenes it came from.

Which renderer draws is decided in `renderers`: one that casts rays unless another is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldgen.simulation.engine import freed_model_of, mujoco, object_bodies
from worldgen.simulation.rendering.backends import pick_renderer
from worldgen.simulation.rendering.film import FAR, Film, camera_of
from worldgen.simulation.rendering.ray_numpy import render_multiray
from worldgen.types import Camera, Trajectory, select

__all__ = ["Film", "Footage", "film_states", "film_trajectory", "render", "render_multiray"]


@dataclass(frozen=True)
class Footage:
    """What cameras recorded of a batch of clips."""

    frames: Float[Tensor, "B T 3 H W"]
    """RGB in [0, 1]."""
    depth: Float[Tensor, "B T 1 H W"]
    """Metres along the camera's axis; 0 where there is nothing."""
    masks: Bool[Tensor, "B T N H W"]


def render(model: mujoco.MjModel, qpos: np.ndarray, camera: Camera, size: int) -> Film:
    """Film the states ``qpos`` (T nq) of a model with a square image of ``size`` pixels.

    Args:
        model: What to film.
        qpos: Generalized positions in every frame.
        camera: B = 1; it stands still or has a pose per frame.
        size: Height and width in pixels.

    Raises:
        ValueError: A size below 1, a batch of cameras, states that do not fit the model, or something that
            the renderer cannot draw; the renderer that was asked for is unknown or not to be had.
    """
    return pick_renderer(model)(model, qpos, camera, size)


def film_trajectory(
    trajectory: Trajectory, scenes: tuple[str, ...], size: int, camera: Camera | None = None
) -> Float[Tensor, "B T 3 H W"]:
    """Frames of `film_states`."""
    return film_states(trajectory, scenes, size, camera).frames


def film_states(
    trajectory: Trajectory, scenes: tuple[str, ...], size: int, camera: Camera | None = None
) -> Footage:
    """Film a trajectory in its scenes: the bodies go where it says, the rest of each scene stays.

    Object n is the scene's n-th body with a joint, which does not hold it back here; rows with ``present``
    False are left out of the picture. Sizes and colors are the scene's. No gradient flows through it.

    Args:
        trajectory: Object states in metres.
        scenes: MJCF of each clip, with its camera.
        size: Height and width in pixels.
        camera: One for each clip, in place of the scenes'.

    Returns:
        Float32 frames, depth and masks, on the trajectory's device.

    Raises:
        ValueError: Another number of scenes or cameras than clips, lengths in pixels, present objects without
            a body or with states that are not finite, or a size below 1.
    """
    batch = len(trajectory.position)
    if len(scenes) != batch:
        raise ValueError(f"film_trajectory needs one scene per clip; got {len(scenes)} for {batch} clips.")
    if camera is not None and len(camera.fovy) != batch:
        raise ValueError(
            f"film_trajectory needs one camera per clip; got {len(camera.fovy)} for {batch} clips."
        )
    if not trajectory.metric:
        raise ValueError("film_trajectory needs a trajectory in metres; got one in pixels.")
    films = []
    for index, xml in enumerate(scenes):
        model, own = _set(xml)
        eye = own if camera is None else select(camera, slice(index, index + 1))
        films.append(render(model, _put(trajectory, index, model, eye), eye, size))
    device, count = trajectory.position.device, trajectory.position.shape[2]
    frames = torch.from_numpy(np.stack([film.frames for film in films]))
    ids = np.stack([film.ids for film in films])
    return Footage(
        frames=frames.permute(0, 1, 4, 2, 3).float().div(255).to(device),
        depth=torch.from_numpy(np.stack([film.depth for film in films]))[:, :, None].to(device),
        masks=torch.from_numpy(ids[:, :, None] == np.arange(count)[:, None, None]).to(device),
    )


@lru_cache(maxsize=256)
def _set(xml: str) -> tuple[mujoco.MjModel, Camera]:
    model = freed_model_of(xml)
    return model, camera_of(model)


def _put(trajectory: Trajectory, index: int, model: mujoco.MjModel, camera: Camera) -> np.ndarray:
    """Generalized positions (T nq) that put the scene's bodies where the trajectory has them."""
    position, rotation, present = (
        tensor[index].detach().cpu().double().numpy()
        for tensor in (trajectory.position, trajectory.rotation, trajectory.present)
    )
    bodies = object_bodies(model)
    if present[:, len(bodies) :].any():
        raise ValueError(
            f"film_trajectory needs a body for every present object; clip {index} has object "
            f"{int(np.flatnonzero(present.any(axis=0))[-1])}, but its scene has "
            f"{len(bodies)} bodies that move."
        )
    frames = len(position)
    # Far behind the camera: neither seen nor between the lamp and the stage.
    watched = camera.over(frames)
    away = (watched.position[0] + 10 * FAR * watched.rotation[0, :, :, 2]).double().cpu().numpy()
    places, turns = np.repeat(away[:, None], len(bodies), axis=1), np.zeros((frames, len(bodies), 4))
    turns[..., 0] = 1
    for number in range(min(len(bodies), position.shape[1])):
        seen = present[:, number].astype(bool)
        finite = np.isfinite(position[:, number]).all(axis=1) & np.isfinite(rotation[:, number]).all(axis=1)
        if (seen & ~finite).any():
            raise ValueError(
                f"film_trajectory needs finite states; those of object {number} of clip {index} are not "
                f"in frame {int(np.flatnonzero(seen & ~finite)[0])}."
            )
        places[seen, number] = position[seen, number]
        for frame in np.flatnonzero(seen):  # one by one: norms of rows round otherwise
            turns[frame, number] = rotation[frame, number] / np.linalg.norm(rotation[frame, number])
    qpos, offset = np.tile(model.qpos0, (frames, 1)), np.empty(3)
    for number, body in enumerate(bodies):
        start = model.jnt_qposadr[model.body_jntadr[body]]
        for frame in range(frames):
            turn = turns[frame, number]
            mujoco.mju_rotVecQuat(offset, model.body_ipos[body], turn)
            qpos[frame, start : start + 7] = *(places[frame, number] - offset), *turn
    return qpos
