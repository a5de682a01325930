import importlib.util
import math
import sys
from dataclasses import replace

import mujoco
import pytest
import torch

from tests.physics.balls import DT, balls, world
from worldgen.physics import graph as graphs
from worldgen.physics.graph import SLACK, Scenery, graph_of, surfaces
from worldgen.simulation.clips import simulate_trajectory
from worldgen.types import Trajectory


def with_box(around, position, rotation, extent):
    """One more static geom."""
    one = around.gravity.new_tensor
    grown = {
        "static_position": one(position), "static_rotation": one(rotation), "static_extent": one(extent),
        "static_restitution": one(0.0), "static_friction": one(0.3), "master": torch.tensor(False),
    }  # fmt: skip
    added = {
        name: torch.cat([getattr(around, name), value.expand(1, 1, *value.shape)], dim=1)
        for name, value in grown.items()
    }
    return replace(around, **added)


def test_nodes_are_the_floor_the_stands_and_the_bodies_that_are_there():
    states = balls([[0, 0, 1], [1, 0, 1], [2, 0, 1]], [[0, 0, 0]] * 3)
    states = replace(states, present=torch.tensor([[[True, False, True]]]))
    around = with_box(world(states), [0, 0, 0.5], [1, 0, 0, 0], [0.3, 0.2, 0.1])
    graph = graph_of(states, around)
    graph.validate()
    assert graph.kind.tolist() == [0, 1, 2, 2]
    assert graph.row.tolist() == [-1, -1, 0, 2]
    torch.testing.assert_close(graph.x[2:, 0], torch.full((2,), 0.2, dtype=torch.float64))
    torch.testing.assert_close(graph.x[1, 1:4], torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64))
    torch.testing.assert_close(graph.x[2:, 4].exp(), torch.tensor([1.0, 2.0], dtype=torch.float64))
    assert graph.x[:, 7].tolist() == [1, 1, 0, 0]


def test_edges_lead_where_a_step_may_end_in_a_touch_and_nowhere_else():
    def edges(height, speed):
        states = balls([[0, 0, height]], [[0, 0, -speed]])
        return graph_of(states, world(states)).edge_index.shape[1]

    reach = 3 * DT + 9.81 * DT**2 / 2 + SLACK
    assert edges(0.2 + reach - 1e-6, 3.0) == 1
    assert edges(0.2 + reach + 1e-6, 3.0) == 0
    assert edges(0.2 + reach + 1e-6, 3.1) == 1


def test_two_balls_see_each_other_with_one_gap_and_turned_normals():
    states = balls([[0, 0, 1], [0.3, 0, 1.4]], [[2, 0, 0], [0, 0, -1]])
    graph = graph_of(states, world(states))
    assert graph.edge_index.T.tolist() == [[2, 1], [1, 2]]
    there, back = graph.edge_attr
    unit = torch.tensor([0.6, 0, 0.8], dtype=torch.float64)
    torch.testing.assert_close(there[0], torch.tensor(0.1, dtype=torch.float64))
    torch.testing.assert_close(back[1:4], unit)
    torch.testing.assert_close(there[1:4], -unit)
    relative = torch.tensor([-2.0, 0, -1.0], dtype=torch.float64)
    torch.testing.assert_close(back[4], relative @ unit)
    torch.testing.assert_close(back[5:8], relative - (relative @ unit) * unit)
    torch.testing.assert_close(there[5:8], -back[5:8])
    torch.testing.assert_close(there[4], back[4])


def test_the_less_springy_ball_has_the_say_and_a_master_floor_over_all():
    states = balls([[0, 0, 0.2], [0.4, 0, 0.2]], [[0, 0, 0]] * 2)
    for dead, on_floor in ((False, [0.5, 0.9]), (True, [0.0, 0.0])):
        around = replace(world(states, dead), restitution=torch.tensor([[0.5, 0.9]], dtype=torch.float64))
        graph = graph_of(states, around)
        floor = graph.kind[graph.edge_index[0]] == 0
        assert graph.edge_attr[floor, 8].tolist() == on_floor
        assert graph.edge_attr[~floor, 8].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("turned", [False, True])
def test_gaps_and_normals_are_those_of_mujoco(turned):
    """A ball and a box in all directions, with the box standing still, and with the box a body."""
    generator = torch.Generator().manual_seed(0)
    half = [0.3, 0.2, 0.1]
    for _ in range(20):
        turn = torch.nn.functional.normalize(torch.randn(4, generator=generator), dim=0).tolist()
        place = (torch.randn(3, generator=generator) * 0.35).tolist()
        xml = f"""<mujoco><worldbody>
            <body pos="0 0 3" quat="{" ".join(map(str, turn))}"><freejoint/>
              <geom type="box" size="0.3 0.2 0.1"/></body>
            <body pos="{place[0]} {place[1]} {place[2] + 3}"><freejoint/>
              <geom type="sphere" size="0.15"/></body></worldbody></mujoco>"""
        model = mujoco.MjModel.from_xml_string(xml)
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        ends = torch.zeros(6, dtype=torch.float64).numpy()
        expected = mujoco.mj_geomDistance(model, data, 0, 1, 5.0, ends)
        ball = [place[0], place[1], place[2] + 3]
        if turned:
            states = balls([[0, 0, 3], ball], [[0, 0, -20.0], [0, 0, 0]], 0.15)
            extent = torch.tensor([[half, [0.15] * 3]], dtype=torch.float64)
            rotation = torch.tensor([[[turn, [1.0, 0, 0, 0]]]], dtype=torch.float64)
            states = replace(states, extent=extent, rotation=rotation)
            rounding = torch.tensor([[0, 0.15]], dtype=torch.float64)
            graph = graph_of(states, replace(world(states), rounding=rounding))
            edge = torch.tensor([[1], [2]])
        else:
            states = balls([ball], [[0, 0, -20.0]], 0.15)
            graph = graph_of(states, with_box(world(states), [0, 0, 3.0], turn, half))
            edge = torch.tensor([[1], [2]])
        at = graph.position.clone().requires_grad_()
        gap, normal = surfaces(graph, edge, at)
        assert float(gap) == pytest.approx(expected, abs=1e-5)
        # The gap grows fastest along the normal, also for a ball whose center is in the box.
        torch.testing.assert_close(torch.autograd.grad(gap.sum(), at)[0][2], normal[0])
        back = surfaces(graph, edge.flip(0), graph.position)[1]
        torch.testing.assert_close(back, -normal)


