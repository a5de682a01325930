"""Cameras that move: each function turns a camera that stands still into one with a pose per frame.

A moving camera travels with its clip (`Clip.camera`), so that truth is projected and frames are filmed again
from where they were seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.types import Camera


def look_at(
    eye: Float[Tensor, "B *T 3"], target: Float[Tensor, "B *T 3"], fovy: Float[Tensor, " B"]
) -> Camera:
    """Cameras at ``eye`` that look at ``target``, both in metres, their x axis level; ``fovy`` in degrees.

    Raises:
        ValueError: A camera looks straight up or down, or at itself, where level has no meaning.
    """
    backward = torch.nn.functional.normalize(eye - target, dim=-1)
    up = torch.zeros_like(backward)
    up[..., 2] = 1
    right = torch.linalg.cross(up, backward)
    if bool((right.norm(dim=-1) < 1e-6).any()):
        raise ValueError(
            "a camera must look at a point beside, not above or below, itself; got one that does not. "
            "Move its target."
        )
    right = torch.nn.functional.normalize(right, dim=-1)
    return Camera(eye, torch.stack([right, torch.linalg.cross(backward, right), backward], dim=-1), fovy)


def orbit(camera: Camera, path: Float[Tensor, "B T 3"], fps: float, speed: float) -> Camera:
    """The camera circles the middle of its view at constant height, from where it is.

    The middle is the point where its axis meets the plane y = 0; it faces it as it did at first.

    Args:
        camera: One that stands still.
        path: Of any object; only its T counts.
        fps: Frames per second.
        speed: Degrees per second, counterclockwise seen from above.

    Raises:
        ValueError: The camera moves already.
    """
    _require_still(camera)
    frames = path.shape[1]
    middle = torch.tensor([[[[0.0, 0.0]]]]).expand(len(camera.fovy), 1, 1, 2)
    center = camera.unproject(middle, 1, 1)[:, 0]
    angle = math.radians(speed) / fps * torch.arange(frames, dtype=torch.float64)
    turn = torch.zeros(frames, 3, 3, dtype=torch.float64)
    turn[:, 0, 0] = turn[:, 1, 1] = angle.cos()
    turn[:, 1, 0], turn[:, 0, 1], turn[:, 2, 2] = angle.sin(), -angle.sin(), 1.0
    turn = turn.to(camera.position)
    offset = camera.position[:, None] - center  # (B, 1, 3)
    return Camera(
        position=center + torch.einsum("tij,bj->bti", turn, offset[:, 0]),
        rotation=torch.einsum("tij,bjk->btik", turn, camera.rotation),
        fovy=camera.fovy,
    )


def track(camera: Camera, path: Float[Tensor, "B T 3"], fps: float) -> Camera:
    """The camera travels as the path does, in metres, and never turns: the body stays where it was in view.

    Args:
        camera: One that stands still.
        path: Such as one object's positions, ``trajectory.position[:, :, n]``.
        fps: Of no effect.

    Raises:
        ValueError: The camera moves already.
    """
    _require_still(camera)
    moved = (path - path[:, :1]).to(camera.position)
    over = camera.over(path.shape[1])
    return Camera(over.position + moved, over.rotation.clone(), camera.fovy)


def follow(camera: Camera, path: Float[Tensor, "B T 3"], fps: float) -> Camera:
    """The camera stays in its place and turns, so that the path's point is in the middle of every frame.

    Args:
        camera: One that stands still.
        path: Such as one object's positions, ``trajectory.position[:, :, n]``.
        fps: Of no effect.

    Raises:
        ValueError: The camera moves already, or the path passes straight above or below it.
    """
    _require_still(camera)
    return look_at(camera.over(path.shape[1]).position.clone(), path.to(camera.position), camera.fovy)


Motion = Callable[[Camera, Float[Tensor, "B T 3"], float], Camera]
"""Sets a camera in motion, given the path in metres of the scene's first object and the frames per second."""

MOTIONS: dict[str, Motion | None] = {
    "still": None,
    "orbit left": partial(orbit, speed=-20.0),
    "orbit right": partial(orbit, speed=20.0),
    "track": track,
    "follow": follow,
}
"""By name; "still" is how scenes are filmed unless another is drawn."""


def _require_still(camera: Camera) -> None:
    if camera.moves:
        raise ValueError("the camera must stand still before it is set in motion; got one that moves.")
