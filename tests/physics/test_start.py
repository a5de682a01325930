from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.physics.balls import doubt, flight, readings_of
from worldgen.physics.start import fit_start

G = torch.tensor([9.81], dtype=torch.float64)


@pytest.mark.parametrize("frames", [2, 3, 4, 8])
def test_a_flight_is_found_exactly(frames):
    states = flight(frames)
    start, _ = fit_start(states, doubt(states), G)
    assert start.position.shape == (1, 1, 1, 3)
    assert_close(start.position[0, 0, 0], states.position[0, -1, 0], atol=1e-5, rtol=0)
    assert_close(start.velocity[0, 0, 0], torch.tensor([1.5, 0, -0.4]).double(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("frames", [2, 4])
def test_the_covariance_is_that_of_many_readings(frames):
    read = readings_of(flight(frames), 4000, 0.03)
    start, covariance = fit_start(read, doubt(read), G.expand(4000))
    found = torch.stack([start.position[:, 0, 0, 0], start.velocity[:, 0, 0, 0]])
    assert_close(covariance[:, 0].mean(dim=0), found.cov(), rtol=0.1, atol=0)


def test_what_rests_on_the_floor_does_not_fall():
    radius = float(flight(3).extent[0, 0, 2])
    states = flight(3, (0.0, 0.0, radius), (1.0, 0.0, 0.0), rest=True)
    start, _ = fit_start(states, doubt(states), G)
    assert_close(start.velocity[0, 0, 0], torch.tensor([1.0, 0, 0]).double(), atol=1e-3, rtol=0)
    lifted, _ = fit_start(states, doubt(states), G, floor=-1.0)
    assert lifted.velocity[0, 0, 0, 2] < -0.1


def let_go(frames):
    """Of a ball at rest in the first of the frames."""
    fallen = 0.04 * (frames - 1)
    return flight(frames, (0.1, 0.0, 1.0), (0.0, 0.0, -9.81 * fallen))


@pytest.mark.parametrize("frames", [2, 3, 4])
def test_what_cannot_be_told_from_rest_begins_at_rest(frames):
    states = let_go(frames)
    read = readings_of(states, 2000, 0.03)
    start, covariance = fit_start(read, doubt(read), G.expand(2000))
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    speed = start.velocity[:, 0, 0]
    exact = (speed - torch.tensor([0.0, 0.0, -9.81 * 0.04 * (frames - 1)])).norm(dim=-1) < 1e-6
    assert 0.95 < exact.double().mean() < 1  # three deviations of three numbers
    assert_close(variance[exact, 0, 1], variance[~exact, 0, 1][:1].expand(int(exact.sum())) / 100)
    assert (covariance[exact, 0, 0, 1] == 0).all() and (covariance[~exact, 0, 0, 1] > 0).all()
    off = (start.position[exact, 0, 0, 0] - 0.1).std()
    assert off == pytest.approx(0.03 / 26 / frames**0.5, rel=0.1)  # the mean of all frames
    assert_close(variance[exact, 0, 0].mean().sqrt(), torch.tensor(0.03 / 26 / frames**0.5).double())


def test_what_moves_slowly_or_is_read_roughly_is_not_taken_to_rest():
    slow = flight(2, velocity=(0.3, 0.0, -9.81 * 0.04))
    read = readings_of(slow, 500, 0.03)
    start, covariance = fit_start(read, doubt(read), G.expand(500))
    assert start.velocity[:, 0, 0, 0].min() > 0.1 and covariance[:, 0, 1, 1].sqrt().min() > 0.03
    read = readings_of(flight(2), 500, 1.0)  # of 1.5 m/s, to 1.4 m/s
    start, _ = fit_start(read, doubt(read, 1.0), G.expand(500))
    assert ((start.velocity[:, 0, 0, 0] == 0).double().mean()) < 0.02


def test_what_floats_slowly_goes_on():
    slow = flight(2, velocity=(0.1, 0.0, 0.0), rest=True)
    read = readings_of(slow, 500, 0.03)
    start, covariance = fit_start(read, doubt(read), torch.zeros(500, dtype=torch.float64))
    assert start.velocity[:, 0, 0, 0].mean() == pytest.approx(0.1, abs=0.01)
    spread = float(start.velocity[:, 0, 0, 0].std())
    assert float(covariance[:, 0, 1, 1].sqrt().mean()) == pytest.approx(spread, rel=0.1)


def test_what_lies_still_on_the_floor_keeps_still():
    radius = float(flight(2).extent[0, 0, 2])
    states = flight(2, (0.0, 0.0, radius), (0.0, 0.0, 0.0), rest=True)
    read = readings_of(states, 200, 0.03)
    start, _ = fit_start(read, doubt(read), G.expand(200))
    assert (start.velocity[:, 0].norm(dim=-1) == 0).double().mean() > 0.8


def test_frames_before_a_touch_are_left_out():
    states = flight(4)
    turned = states.position.clone()
    turned[0, :2, 0, 0] += 0.2  # another course before
    start, _ = fit_start(replace(states, position=turned), doubt(states), G)
    assert_close(start.velocity[0, 0, 0, 0], torch.tensor(1.5).double(), atol=2e-3, rtol=0)


def test_frames_in_which_it_is_not_seen_or_surely_read_do_not_count():
    states = flight(4)
    wrong = states.position.clone()
    wrong[0, 1] += 0.3
    for hidden in (True, False):
        present, deviation = states.present.clone(), doubt(states)
        if hidden:
            present[0, 1] = False
        else:
            deviation[0, 1] = 7.0
        start, _ = fit_start(replace(states, position=wrong, present=present), deviation, G)
        assert_close(start.velocity[0, 0, 0, 0], torch.tensor(1.5).double(), atol=1e-3, rtol=0)


def test_what_is_seen_once_has_a_place_and_an_unknown_velocity():
    states = flight(3)
    present = states.present.clone()
    present[0, :2] = False
    start, covariance = fit_start(replace(states, present=present), doubt(states), G)
    assert_close(start.position[0, 0, 0], states.position[0, -1, 0], atol=1e-6, rtol=0)
    assert covariance[0, 0, 1, 1] == pytest.approx(9.0, rel=1e-3)


def test_one_frame_is_too_short():
    with pytest.raises(ValueError, match="needs at least 2 frames; got 1"):
        fit_start(flight(1), doubt(flight(1)), G)
