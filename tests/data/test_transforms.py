"""Sensor noise: its size, its seed, and that nothing else changes."""

from dataclasses import replace

import pytest
import torch

from worldgen.data.transforms import SensorNoise


@pytest.fixture
def grey(make_clip):
    clip = make_clip(0, frames=6, size=64)
    frames = torch.full_like(clip.frames, 0.25)
    frames[:, :, :, 32:] = 0.64
    return replace(clip, frames=frames)


def test_deviation_is_that_of_read_and_shot_noise(grey):
    noisy = SensorNoise(read=0.03, shot=0.05)(grey, "a").frames
    for rows, light in ((slice(0, 32), 0.25), (slice(32, 64), 0.64)):
        part = noisy[:, :, :, rows]
        assert part.std().item() == pytest.approx((0.03**2 + 0.05**2 * light) ** 0.5, rel=0.02)
        assert part.mean().item() == pytest.approx(light, abs=1e-3)


def test_the_clip_and_the_epoch_decide_the_noise(grey):
    noise = SensorNoise(seed=3)
    once = noise(grey, "bounce-1").frames
    assert torch.equal(noise(grey, "bounce-1").frames, once)
    for other in (noise(grey, "bounce-2"), noise(grey, "bounce-1", 1), SensorNoise(seed=4)(grey, "bounce-1")):
        assert (other.frames != once).float().mean() > 0.9


def test_only_frames_change_and_they_stay_in_range(make_clip):
    clip = make_clip(1)
    noisy = SensorNoise(read=0.5, shot=0.5)(clip, "a")
    assert noisy.frames.min() == 0 and noisy.frames.max() == 1
    assert noisy.depth is clip.depth and noisy.masks is clip.masks and noisy.truth is clip.truth
    assert SensorNoise(read=0, shot=0)(clip, "a") is clip


def test_negative_noise_is_refused():
    with pytest.raises(ValueError, match="read and shot must not be negative; got -0.1 and 0.012"):
        SensorNoise(read=-0.1)
