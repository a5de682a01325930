import json
from dataclasses import replace

import pytest
import torch

from tests.physics.balls import balls, one_step, shaken, world
from worldgen.parts import CONFIG_FILE
from worldgen.physics.dynamics import (
    DenseDynamics,
    GraphDynamics,
    ShuffledDynamics,
    load_dynamics,
)
from worldgen.physics.flight import Ballistic
from worldgen.physics.graph import graph_of
from worldgen.simulation.ball_states import play_balls, stack_balls
from worldgen.tasks.parts.dynamics import frames_of, scenery_of

HEAP = (
    [[0, 0, 0.205], [0.41, 0.05, 0.22], [0.2, 0.1, 0.58], [1.5, 0, 1.2]],
    [[1, 0, -1], [-1, 0.5, -0.3], [0, 0.2, -2], [0.3, 0, 0.4]],
)
"""Four balls: three that strike each other and the floor within a step, and one in flight."""


def turned(trajectory, turn):
    return replace(trajectory, position=trajectory.position @ turn.T, velocity=trajectory.velocity @ turn.T)


def test_what_touches_nothing_flies_exactly_whatever_was_learned():
    states = balls([[0, 0, 1], [1, 0, 2]], [[3, 0, 1], [-1, 0.5, 0]])
    rolled = one_step(shaken(GraphDynamics()), states, world(states))
    g = torch.tensor([0, 0, -9.81], dtype=torch.float64)
    torch.testing.assert_close(
        rolled.position[:, 1], (states.position + 0.04 * states.velocity + 0.0008 * g)[:, 0]
    )
    torch.testing.assert_close(rolled.velocity[:, 1], (states.velocity + 0.04 * g)[:, 0])


def test_where_the_origin_lies_and_where_north_is_does_not_matter():
    network = shaken(GraphDynamics())
    states = balls(*HEAP)
    plain = one_step(network, states, world(states))
    flight = Ballistic()(graph_of(states, world(states))).position[1:]
    assert (plain.position[0, 1] - flight)[:3].abs().max() > 1e-3  # contacts act
    turn = torch.linalg.matrix_exp(torch.tensor([[0, -0.7, 0], [0.7, 0, 0], [0, 0, 0]], dtype=torch.float64))
    there = turned(states, turn)
    there = one_step(network, there, world(there))
    torch.testing.assert_close(there.position, plain.position @ turn.T)
    torch.testing.assert_close(there.velocity, plain.velocity @ turn.T)
    shift = torch.tensor([3.0, -2.0, 1.5], dtype=torch.float64)
    moved = replace(states, position=states.position + shift)
    floor = replace(world(states), static_position=world(states).static_position + shift)
    moved = one_step(network, moved, floor)
    torch.testing.assert_close(moved.position, plain.position + shift)
    torch.testing.assert_close(moved.velocity, plain.velocity)


def test_the_order_of_objects_does_not_matter():
    network, states, order = shaken(GraphDynamics()), balls(*HEAP), torch.tensor([2, 3, 0, 1])
    plain = one_step(network, states, world(states))
    mixed = replace(
        states,
        position=states.position[:, :, order],
        velocity=states.velocity[:, :, order],
        mass=states.mass[:, order],
    )
    mixed = one_step(network, mixed, world(mixed))
    torch.testing.assert_close(mixed.position, plain.position[:, :, order])
    torch.testing.assert_close(mixed.velocity, plain.velocity[:, :, order])


@pytest.mark.parametrize("antisymmetric", [True, False])
def test_momentum_is_kept_where_messages_are_antisymmetric(antisymmetric):
    states = balls([[0, 0, 1], [0.41, 0.05, 1.1], [0.2, 0.1, 1.4]], HEAP[1][:3])
    after = one_step(shaken(GraphDynamics(antisymmetric=antisymmetric)), states, world(states))
    mass, fall = states.mass[0, :, None], torch.tensor([0, 0, -9.81 * 0.04], dtype=torch.float64)
    gained = (mass * (after.velocity[0, 1] - after.velocity[0, 0] - fall)).sum(dim=0)
    flight = 0.04 * after.velocity[0, 0] + 0.02 * fall
    moved = (mass * (after.position[0, 1] - after.position[0, 0] - flight)).sum(dim=0)
    pushed = (mass * (after.velocity[0, 1] - after.velocity[0, 0] - fall)).norm(dim=1)
    assert pushed.min() > 1e-3
    kept = max(float(gained.norm()), float(moved.norm())) < 1e-12
    assert kept == antisymmetric


def test_a_floor_without_friction_pushes_sideways_only_what_learned_that_it_may():
    states = balls([[0, 0, 0.21]], [[1.5, 0.5, -1.0]])
    for slips in (True, False):
        network = shaken(GraphDynamics(width=16, slips=slips))
        after = one_step(network, states, world(states))
        sideways = after.velocity[0, 1, 0, :2] - states.velocity[0, 0, 0, :2]
        assert (sideways == 0).all() if slips else (sideways.abs() > 1e-3).all()
        bare = one_step(GraphDynamics(width=16).double(), states, world(states))
        assert (after.velocity - bare.velocity)[0, 1, 0, 2].abs() > 1e-3  # along the normal it has learned
    two = balls([[0, 0, 2], [0.3, 0.2, 2]], [[1.5, 0, 0], [0, 0, 0]])  # what moves may still push sideways
    one, other = (shaken(GraphDynamics(width=16, slips=slips)) for slips in (True, False))
    assert torch.equal(one_step(one, two, world(two)).velocity, one_step(other, two, world(two)).velocity)


