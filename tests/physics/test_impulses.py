import pytest
import torch

from tests.physics.solids import BOX, around, solids, tilted
from worldgen.physics.contact_points import FAR, ContactPoints
from worldgen.physics.graph import graph_of
from worldgen.physics.impulses import Moving, arms_of, least_speed, solve_impulses
from worldgen.physics.rigid import inertia_of

FRICTION = 0.4


def falling_stack():
    """Three boxes that meet the floor and each other with different speeds, one of them turned."""
    shapes = [BOX, ([0.25, 0.25, 0.1], 0.0), ([0.2, 0.3, 0.1], 0.0)]
    states = solids(
        shapes, [[0, 0, 0.1], [0.05, 0.1, 0.3], [0, 0, 0.5]], [[4, 0, -1], [0.2, 0.3, -2], [0, 0, -3]],
        rotation=[tilted(0), tilted(0.01), tilted(0)], spin=[[0, 0, 1], [0, 1, 0], [0, 0, 0]],
    )  # fmt: skip
    graph = graph_of(states, around(shapes, friction=FRICTION))
    points, inertia = ContactPoints(graph), inertia_of(graph)
    turning = torch.where(inertia.easy > 0, graph.spin / inertia.easy.clamp(min=1e-9), 0.0)
    now = Moving(graph.position, graph.rotation, graph.position, graph.velocity, turning)
    touch = points.at(now.position, now.rotation)
    return arms_of(points, touch, now, inertia).only(torch.nonzero(touch.gap < FAR / 2)[:, 0]), now


def test_impulses_are_the_least_that_part_and_rub_within_the_cone():
    arms, now = falling_stack()
    free = arms.relative(now)
    least, blank = torch.zeros(len(free)).double(), torch.zeros_like(free)
    scene = torch.zeros(len(free), dtype=torch.long)
    impulse = solve_impulses(arms, free, least, least + FRICTION, blank, scene, 400)
    push = (impulse * arms.normal).sum(dim=-1)
    rub = (impulse - push[:, None] * arms.normal).norm(dim=-1)
    speed = free + arms.answer(impulse)
    parted = (speed * arms.normal).sum(dim=-1)
    slip = speed - parted[:, None] * arms.normal
    assert push.min() >= 0 and parted.min() > -1e-3 and (free * arms.normal).sum(dim=-1).min() < -1
    assert (push * parted).abs().max() < 1e-3  # what parts is not pushed
    assert (rub - FRICTION * push).max() < 1e-9
    slides = rub > FRICTION * push - 1e-6
    assert slip[~slides & (push > 1e-3)].norm(dim=-1).max() < 2e-3  # what does not slide sticks
    assert ((impulse * slip).sum(dim=-1)[slides] <= 0).all()  # what slides is held back
    assert slides.any() and (~slides & (push > 1e-3)).any()


def test_what_impulses_give_is_nothing_in_all():
    arms, _ = falling_stack()
    between = (arms.inertia.light[arms.source] > 0)[:, None]
    generator = torch.Generator().manual_seed(0)
    impulse = torch.randn(arms.normal.shape, generator=generator).double() * between
    velocity, turning = arms.given(impulse)
    moves = arms.inertia.light > 0
    momentum = velocity[moves] / arms.inertia.light[moves][:, None]
    assert momentum.abs().max() > 0.1
    torch.testing.assert_close(momentum.sum(dim=0), torch.zeros(3).double(), atol=1e-12, rtol=0)
    assert turning[moves].abs().max() > 0.01 and (turning[~moves] == 0).all()


@pytest.mark.parametrize(
    ("gap", "met", "free", "back", "expected"),
    [
        (0.0, -2.0, -2.05, 0.8, 1.6),  # springs back
        (0.0, -2.0, -2.05, 0.0, 0.0),  # gives nothing back
        (0.004, -2.0, -2.05, 0.8, 1.6),  # touches in this half of the part
        (0.008, -2.0, -2.05, 0.8, -torch.inf),  # in the next one
        (0.008, -2.0, -2.05, 0.0, -1.6),  # arrives at its end
        (-0.0015, 0.0, -0.05, 0.0, 0.04),  # rises out of what it has sunk into
        (0.0, 0.3, 0.25, 0.8, 0.0),  # parts already
    ],
)
def test_the_least_speed_after_a_kick(gap, met, free, back, expected):
    given = (torch.tensor([value]) for value in (gap, met, free, back, 0.005))
    assert float(least_speed(*given)) == pytest.approx(expected)
