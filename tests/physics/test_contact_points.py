from dataclasses import replace

import mujoco
import pytest
import torch

from tests.physics.solids import BALL, BOX, CAPSULE, LEVEL, around, solids
from worldgen.physics.contact_laws import boxes_overlap, rotation_matrix
from worldgen.physics.contact_points import FAR, ContactPoints
from worldgen.physics.graph import graph_of, surfaces


def points_of(states, scenery):
    fast = torch.zeros_like(states.velocity)
    fast[:, :, 0, 2] = -50.0  # so that all may touch all
    graph = graph_of(replace(states, velocity=fast), scenery)
    points = ContactPoints(graph)
    return graph, points, points.at(graph.position, graph.rotation)


def real(touch):
    return touch.gap < FAR / 2


def between_bodies(graph, points, touch):
    return real(touch) & (graph.kind[points.source] == 2)


def any_turn(generator):
    return torch.nn.functional.normalize(torch.randn(4, generator=generator), dim=0).tolist()


@pytest.mark.parametrize(("shape", "count"), [(BALL, 1), (CAPSULE, 2), (BOX, 8)])
def test_with_the_floor_all_corners_touch_and_the_lowest_is_as_low_as_the_body(shape, count):
    states = solids([shape], [[0.1, 0.2, 0.3]], rotation=[any_turn(torch.Generator().manual_seed(1))])
    graph, points, touch = points_of(states, around([shape]))
    assert len(points) == count
    gap, normal = surfaces(graph, graph.edge_index, graph.position)
    torch.testing.assert_close(touch.gap.amin(), gap[0])
    torch.testing.assert_close(touch.normal, normal.expand(count, 3))
    # The place lies in the middle between the two surfaces.
    torch.testing.assert_close(touch.place[:, 2], touch.gap / 2)


@pytest.mark.parametrize("above", [0.02, -0.02])
def test_boxes_that_lie_across_each_other_touch_at_the_corners_of_what_they_share(above):
    """No corner of either is within the other's face."""
    shapes = [([0.3, 0.1, 0.1], 0.0), ([0.1, 0.3, 0.1], 0.0)]
    states = solids(shapes, [[0, 0, 1.0], [0, 0, 1.2 + above]])
    graph, points, touch = points_of(states, around(shapes))
    found = between_bodies(graph, points, touch)
    assert int(found.sum()) == 4
    places = {tuple(round(v, 4) for v in place) for place in touch.place[found].tolist()}
    middle = round(1.1 + above / 2, 4)
    assert places == {(x, y, middle) for x in (0.1, -0.1) for y in (0.1, -0.1)}
    torch.testing.assert_close(touch.gap[found], torch.full((4,), above, dtype=torch.float64))


def test_what_lies_on_a_larger_box_touches_at_its_own_corners_whichever_is_named_first():
    shapes = [([0.1, 0.1, 0.1], 0.0), ([0.3, 0.3, 0.1], 0.0)]
    for order, up in (((0, 1), -1), ((1, 0), 1)):
        both = [([[0.05, 0, 1.2], [0, 0, 1.0]])[k] for k in order]
        states = solids([shapes[k] for k in order], both)
        graph, points, touch = points_of(states, around([shapes[k] for k in order]))
        found = between_bodies(graph, points, touch)
        places = {tuple(round(v, 4) for v in place) for place in touch.place[found].tolist()}
        assert places == {(x, y, 1.1) for x in (0.15, -0.05) for y in (0.1, -0.1)}
        assert int(found.sum()) == 4
        assert (touch.normal[found][:, 2] == up).all()  # from the source, the one named first


def test_a_corner_over_a_face_is_as_far_as_mujoco_says_and_within_it_as_deep():
    generator, compared = torch.Generator().manual_seed(0), 0
    for _ in range(60):
        turn, height = any_turn(generator), float(torch.rand((), generator=generator)) * 0.2 + 0.3
        xml = f"""<mujoco><worldbody><geom type="box" size="0.9 0.8 0.1"/>
            <body pos="0 0 {height}" quat="{" ".join(map(str, turn))}"><freejoint/>
              <geom type="box" size="0.3 0.2 0.1"/></body></worldbody></mujoco>"""
        model = mujoco.MjModel.from_xml_string(xml)
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        expected = mujoco.mj_geomDistance(model, data, 0, 1, 5.0, None)
        stand = ([0.9, 0.8, 0.1], [0.0, 0.0, 0.0], LEVEL)
        states = solids([BOX], [[0, 0, height]], rotation=[turn])
        graph, points, touch = points_of(states, around([BOX], stands=(stand,)))
        on_stand = graph.kind[points.source] == 1
        assert float(touch.gap[on_stand].amin()) == pytest.approx(expected, abs=2e-5)
        compared += expected < 0
    assert 5 < compared < 55