def test_a_blow_is_handed_on_within_the_step_to_what_nothing_else_would_touch():
    row = balls([[0, 0, 1], [0.405, 0, 1], [0.81, 0, 1]], [[3, 0, 0], [0, 0, 0], [0, 0, 0]])
    network = shaken(GraphDynamics())
    last = one_step(network, row, world(row)).velocity[0, 1, 2]
    assert abs(float(last[0])) > 1e-4
    missed = replace(row, velocity=row.velocity * -1)
    assert float(one_step(network, missed, world(missed)).velocity[0, 1, 2, 0]) == 0


def test_gradients_reach_the_start():
    network, states = shaken(GraphDynamics(width=8)), balls(*HEAP)

    def end(position, velocity):
        now = replace(states, position=position, velocity=velocity)
        rolled = network.rollout(now, world(now), 2)
        return rolled.position[:, 2], rolled.velocity[:, 2]

    inputs = (states.position.clone().requires_grad_(), states.velocity.clone().requires_grad_())
    assert torch.autograd.gradcheck(end, inputs, eps=1e-7, atol=1e-4, fast_mode=True)


@pytest.mark.parametrize(
    "network", [GraphDynamics(width=8, rounds=1), GraphDynamics(width=8, slips=True), DenseDynamics(width=8)]
)
def test_a_network_comes_back_from_its_file(tmp_path, network):
    shaken(network).float().save(tmp_path / "net")
    again = load_dynamics(tmp_path / "net")
    states = stack_balls([play_balls("collide", seed, "id") for seed in range(3)])
    start = frames_of(states.trajectory, 4, 5)
    expected = network.rollout(start, scenery_of(states), 2)
    assert torch.equal(again.rollout(start, scenery_of(states), 2).position, expected.position)
    assert json.loads((tmp_path / "net" / CONFIG_FILE).read_text())["dt"] == 0.04


def test_another_step_or_gravity_is_refused_and_no_network_too(tmp_path):
    GraphDynamics(gravity=(8.0, 11.5)).save(tmp_path / "net")
    again = load_dynamics(tmp_path / "net")
    with pytest.raises(ValueError, match=r"steps by 0\.04 s; got a step of 0\.02 s"):
        again.require(0.02, (9.81, 9.81))
    with pytest.raises(ValueError, match=r"gravities of 8 to 11\.5 m/s\^2; got 4 to 9\.81"):
        again.require(0.04, (4.0, 9.81))
    (tmp_path / "net" / CONFIG_FILE).write_text("{}")
    with pytest.raises(ValueError, match="a network that is none of GraphDynamics, .*, but None"):
        load_dynamics(tmp_path / "net")


def test_what_a_network_cannot_step_is_refused():
    states = balls(*HEAP)
    with pytest.raises(ValueError, match="up to 2 balls"):
        one_step(shaken(DenseDynamics()), states, world(states))
    slow = replace(states, dt=states.dt / 2)
    with pytest.raises(ValueError, match=r"got a step of 0\.02 s"):
        one_step(shaken(GraphDynamics()), slow, world(slow))
    box = replace(world(states), rounding=world(states).rounding * 0.5)
    alone = replace(states, position=states.position * torch.tensor([9.0, 9, 9]))
    for moving in (alone, states):  # alone, and where neither of two is a ball
        with pytest.raises(ValueError, match="move balls; got a body of another shape"):
            one_step(shaken(GraphDynamics()), moving, box)
    hung = replace(world(states), axis=world(states).axis + torch.tensor([0.0, 1, 0]))
    with pytest.raises(ValueError, match="got a body that hangs on a rod. Take RigidDynamics"):
        one_step(shaken(GraphDynamics()), states, hung)


def test_doubt_is_least_in_flight_and_there_are_as_many_answers_as_nodes():
    states = balls(*HEAP)
    step = GraphDynamics().double()(graph_of(states, world(states)))
    assert step.log_variance.shape == (5, 2)
    assert (step.log_variance[1:4] > step.log_variance[4]).all()


def test_shuffled_edges_are_shuffled_while_it_learns_and_at_no_other_time():
    network = shaken(ShuffledDynamics(width=8))
    states = balls(*HEAP)
    graph = graph_of(states, world(states))
    plain = GraphDynamics.forward(network, graph).position
    assert torch.equal(network.eval()(graph).position, plain)
    torch.manual_seed(0)
    mixed = network.train()(graph).position
    assert (mixed - plain)[1:4].abs().max() > 1e-4  # what touches
    torch.testing.assert_close(mixed[4], plain[4])  # what flies