def test_the_floor_is_met_by_the_lowest_point_of_a_box_and_of_a_capsule():
    angle = math.pi / 6
    turn = torch.tensor([[[[math.cos(angle / 2), 0, math.sin(angle / 2), 0]]]], dtype=torch.float64)
    states = replace(balls([[0, 0, 0.5]], [[0, 0, 0]]), rotation=turn)
    for extent, rounding, lowest in (
        ([0.3, 0.2, 0.1], 0.0, 0.3 * math.sin(angle) + 0.1 * math.cos(angle)),
        ([0.1, 0.1, 0.3], 0.1, 0.2 * math.cos(angle) + 0.1),
    ):
        long = replace(states, extent=torch.tensor([[extent]], dtype=torch.float64))
        around = replace(world(long), rounding=torch.tensor([[rounding]], dtype=torch.float64))
        graph = graph_of(long, around)
        gap, normal = surfaces(graph, torch.tensor([[0], [1]]), graph.position)
        assert float(gap) == pytest.approx(0.5 - lowest)
        assert normal.tolist() == [[0, 0, 1]]


def test_where_the_origin_lies_does_not_matter():
    states = balls([[0, 0, 0.25], [0.41, 0.1, 0.3]], [[1, 0, -1], [-1, 0.5, 0]])
    around = with_box(world(states), [0.2, 0, 0.6], [1, 0, 0, 0], [0.1, 0.1, 0.1])
    shift = torch.tensor([3.0, -2.0, 1.5], dtype=torch.float64)
    moved = graph_of(
        replace(states, position=states.position + shift),
        replace(around, static_position=around.static_position + shift),
    )
    graph = graph_of(states, around)
    assert torch.equal(graph.edge_index, moved.edge_index)
    assert graph.edge_index.shape[1] > 4
    torch.testing.assert_close(graph.edge_attr, moved.edge_attr)
    torch.testing.assert_close(graph.x, moved.x)


def test_a_batch_is_its_clips_beside_each_other():
    states = simulate_trajectory("collide", 3)
    around = world(states)
    twice = {
        f: torch.cat([getattr(states, f)] * 2)
        for f in states.__dataclass_fields__
        if f not in ("contacts", "metric", "joints")
    }
    pair = Trajectory(**twice)
    both, one = graph_of(pair, world(pair), 4), graph_of(states, around, 4)
    count = one.num_nodes
    assert both.batch.tolist() == [0] * count + [1] * count
    assert torch.equal(both.edge_index, torch.cat([one.edge_index, one.edge_index + count], dim=1))
    torch.testing.assert_close(both.edge_attr, torch.cat([one.edge_attr] * 2))


def test_gradients_reach_the_states_through_gap_and_normal():
    states = balls([[0, 0, 0.25], [0.41, 0.1, 0.3]], [[1, 0, -1], [-1, 0.5, 0]])

    def attributes(position, velocity):
        return graph_of(replace(states, position=position, velocity=velocity), world(states)).edge_attr

    inputs = (states.position.clone().requires_grad_(), states.velocity.clone().requires_grad_())
    assert torch.autograd.gradcheck(attributes, inputs)


def test_what_cannot_be_a_graph_is_said():
    states = balls([[0, 0, 0.3], [0.4, 0, 0.3]], [[0, 0, 0]] * 2)
    around = world(states)
    with pytest.raises(ValueError, match="must have a mass"):
        graph_of(replace(states, mass=states.mass * 0), around)
    with pytest.raises(ValueError, match="1 clips of 2 bodies; got \\(1, 3\\)"):
        graph_of(states, world(balls([[0, 0, 1]] * 3, [[0, 0, 0]] * 3)))
    with pytest.raises(ValueError, match="restitution must lie in"):
        replace(around, restitution=around.restitution * 2)
    with pytest.raises(ValueError, match="gravity must be"):
        replace(around, gravity=around.gravity[:, :2])
    with pytest.raises(ValueError, match=r"axis must be \(1, 2, 3\)"):
        replace(around, axis=around.axis[:, :1])
    with pytest.raises(ValueError, match="axis must have length 1, or 0 of what moves freely; got 2"):
        replace(around, axis=around.axis + torch.tensor([0.0, 2, 0]))
    empty = {
        name: getattr(around, name)[:, :0]
        for name in Scenery.__dataclass_fields__
        if name[:6] in ("static", "master")
    }
    with pytest.raises(ValueError, match="a floor as its first"):
        replace(around, **empty)


def test_without_torch_geometric_the_install_line_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_geometric", None)
    monkeypatch.setitem(sys.modules, "torch_geometric.data", None)
    spec = importlib.util.spec_from_file_location("graph_without", graphs.__file__)
    with pytest.raises(ValueError, match=r"pip install 'worldgen\[graph\]'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
