"""Whole clips: complete, in view, deterministic."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from worldgen.simulation.clips import simulate_clip, simulate_trajectory
from worldgen.simulation.scenes.families import NANO, draw_scene

ROOT = Path(__file__).parents[2]
DIGEST = """
import hashlib
from worldgen.simulation.clips import simulate_clip
digest = hashlib.sha256()
for family in ("drop", "bounce", "collide"):
    clip = simulate_clip(family, 7, size=32)
    for tensor in (clip.frames, clip.depth, clip.masks, clip.truth.position):
        digest.update(tensor.numpy().tobytes())
    digest.update(clip.prompts[0].encode() + clip.scenes[0].encode())
print(digest.hexdigest())
"""


def test_a_clip_is_complete():
    for family in NANO:
        clip = simulate_clip(family, 1)
        count = clip.truth.position.shape[2]
        assert clip.frames.shape == (1, 16, 3, 64, 64) and clip.frames.dtype == torch.float32
        assert clip.depth.shape == (1, 16, 1, 64, 64) and clip.masks.shape == (1, 16, count, 64, 64)
        assert clip.truth.position.dtype == torch.float32 and clip.truth.dt.item() == pytest.approx(0.04)
        assert clip.truth.present.all() and clip.camera is not None and "<mujoco" in clip.scenes[0]
        assert clip.fps.item() == 25 and clip.prompts[0].startswith("a ")


def test_every_ball_stays_wholly_in_view():
    for family in NANO:
        for seed in range(40, 60):
            clip_truth = simulate_trajectory(family, seed)
            masks = simulate_clip(family, seed).masks if seed < 44 else None
            assert clip_truth.position[..., 0].abs().max() + clip_truth.extent.max() < 1.25
            if masks is not None:
                border = torch.ones(64, 64, dtype=torch.bool)
                border[1:-1, 1:-1] = False
                assert masks.any(dim=(-2, -1)).all()
                assert masks[..., border].float().mean() < 0.02


def test_the_first_touch_leaves_context_and_outcome():
    for family in NANO:
        for seed in range(20):
            contacts = simulate_trajectory(family, seed).contacts[0]
            between = contacts.bodies.min(dim=1).values >= 0
            first = contacts.time[between if family == "collide" else contacts.time > 0][0]
            assert 0.12 <= first <= (0.6 if family == "drop" else 0.5)


def test_same_seed_same_bits_in_another_process():
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}
    other = _run(DIGEST, environment)
    digest = hashlib.sha256()
    for family in NANO:
        clip = simulate_clip(family, 7, size=32)
        for tensor in (clip.frames, clip.depth, clip.masks, clip.truth.position):
            digest.update(tensor.numpy().tobytes())
        digest.update(clip.prompts[0].encode() + clip.scenes[0].encode())
    assert other == digest.hexdigest()


def test_another_seed_is_another_clip():
    for family in NANO:
        frames = [simulate_clip(family, seed, size=16, frames=4).frames for seed in range(6)]
        assert all((a - b).abs().max() > 0.2 for i, a in enumerate(frames) for b in frames[:i])
        assert draw_scene(family, 3, attempt=1).things != draw_scene(family, 3).things


def test_a_short_clip_is_the_start_of_a_long_one():
    for family in NANO:
        long, short = simulate_clip(family, 2, size=24), simulate_clip(family, 2, size=24, frames=5)
        torch.testing.assert_close(short.frames, long.frames[:, :5])
        assert short.prompts == long.prompts
        torch.testing.assert_close(simulate_trajectory(family, 2).velocity, long.truth.velocity)


def test_size_changes_the_picture_not_the_world():
    small, large = simulate_clip("bounce", 4, size=32), simulate_clip("bounce", 4, size=96)
    torch.testing.assert_close(small.truth.position, large.truth.position)
    shrunk = torch.nn.functional.avg_pool2d(large.frames[0], 3)
    assert (shrunk - small.frames[0]).abs().mean() < 0.01


def _run(code: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"family": "juggle"}, "family must be one of drop, bounce, collide, slide, .*; got 'juggle'."),
        ({"seed": -3}, "seed must not be negative; got -3."),
        ({"size": 0}, "size must be at least 1 pixel; got 0."),
        ({"frames": 0}, "frames must be at least 1; got 0."),
        ({"fps": 0.0}, "fps must be a positive number of frames per second; got 0.0."),
        ({"fps": -1.0}, "fps must be a positive number of frames per second; got -1.0."),
        (
            {"family": "bounce", "fps": 10.0, "frames": 40},
            "no 'bounce' scene of seed 0 stays in view for 4 s",
        ),
    ],
)
def test_bad_arguments_are_named(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        simulate_clip(**{"family": "drop", "seed": 0, **arguments})
