import numpy as np
import pytest
import torch

from worldgen.metrics.baselines import (
    LinearRegression,
    constant_velocity,
    copy_last,
    trajectory_error_px,
)
from worldgen.metrics.fidelity import moving_psnr, psnr
from worldgen.metrics.tracking.colors import trajectory_of
from worldgen.simulation.clips import simulate_trajectory
from worldgen.types import Trajectory


def fall(start: float, speed: float, count: int = 1, frames: int = 12) -> Trajectory:
    """Pixels: x moves evenly, z falls evenly accelerated."""
    t = torch.arange(frames, dtype=torch.float64)
    one = torch.stack([start + speed * t, 0 * t, -0.3 * t**2], dim=-1)
    position = torch.stack([one + 5 * index for index in range(count)], dim=1)[None]
    return trajectory_of(
        position,
        torch.ones(1, frames, count, dtype=torch.bool),
        torch.tensor([0.04], dtype=torch.float64),
        extent=torch.full((1, count, 3), 2.0, dtype=torch.float64),
        metric=False,
    )


def test_copy_and_constant_velocity_err_as_theory_says():
    truth = fall(3.0, 2.0)
    t = torch.arange(4, 12, dtype=torch.float64)
    held = trajectory_error_px(copy_last(truth, 4), truth, None, 64, 64, 4)[0, :, 0]
    torch.testing.assert_close(held, torch.hypot(2.0 * (t - 3), 0.3 * (t**2 - 9)))
    moved = constant_velocity(truth, 4)
    straight = trajectory_error_px(moved, truth, None, 64, 64, 4)[0, :, 0]
    torch.testing.assert_close(straight, 0.3 * (t**2 - 9 - 3 * (t - 3)))  # mean speed over frames 0 .. 3 is 3
    torch.testing.assert_close(moved.position[:, :4], truth.position[:, :4])
    exact = fall(1.0, -1.5)
    exact = trajectory_of(
        exact.position * torch.tensor([1.0, 1.0, 0.0]), exact.present, exact.dt, extent=exact.extent
    )
    torch.testing.assert_close(constant_velocity(exact, 2).position, exact.position)


def test_regression_learns_what_is_linear_and_keeps_groups_apart():
    train = [fall(start, speed) for start in (0.0, 4.0, 9.0) for speed in (-2.0, 0.5, 3.0)]
    pairs = [fall(start, speed, count=2) for start in (0.0, 4.0) for speed in (-2.0, 3.0)]
    up = [trajectory_of(-a.position, a.present, a.dt, extent=a.extent, metric=False) for a in train]
    groups = ["fall"] * len(train) + ["fall"] * len(pairs) + ["rise"] * len(up)
    model = LinearRegression.fit([*train, *pairs, *up], groups, context=2, ridge=1e-9)
    for truth, group in ((fall(6.0, 1.7), "fall"), (fall(2.0, 1.0, count=2), "fall")):
        blind = truth.position.clone()
        blind[:, 2:] = 99.0
        asked = trajectory_of(blind, truth.present, truth.dt, extent=truth.extent, metric=False)
        answer = model.predict(asked, group)
        torch.testing.assert_close(answer.position, truth.position, rtol=0, atol=1e-4)
    wrong = model.predict(fall(6.0, 1.7), "rise").position - fall(6.0, 1.7).position
    assert wrong.abs().max() > 1
    with pytest.raises(ValueError, match="fall with 2, rise with 1 objects; got rise with 2"):
        model.predict(fall(0.0, 1.0, count=2), "rise")


def test_regression_beats_the_other_baselines_on_simulated_drops():
    clips = [simulate_trajectory("drop", seed) for seed in range(60)]
    model = LinearRegression.fit(clips[:45], ["drop"] * 45, context=2)
    error = {"copy": [], "velocity": [], "regression": []}
    for truth in clips[45:]:
        for name, guess in (
            ("copy", copy_last(truth, 2)),
            ("velocity", constant_velocity(truth, 2)),
            ("regression", model.predict(truth, "drop")),
        ):
            error[name].append(float((guess.position - truth.position)[:, 2:].norm(dim=-1).mean()))
    assert np.mean(error["regression"]) < 0.5 * np.mean(error["velocity"]) < 0.5 * np.mean(error["copy"])


def test_an_object_that_truth_lacks_does_not_count():
    truth = fall(0.0, 1.0, count=2)
    present = truth.present.clone()
    present[:, :, 1] = False
    truth = trajectory_of(truth.position, present, truth.dt, extent=truth.extent, metric=False)
    error = trajectory_error_px(copy_last(truth, 3), truth, None, 64, 64, 3)
    assert error[..., 1].isnan().all() and error[..., 0].isfinite().all()


def test_psnr_is_that_of_the_error():
    true = torch.full((2, 4, 3, 8, 8), 0.5)
    off = true.clone()
    off[0] += 0.1
    torch.testing.assert_close(psnr(off, true), torch.tensor([20.0, 100.0]))


def test_moving_psnr_looks_only_at_what_moves():
    true = torch.zeros(1, 4, 3, 8, 8)
    true[:, 2:, :, 0, 0] = 0.9
    true[:, 2:, :, 1, 1] = 0.1  # too small a change
    guess = true.clone()
    guess[:, 2:, :, 0, 0] -= 0.01
    guess[:, 2:, :, 5, 5] = 1.0  # not where anything moves
    guess[:, :2] = 0.7  # the context is not scored
    torch.testing.assert_close(moving_psnr(guess, true, 2), torch.tensor([40.0]), rtol=1e-3, atol=0)
    assert moving_psnr(true * 0, true * 0, 2).isnan().all()
    with pytest.raises(ValueError, match=r"context must lie in 1 \.\. 3 frames; got 4"):
        moving_psnr(guess, true, 4)
    with pytest.raises(ValueError, match="must have one shape"):
        psnr(guess[:, :2], true)


def test_bad_input_is_explained():
    truth = fall(0.0, 1.0)
    with pytest.raises(ValueError, match=r"context must lie in 2 \.\. 11 of 12 frames; got 1"):
        constant_velocity(truth, 1)
    with pytest.raises(ValueError, match="must have one shape"):
        trajectory_error_px(truth, fall(0.0, 1.0, count=2), None, 64, 64, 2)
    with pytest.raises(ValueError, match="got 1 trajectories and 2 groups"):
        LinearRegression.fit([truth], ["a", "b"], 2)
    double = trajectory_of(
        truth.position.repeat(2, 1, 1, 1),
        truth.present.repeat(2, 1, 1),
        truth.dt.repeat(2),
        extent=truth.extent.repeat(2, 1, 1),
    )
    with pytest.raises(ValueError, match="one clip at a time; got 2"):
        LinearRegression.fit([double], ["a"], 2)
