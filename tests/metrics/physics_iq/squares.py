"""A video in which something moves."""

from __future__ import annotations

import numpy as np


def moving_square(frames: int, height: int, width: int, seed: int = 0, noise: int = 12) -> np.ndarray:
    """A bright square that crosses a noisy picture and leaves it."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(40, 120, (height, width, 3))
    video = np.repeat(ground[None], frames, axis=0) + rng.integers(
        -noise, noise + 1, (frames, height, width, 3)
    )
    for index in range(frames):
        left = index * width // frames - 6
        video[index, height // 3 : height // 3 + 12, max(left, 0) : max(left + 14, 0)] = (250, 200, 30)
    return video.clip(0, 255).astype(np.uint8)
