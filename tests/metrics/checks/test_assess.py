from dataclasses import replace

import pytest
import torch

from tests.metrics.paths import bouncing_ball
from worldgen.metrics.checks.assess import assess
from worldgen.metrics.tracking.colors import trajectory_of
from worldgen.simulation.rollout import rollout
from worldgen.simulation.scenes.families import draw_scene
from worldgen.types import GRAVITY, Trajectory

DT = 0.04
CHECKS = (
    "free_fall",
    "ballistic_residual",
    "energy_gain",
    "chord_energy",
    "permanence",
    "trajectory_error",
)


def of(position: torch.Tensor, radius: float = 0.12, metric: bool = True) -> Trajectory:
    batch, frames, count, _ = position.shape
    return trajectory_of(
        position,
        torch.ones(batch, frames, count, dtype=torch.bool),
        torch.full((batch,), DT, dtype=torch.float64),
        extent=torch.full((batch, count, 3), radius, dtype=torch.float64),
        metric=metric,
    )


def reorder(trajectory: Trajectory, order: torch.Tensor) -> Trajectory:
    return replace(trajectory, position=trajectory.position[:, order], present=trajectory.present[:, order])


def check(trajectory: Trajectory, **options):
    return assess(trajectory, clip="test", source="truth", **options)


def test_true_states_reach_the_known_values():
    ball = bouncing_ball()
    report = check(ball, reference=ball)
    assert report["free_fall"].value < 1e-9
    assert report["ballistic_residual"].value < 1e-12
    assert report["energy_gain"].value < 1e-12
    assert report["chord_energy"].value == 0
    assert report["permanence"].value == 1
    assert report["trajectory_error"].value == 0
    assert all(report[name].score > 0.999 for name in CHECKS)
    assert report["motion"].score > 0.98


@pytest.mark.parametrize(("family", "least"), [("drop", 20), ("bounce", 15)])
def test_simulated_states_reach_the_known_values(family, least):
    reports = [check(rollout(draw_scene(family, seed), 16, 25.0).trajectory) for seed in range(20)]
    errors = [report["free_fall"].value for report in reports if report["free_fall"].applies]
    assert len(errors) >= least and max(errors) < 1e-9
    assert max(report["chord_energy"].value for report in reports) == 0
    assert max(report["energy_gain"].value or 0 for report in reports) < 1e-9


@pytest.mark.parametrize("gravity", [1.62, 5.0, 19.62])
def test_wrong_gravity_has_the_error_of_theory(gravity):
    report = check(bouncing_ball(gravity))
    assert report["free_fall"].value == pytest.approx(abs(gravity / GRAVITY - 1), rel=1e-9)
    assert report["ballistic_residual"].value < 1e-12  # and is blind there
    assert "wrong or zero gravity" in report["ballistic_residual"].blind_to


def test_no_gravity_is_a_free_fall_error_of_one():
    report = check(bouncing_ball(0.0))
    assert report["free_fall"].value == pytest.approx(1.0, rel=1e-9)
    assert report["free_fall"].score < 0.02


def test_reversal_is_caught_by_energy_alone():
    ball = bouncing_ball()
    report = check(reorder(ball, torch.arange(39, -1, -1)), reference=ball)
    loss = 1 - 0.8**2
    assert report["energy_gain"].value > 0.9 * loss * (1.2 - 0.12) / 1.21
    assert report["energy_gain"].score < 0.05
    assert report["free_fall"].value < 1e-9 and report["ballistic_residual"].value < 1e-12


def test_shuffled_frames_are_caught_by_chord_energy():
    ball = bouncing_ball()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    report = check(reorder(ball, order), reference=ball)
    assert report["chord_energy"].value > 0.5
    assert check(reorder(ball, order))["chord_energy"].value > 0.2  # without a reference, too


def test_a_teleport_is_caught_by_chord_energy_in_one_step():
    ball = bouncing_ball()
    position = ball.position.clone()
    position[:, 20:, 0, 0] += 0.5
    report = check(replace(ball, position=position))
    assert report["chord_energy"].value == pytest.approx(1 / 39)
    assert report["chord_energy"].score < 0.5
    assert report["free_fall"].value < 1e-9


def test_nothing_applies_to_what_does_not_move():
    ball = bouncing_ball()
    report = check(reorder(ball, torch.zeros(40, dtype=torch.long)), reference=ball)
    assert report["motion"].value == 0 and report["motion"].score == 0
    for name in CHECKS:
        assert report[name].value is None and "no motion" in report[name].note
    barely = replace(ball, position=0.08 * ball.position)
    assert not check(barely)["permanence"].applies


def test_a_ball_that_rolls_is_no_fall():
    t = DT * torch.arange(20, dtype=torch.float64)
    rolling = torch.stack([t, 0 * t, 0 * t + 0.12], dim=-1)[None, :, None]
    assert "no ballistic segment" in check(of(rolling))["free_fall"].note
    floating = rolling + torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    assert check(of(floating))["free_fall"].value == pytest.approx(1.0)


def test_free_fall_applies_unless_noise_hides_gravity():
    ball = bouncing_ball(frames=12)
    scatter = torch.randn(ball.position.shape, generator=torch.Generator().manual_seed(0)).double()
    report = check(replace(ball, position=ball.position + 0.02 * scatter))
    assert report["free_fall"].value is None and "noise moves the acceleration" in report["free_fall"].note
    report = check(replace(ball, position=ball.position + 0.0005 * scatter))
    assert 1e-4 < report["free_fall"].value < 0.05


