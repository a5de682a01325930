"""From states to pixels: films a model, or a Trajectory in the scenes it came from, without OpenGL."""

from __future__ import annotations

import numpy as np

from worldgen.simulation.engine import mujoco
from worldgen.simulation.film import Film, camera_of
from worldgen.simulation.ray_numba import render_numba
from worldgen.types import Camera

__all__ = ["Film", "camera_of", "film_trajectory", "render", "render_numba"]


def render(model: mujoco.MjModel, qpos: np.ndarray, camera: Camera, size: int) -> Film:
    return render_numba(model, qpos, camera, size)