def test_boxes_overlap_as_much_as_the_best_of_six_directions_says():
    generator, met = torch.Generator().manual_seed(3), 0
    for _ in range(60):
        turns = [any_turn(generator), any_turn(generator)]
        away = torch.nn.functional.normalize(torch.randn(3, generator=generator), dim=0) * 0.3
        states = solids([BOX, BOX], [[0, 0, 3], [*away[:2].tolist(), 3 + float(away[2])]], rotation=turns)
        graph, points, touch = points_of(states, around([BOX, BOX]))
        found = between_bodies(graph, points, touch)
        axes = rotation_matrix(states.rotation[0, 0])
        half = states.extent[0, 0]
        overlap = boxes_overlap(away.double(), axes[0], half, axes[1], half)
        if found.any() and overlap > 0:
            depth = -touch.gap[found].amin()
            assert -1e-6 <= float(depth - overlap) < 0.1  # of fifteen directions the least may be another
            met += int(depth - overlap < 1e-6)
    assert met > 15


@pytest.mark.parametrize("shape", [BOX, CAPSULE])
def test_of_a_ball_and_another_body_the_one_point_is_that_of_the_surfaces(shape):
    turn = any_turn(torch.Generator().manual_seed(2))
    for order in ((0, 1), (1, 0)):
        shapes = [(BALL, shape)[k] for k in order]
        places = [([[0.3, 0.1, 3.3], [0, 0, 3.0]])[k] for k in order]
        states = solids(shapes, places, rotation=[([LEVEL, turn])[k] for k in order])
        graph, points, touch = points_of(states, around(shapes))
        assert len(points) == 1
        edge = graph.edge_index[:, points.edge]
        gap, normal = surfaces(graph, edge, graph.position)
        torch.testing.assert_close(touch.gap, gap)
        torch.testing.assert_close(touch.normal, normal)


def test_capsules_meet_with_their_ends():
    shapes = [CAPSULE, CAPSULE]
    states = solids(shapes, [[0, 0, 1.0], [0.05, 0, 1.65]])
    graph, points, touch = points_of(states, around(shapes))
    found = between_bodies(graph, points, touch)
    assert int(found.sum()) == 4
    assert float(touch.gap[found].amin()) == pytest.approx((0.05**2 + 0.25**2) ** 0.5 - 0.2)


def test_where_the_origin_lies_and_where_north_is_does_not_matter():
    shapes = [BOX, BOX, CAPSULE, BALL]
    turns = [any_turn(torch.Generator().manual_seed(k)) for k in range(4)]
    place = torch.tensor([[0, 0, 0.3], [0.1, 0.1, 0.55], [0.4, 0, 0.3], [-0.3, 0, 0.4]])
    states = solids(shapes, place.tolist(), rotation=turns)
    graph, points, plain = points_of(states, around(shapes))
    shift = torch.tensor([3.0, -2.0, 0.0], dtype=torch.float64)
    half = torch.tensor([0.6, 0.0, 0.0, 0.8], dtype=torch.float64)  # about z
    turn = rotation_matrix(half)
    w, x, y, z = graph.rotation.unbind(-1)
    a, d = half[0], half[3]
    turned = torch.stack([a * w - d * z, a * x - d * y, a * y + d * x, a * z + d * w], dim=-1)
    there = points.at(graph.position @ turn.T + shift, turned)
    found = real(plain)
    assert int(found.sum()) > 20
    torch.testing.assert_close(there.gap, plain.gap)
    torch.testing.assert_close(there.normal, plain.normal @ turn.T)
    torch.testing.assert_close(there.place[found], plain.place[found] @ turn.T + shift)


def test_gradients_reach_places_and_rotations():
    shapes = [BOX, BOX, BALL]
    turns = [any_turn(torch.Generator().manual_seed(k)) for k in range(3)]
    states = solids(shapes, [[0, 0, 0.3], [0.1, 0.05, 0.5], [0.4, 0, 0.3]], rotation=turns)
    graph, points, touch = points_of(states, around(shapes))
    found = real(touch)

    def seen(position, rotation):
        moved = points.at(position, rotation)
        return moved.gap[found], moved.normal[found], moved.place[found]

    inputs = (graph.position.clone().requires_grad_(), graph.rotation.clone().requires_grad_())
    assert torch.autograd.gradcheck(seen, inputs)
