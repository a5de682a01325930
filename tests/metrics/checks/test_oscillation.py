"""Damped swings: what was put in comes out, and a reversed one gains energy."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.metrics.paths import of, path, times
from worldgen.metrics.checks.assess import assess
from worldgen.metrics.checks.oscillation import check_oscillation, find_swings, fit_swing
from worldgen.metrics.checks.surroundings import Surroundings
from worldgen.simulation.engine import mujoco
from worldgen.types import GRAVITY

HUNG = Surroundings(held=(True,))


def swing(gamma: float, omega: float, frames: int = 50, phase: float = 0.3) -> torch.Tensor:
    t = times(frames)
    return 0.6 * torch.exp(-gamma * t) * torch.cos(omega * t + phase)


@pytest.mark.parametrize("gamma", [-0.4, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("omega", [2.5, 5.0, 9.0])
def test_a_damped_sinusoid_is_found_again(gamma, omega):
    found = fit_swing(times(50).numpy(), (swing(gamma, omega) + 0.2).numpy())
    assert found.gamma == pytest.approx(gamma, abs=1e-5) and found.omega == pytest.approx(omega, abs=1e-5)
    assert found.residual < 1e-8
    assert found.damping == pytest.approx(gamma / math.hypot(gamma, omega), abs=1e-5)


def test_time_reversal_turns_the_sign_of_the_damping():
    forward = of(path(swing(0.5, 5.0), 0.0, 1.0, 50))
    backward = replace(forward, position=forward.position.flip(1))
    there = check_oscillation(forward, None, HUNG)
    back = check_oscillation(backward, None, HUNG)
    assert there[1].value == pytest.approx(-back[1].value, abs=1e-6)
    assert there[1].score == 1 and back[1].score < 0.02 and back[1].passes == "above"
    assert there[0].value < 1e-8 and back[0].value < 1e-8  # blind, and says so
    assert "time reversal" in there[0].blind_to


def test_growth_within_the_noise_is_none():
    scatter = 0.02 * torch.randn(50, generator=torch.Generator().manual_seed(0)).double()
    steady = of(path(swing(0.0, 5.0) + scatter, 0.0, 1.0, 50))
    _, damping = check_oscillation(steady, None, HUNG)
    assert damping.score == 1 and "+-" in damping.note


def test_a_simulated_pendulum_with_friction():
    xml = """<mujoco><option timestep=".001" integrator="RK4"/><worldbody><body pos="0 0 2">
    <joint type="hinge" axis="0 1 0" damping=".3"/><geom type="sphere" size=".1" pos="0 0 -1" mass="1"/>
    </body></worldbody></mujoco>"""
    model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(model)
    data.qpos[:] = 0.3
    places = []
    for _ in range(75):
        mujoco.mj_kinematics(model, data)
        places.append(data.geom_xpos[0].copy())
        for _ in range(40):
            mujoco.mj_step(model, data)
    track = of(torch.from_numpy(np.array(places)), radius=0.1)
    inertia = 1.0 + 0.4 * 0.01
    found = find_swings(track, HUNG)[0]
    assert found.gamma == pytest.approx(0.3 / (2 * inertia), rel=0.02)
    assert found.omega == pytest.approx(math.sqrt(GRAVITY / inertia - found.gamma**2), rel=0.02)
    report = assess(track, clip="x", source="truth", world=HUNG)
    assert report["damping"].score == 1 and report["oscillation_residual"].value < 0.01
    assert "nothing swings" not in report["damping"].note and not report["free_fall"].applies
    back = assess(replace(track, position=track.position.flip(1)), clip="x", source="truth", world=HUNG)
    assert back["damping"].score < 0.05


def test_shuffled_frames_are_no_swing():
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    mixed = of(path(swing(0.1, 5.0)[order], 0.0, 1.0, 50))
    residual, _ = check_oscillation(mixed, None, HUNG)
    assert residual.value > 0.1 and residual.score < 0.2


def test_what_does_not_swing_is_not_judged():
    t = times(50)
    falling = of(path(t, 0.0, 20 - GRAVITY * t**2 / 2, 50))
    assert "nothing swings" in check_oscillation(falling, None, Surroundings())[0].note
    short = of(path(swing(0.0, 2.0, 16), 0.0, 1.0))
    assert not check_oscillation(short, None, HUNG)[0].applies  # a fifth of a period
    free = of(path(swing(0.0, 9.0), 0.0, 1.0, 50))
    assert check_oscillation(free, free, Surroundings())[0].value < 1e-8  # turns round without a kink
    assert not check_oscillation(free, falling, Surroundings())[0].applies  # in truth it falls


def test_where_nothing_says_that_it_hangs_no_swing_is_no_fault():
    free = of(path(swing(-0.3, 9.0), 0.0, 1.0, 50))
    residual, damping = check_oscillation(free, None, Surroundings())
    assert not residual.applies and "nothing says that anything hangs here" in residual.note
    assert damping.value < -0.02 and damping.score < 0.5
    t = times(50)
    winding = of(path(torch.sin(4 * t) + 0.4 * torch.sin(9.3 * t), 0.0, 1.0, 50))
    assert check_oscillation(winding, None, HUNG)[0].score < 0.5
    assert not any(check.applies for check in check_oscillation(winding, None, Surroundings()))
