from dataclasses import replace

import pytest
import torch

from tests.physics.balls import balls, doubt, flight, one_step, readings_of, world
from worldgen.physics.dynamics import GraphDynamics
from worldgen.physics.flight import Ballistic, ConstantVelocity, moved
from worldgen.physics.graph import graph_of
from worldgen.physics.start import fit_start
from worldgen.simulation.ball_states import play_balls, stack_balls
from worldgen.tasks.parts.dynamics import frames_of, rollout_error, scenery_of


def test_a_rollout_is_the_start_and_so_many_steps_of_what_is_there():
    states = stack_balls([play_balls("drop", seed, "id") for seed in range(6)])
    start = frames_of(states.trajectory, 0, 2)
    rolled = Ballistic().rollout(start, scenery_of(states), 3)
    assert rolled.position.shape == (6, 4, 2, 3)
    assert torch.equal(rolled.position[:, 0], states.trajectory.position[:, 1])
    absent = ~rolled.present[:, 0]
    assert absent.any()
    assert torch.equal(rolled.position[:, 3][absent], states.trajectory.position[:, 1][absent])
    with pytest.raises(ValueError, match="at least one step; got 0"):
        ConstantVelocity().rollout(start, scenery_of(states), 0)


@pytest.mark.parametrize("known", [2, 4])
def test_the_doubt_of_a_flight_is_the_spread_of_many_roll_outs(known):
    """An error of velocity is the same in all steps, and is one with that of the place."""
    read = readings_of(flight(known, (0.1, 0.0, 3.0)), 4000, 0.03)
    start, covariance = fit_start(read, doubt(read), torch.full((4000,), 9.81).double())
    network = GraphDynamics().double()  # in flight it is sure
    with torch.no_grad():
        rolled, told = network.rollout_with_doubt(start, world(start), 10, covariance)
    spread = rolled.position[:, :, 0, ::2].std(dim=0).mean(dim=-1)
    torch.testing.assert_close(told[:, :, 0].mean(dim=0), spread, rtol=0.05, atol=0)
    assert spread[-1] > 5 * spread[0]


def test_moved_is_one_step_and_lets_a_gradient_through():
    states = balls([[0, 0, 1], [0.5, 0, 1]], [[1, 0, 0], [0, 0, 2]])
    speed = states.velocity.clone().requires_grad_()
    graph = graph_of(replace(states, velocity=speed), world(states))
    after = moved(states, graph, Ballistic()(graph))
    torch.testing.assert_close(
        after.position.detach(), one_step(Ballistic(), states, world(states)).position[:, 1:]
    )
    assert torch.equal(after.rotation, states.rotation)
    after.position.sum().backward()
    torch.testing.assert_close(speed.grad, torch.full_like(speed, 0.04))


def test_a_ball_that_falls_bounces_with_its_restitution():
    """Closed form: it touches after 20 ms at 2 m/s."""
    g, fall = 9.81, 0.02
    gap = 2 * fall - g * fall**2 / 2
    states = balls([[0, 0, 0.2 + gap]], [[0.5, 0, -(2 - g * fall)]])
    after = one_step(Ballistic(), states, world(states, restitution=0.5))
    up = 0.5 * 2
    expected = torch.tensor([0.02, 0, 0.2 + up * fall - g * fall**2 / 2], dtype=torch.float64)
    torch.testing.assert_close(after.position[0, 1, 0], expected)
    torch.testing.assert_close(float(after.velocity[0, 1, 0, 2]), up - g * fall)


def test_what_rests_stays_and_what_learned_nothing_passes_through():
    states = balls([[0, 0, 0.2], [0.5, 0, 1]], [[1, 0, 0], [0, 0, 0]])
    after = Ballistic().rollout(states, world(states, dead=True), 10)
    torch.testing.assert_close(after.position[0, 10, 0], torch.tensor([0.4, 0, 0.2], dtype=torch.float64))
    straight = ConstantVelocity().rollout(states, world(states), 2)
    torch.testing.assert_close(
        straight.position[:, 2], straight.position[:, 0] + 0.08 * straight.velocity[:, 0]
    )


def test_ballistic_is_near_mujoco_where_single_balls_bounce():
    states = stack_balls([play_balls("bounce", seed, "id") for seed in range(6)])
    assert rollout_error(Ballistic(), states).square().nanmean().sqrt() < 0.05
    assert rollout_error(ConstantVelocity(), states).square().nanmean().sqrt() > 0.2
