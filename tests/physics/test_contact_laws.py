import ast
import math
from pathlib import Path

import pytest
import torch

from worldgen.physics import contact_laws

EYE = torch.eye(3, dtype=torch.float64)
COS, SIN = math.cos(math.pi / 8), math.sin(math.pi / 8)


def vector(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def turned(quaternion: torch.Tensor) -> torch.Tensor:
    return contact_laws.rotation_matrix(quaternion / quaternion.norm())


def test_balls_share_their_radii_less_their_distance():
    offset = torch.stack([vector(0.3, 0.0, 0.0), vector(0.0, 0.4, 0.3)])
    overlap = contact_laws.ball_overlap(offset, vector(0.2), vector(0.2))
    torch.testing.assert_close(overlap, vector(0.1, -0.1))
    torch.testing.assert_close(contact_laws.penetration(overlap), vector(0.1, 0.0))


def test_what_reaches_below_the_floor_is_in_it():
    overlap = contact_laws.floor_overlap(vector(0.15, 0.5), vector(0.2, 0.2), floor=0.1)
    torch.testing.assert_close(overlap, vector(0.15, -0.2))


@pytest.mark.parametrize(
    "reach, upright, lying",
    [
        (contact_laws.box_reach, 0.5, 0.2),
        (contact_laws.ellipsoid_reach, 0.5, 0.2),
        (contact_laws.capsule_reach, 0.5, 0.2),
        (contact_laws.cylinder_reach, 0.5, 0.2),
    ],
)
def test_reach_is_the_half_size_that_points_down(reach, upright, lying):
    half = vector(0.2, 0.2, 0.5)
    assert reach(vector(0.0, 0.0, -1.0), half).item() == pytest.approx(upright)
    assert reach(vector(1.0, 0.0, 0.0), half).item() == pytest.approx(lying)


def test_reach_of_what_leans():
    half, up = vector(0.2, 0.2, 0.5), vector(0.6, 0.0, 0.8)
    assert contact_laws.box_reach(up, half).item() == pytest.approx(0.12 + 0.4)
    assert contact_laws.cylinder_reach(up, half).item() == pytest.approx(0.12 + 0.4)
    assert contact_laws.capsule_reach(up, half).item() == pytest.approx(0.8 * 0.3 + 0.2)
    assert contact_laws.ellipsoid_reach(up, half).item() == pytest.approx((0.12**2 + 0.4**2) ** 0.5)


def test_the_distance_of_a_point_from_a_box_is_signed():
    points = torch.stack([vector(3.0, 0.0, 0.0), vector(4.0, 5.0, 1.0), vector(0.5, 0.0, 0.0)])
    found = contact_laws.box_distance(points, EYE, vector(1.0, 1.0, 1.0))
    torch.testing.assert_close(found, vector(2.0, 5.0, -0.5))
    overlap = contact_laws.ball_box_overlap(points, vector(0.7), EYE, vector(1.0, 1.0, 1.0))
    torch.testing.assert_close(overlap, vector(-1.3, -4.3, 1.2))


def test_boxes_part_along_a_face_or_a_product_of_edges():
    half = vector(1.0, 1.0, 1.0)
    eighth = turned(vector(COS, 0.0, 0.0, SIN))  # 45 degrees about z
    straight = contact_laws.boxes_overlap(vector(1.5, 0.2, 0.0), EYE, half, EYE, half)
    assert straight.item() == pytest.approx(0.5)
    corner = contact_laws.boxes_overlap(vector(2.2, 0.0, 0.0), EYE, half, eighth, half)
    assert corner.item() == pytest.approx(1 + 2**0.5 - 2.2)
    # Edge over edge: 45 degrees about x and about y, one above the other.
    one, two = turned(vector(COS, SIN, 0.0, 0.0)), turned(vector(COS, 0.0, SIN, 0.0))
    edges = contact_laws.boxes_overlap(vector(0.0, 0.0, 2.7), one, half, two, half)
    assert edges.item() == pytest.approx(2 * 2**0.5 - 2.7)


def test_columns_of_a_rotation_are_the_bodys_own_axes():
    quarter = turned(vector(1.0, 0.0, 0.0, 1.0))  # about z
    torch.testing.assert_close(quarter[:, 0], vector(0.0, 1.0, 0.0))
    tilted = turned(vector(1.0, 2.0, 3.0, 4.0))
    torch.testing.assert_close(tilted @ tilted.T, EYE)


def test_balls_in_one_place_have_a_finite_gradient():
    offset = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    contact_laws.ball_overlap(offset, vector(0.2)[0], vector(0.2)[0]).backward()
    assert offset.grad.isfinite().all()


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


HALF = 0.5 + random(3).abs()
OTHER = 0.5 + random(3, seed=2).abs()
AXES, OTHER_AXES = turned(vector(1.0, 2.0, 3.0, 4.0)), turned(vector(1.0, -0.3, 0.2, 0.5))
UP = random(4, 3, seed=3) / random(4, 3, seed=3).norm(dim=-1, keepdim=True)
LAWS = {
    "penetration": (contact_laws.penetration, random(5)),
    "floor_overlap": (contact_laws.floor_overlap, random(5), random(5, seed=2)),
    "box_reach": (contact_laws.box_reach, UP, HALF),
    "ellipsoid_reach": (contact_laws.ellipsoid_reach, UP, HALF),
    "capsule_reach": (contact_laws.capsule_reach, UP, HALF),
    "cylinder_reach": (contact_laws.cylinder_reach, UP, HALF),
    "ball_overlap": (contact_laws.ball_overlap, random(5, 3), random(5), random(5, seed=2)),
    "box_distance": (contact_laws.box_distance, random(5, 3), AXES, HALF),
    "ball_box_overlap": (contact_laws.ball_box_overlap, random(5, 3), random(5), AXES, HALF),
    # Of turns: axes that are not at right angles to each other are no box.
    "boxes_overlap": (
        lambda offset, turn, half, other_turn, other: contact_laws.boxes_overlap(
            offset, turned(turn), half, turned(other_turn), other
        ),
        random(5, 3),
        vector(1.0, 2.0, 3.0, 4.0),
        HALF,
        vector(1.0, -0.3, 0.2, 0.5),
        OTHER,
    ),
    "rotation_matrix": (contact_laws.rotation_matrix, random(2, 4)),
}


@pytest.mark.parametrize("name", LAWS)
def test_gradients_are_right(name):
    law, *inputs = LAWS[name]
    assert torch.autograd.gradcheck(law, [given.clone().requires_grad_() for given in inputs])


def test_every_law_has_its_gradient_tested():
    tree = ast.parse(Path(contact_laws.__file__).read_text())
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {name for name in names if not name.startswith("_")} == set(LAWS)