def test_missing_and_added_objects_cost_permanence():
    ball = bouncing_ball()
    present = ball.present.clone()
    present[:, 10:20] = False
    assert check(replace(ball, present=present))["permanence"].value == pytest.approx(0.75)
    spurious = torch.zeros(40, dtype=torch.long)
    spurious[5:9] = 2
    assert check(ball, spurious=spurious)["permanence"].value == pytest.approx(0.8)
    expected = torch.ones(40, 1, dtype=torch.bool)
    expected[30:] = False
    assert check(ball, expected=expected)["permanence"].value == pytest.approx(1 - 10 / 30)
    gone = check(replace(ball, present=torch.zeros_like(present)))
    assert gone["permanence"].value == 0 and not gone["motion"].applies


def test_error_against_truth_is_in_metres_and_scored_by_the_radius():
    ball = bouncing_ball()
    moved = replace(ball, position=ball.position + torch.tensor([0.12, 0.0, 0.0], dtype=torch.float64))
    error = check(moved, reference=ball)["trajectory_error"]
    assert error.value == pytest.approx(0.12) and error.unit == "m" and error.score == pytest.approx(0.5)
    assert "ADE 0.12, FDE 0.12 m" in error.note


def test_pixels_without_scale_have_no_gravity_and_no_energy():
    pixels = replace(bouncing_ball(), metric=False)
    report = check(pixels)
    assert report["ballistic_residual"].value < 1e-12
    for name in ("free_fall", "energy_gain", "chord_energy"):
        assert report[name].value is None and "pixels without scale" in report[name].note
    assert check(bouncing_ball(), gravity=0.0)["free_fall"].note == "does not apply: gravity is 0"


def test_bad_input_is_explained():
    ball = bouncing_ball()
    double = replace(
        ball,
        **{
            name: getattr(ball, name).repeat_interleave(2, dim=0)
            for name in ("position", "rotation", "velocity", "spin", "mass", "extent", "present", "dt")
        },
    )
    with pytest.raises(ValueError, match=r"one clip; got 2\. Use select"):
        check(double)
    with pytest.raises(ValueError, match="at least 3 frames; got 2"):
        check(of(ball.position[:, :2]))
    with pytest.raises(ValueError, match=r"must have the trajectory's shape \(1, 40, 1, 3\); got \(1, 39"):
        check(ball, reference=of(ball.position[:, :39]))
    with pytest.raises(ValueError, match="one unit; got m and px"):
        check(ball, reference=replace(ball, metric=False))
    with pytest.raises(ValueError, match=r"expected must be \(T N\) = \(40, 1\); got \(40,\)"):
        check(ball, expected=torch.ones(40, dtype=torch.bool))


def in_a_video(x, z, metres: float = 0.01) -> Trajectory:
    """A thing of 6 pixels in 30 frames a second, whose surroundings nobody knows."""
    x, z = torch.broadcast_tensors(torch.as_tensor(x).double(), torch.as_tensor(z).double())
    place = metres * torch.stack([x, 0 * x, z], dim=-1)[None, :, None]
    present = torch.ones(1, len(x), 1, dtype=torch.bool)
    extent = torch.full((1, 1, 3), 6 * metres).double()
    return trajectory_of(place, present, torch.tensor([1 / 30]).double(), extent=extent)


K = torch.arange(60, dtype=torch.float64)
SWUNG = 0.6 * torch.cos(2 * torch.pi * K / 28)
TURNED = 2 * torch.pi * K / 25
LAWLESS = {
    "pendulum": (60 * SWUNG.sin(), -60 * SWUNG.cos(), "swings in frames 0-59"),
    "wheel": (40 * TURNED.cos(), 40 * TURNED.sin(), "swings in frames 0-59"),
    "wheel that speeds up": (
        40 * (TURNED + 0.004 * K**2).cos(),
        40 * (TURNED + 0.004 * K**2).sin(),
        "goes round in frames 0-59",
    ),
    "mass on a spring": (0 * K, 30 * (2 * torch.pi * K / 22).cos(), "swings in frames 0-59"),
    "car that brakes": (10 + 100 * (1 - (-K / 12).exp()), 0 * K, "slides, rolls or brakes along a line"),
    "car that starts": (0.03 * K**2, 0 * K, "slides, rolls or brakes along a line"),
}


@pytest.mark.parametrize("name", LAWLESS)
def test_no_law_of_falling_holds_where_nothing_says_that_it_falls(name):
    x, z, told = LAWLESS[name]
    report = assess(in_a_video(x, z), clip="test", source="readout", floor=None)
    for law in ("free_fall", "ballistic_residual", "flight_shape", "g_eff", "chord_energy", "momentum"):
        assert not report[law].applies, law
    assert told in report["ballistic_residual"].note and told in report["free_fall"].note
    assert not any(check.score < 0.5 for check in report.checks if check.score is not None)


def test_a_fall_in_a_video_is_judged_all_the_same():
    right = in_a_video(0 * K[:25], -GRAVITY / 2 * (K[:25] / 30) ** 2 / 0.01)
    report = assess(right, clip="test", source="readout", floor=None)
    for law in ("free_fall", "ballistic_residual", "flight_shape", "g_eff"):
        assert report[law].value < 1e-6, law
    fallen = K[:25] / 24
    for wrong, law in (
        (3 * fallen**2 - 2 * fallen**3, "ballistic_residual"),
        ((1.5 * fallen).cosh().log(), "flight_shape"),  # near terminal speed
        (fallen**2, "free_fall"),  # of another planet
    ):
        report = assess(in_a_video(0 * fallen, -100 * wrong), clip="test", source="readout", floor=None)
        assert report[law].score < 0.5, law
    assert "drag" in report["ballistic_residual"].blind_to
