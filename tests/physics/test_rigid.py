import math
from dataclasses import replace

import pytest
import torch

from tests.physics.solids import BALL, BOX, CAPSULE, around, solids, tilted
from worldgen.joints import Joints
from worldgen.physics.contact_laws import rotation_matrix
from worldgen.physics.graph import graph_of
from worldgen.physics.rigid import RigidDynamics, inertia_of
from worldgen.simulation.engine import mujoco

G, DT = 9.81, 0.04


def rolled(states, scenery, steps, dynamics=None):
    with torch.no_grad():
        return (dynamics or RigidDynamics()).rollout(states, scenery, steps)


def ramp_of(angle):
    """A ramp, its way down, and its normal."""
    ramp = ([1.6, 0.35, 0.04], [0.0, 0.0, 2.0], tilted(angle))
    down = torch.tensor([math.cos(angle), 0, -math.sin(angle)], dtype=torch.float64)
    return ramp, down, torch.tensor([math.sin(angle), 0, math.cos(angle)], dtype=torch.float64)


def turning_of(states, scenery):
    """Angular momentum about the origin of all bodies and the momentum, at every frame."""
    found = []
    for frame in range(states.position.shape[1]):
        graph = graph_of(states, scenery, frame)
        body = graph.kind == 2
        axes = rotation_matrix(graph.rotation[body])
        moments = torch.diag_embed(1 / inertia_of(graph).easy[body])
        own = (axes @ moments @ axes.transpose(-1, -2) @ graph.spin[body][..., None])[..., 0]
        pushed = graph.x[body, 4:5].exp() * graph.velocity[body]
        around_origin = torch.linalg.cross(graph.position[body], pushed) + own
        found.append(torch.cat([around_origin.sum(dim=0), pushed.sum(dim=0)]))
    return torch.stack(found)


@pytest.mark.parametrize("turn", [None, tilted(math.pi / 2)])
def test_a_box_that_rests_stays(turn):
    height = 0.1 if turn is None else 0.3
    rest = solids([BOX], [[0.2, 0, height]], rotation=[turn] if turn else None)
    after = rolled(rest, around([BOX], friction=0.3), 25)
    assert (after.position - rest.position).norm(dim=-1).max() < 2e-4
    assert after.spin.abs().max() < 1e-6


def test_a_stack_of_boxes_of_different_sizes_stays():
    shapes = [([0.15, 0.15, 0.13], 0.0), ([0.13, 0.16, 0.12], 0.0), ([0.16, 0.13, 0.14], 0.0)]
    stack = solids(shapes, [[0, 0, 0.13], [0, 0, 0.38], [0, 0, 0.64]])
    after = rolled(stack, around(shapes, friction=0.3), 25)
    assert (after.position - stack.position).norm(dim=-1).max() < 3e-3
    assert after.spin.abs().max() < 1e-3


@pytest.mark.parametrize(("speed", "friction"), [(1.5, 0.3), (2.2, 0.15)])
def test_a_box_that_slides_stops_where_friction_says(speed, friction):
    start = solids([BOX], [[0, 0, 0.1]], [[speed, 0, 0]])
    after = rolled(start, around([BOX], friction=friction), math.ceil(speed / (friction * G) / DT) + 2)
    assert float(after.position[0, -1, 0, 0]) == pytest.approx(speed**2 / (2 * friction * G), rel=2e-3)
    assert float(after.velocity[0, -1].norm()) < 1e-3


@pytest.mark.parametrize("angle", [0.2, 0.4])
def test_a_ball_rolls_down_a_ramp_with_five_sevenths(angle):
    ramp, down, up = ramp_of(angle)
    start = solids([BALL], [(torch.tensor([0, 0, 2.0]) + 0.24 * up - 0.8 * down).tolist()])
    after = rolled(start, around([BALL], friction=0.8, stands=(ramp,)), 12)
    speed = 5 / 7 * G * math.sin(angle) * 12 * DT
    assert float(after.velocity[0, -1, 0] @ down) == pytest.approx(speed, rel=1e-3)
    assert float(after.spin[0, -1, 0, 1]) == pytest.approx(speed / 0.2, rel=1e-3)


@pytest.mark.parametrize("friction", [0.1, 0.25, 0.6])
def test_a_box_goes_down_a_ramp_as_coulomb_says_or_sticks(friction):
    ramp, down, up = ramp_of(0.4)
    place = torch.tensor([0, 0, 2.0]) + 0.14 * up - 0.5 * down
    start = solids([BOX], [place.tolist()], rotation=[tilted(0.4)])
    after = rolled(start, around([BOX], friction=friction, stands=(ramp,)), 12)
    pull = max(0.0, G * (math.sin(0.4) - friction * math.cos(0.4)))
    way = float((after.position[0, -1, 0] - place) @ down)
    assert way == pytest.approx(pull * (12 * DT) ** 2 / 2, abs=2e-3)


@pytest.mark.parametrize("back", [0.0, 0.5, 0.85])
@pytest.mark.parametrize("shape", [BOX, BALL])
def test_what_is_dropped_flat_comes_back_with_its_restitution(back, shape):
    low = shape[0][2]
    after = rolled(solids([shape], [[0, 0, 1.0 + low]]), around([shape], restitution=back, friction=0.2), 18)
    met = math.sqrt(2 * G)
    late = 18 * DT - met / G
    # A blow is at most half a part early or late, which gravity uses.
    expected = back * met - G * late if back else 0.0
    assert float(after.velocity[0, -1, 0, 2]) == pytest.approx(expected, abs=(1 + back) * G * 0.0025 + 1e-3)
    assert after.spin.abs().max() < 1e-6


def test_a_ball_that_meets_another_off_center_leaves_as_momentum_and_restitution_say():
    shapes, back = [BALL, BALL], 0.7
    start = solids(shapes, [[0, 0, 3], [0.5, 0.2, 3]], [[2.0, 0, 0], [0, 0, 0]])
    after = rolled(start, around(shapes, gravity=0.0, restitution=back), 8)
    normal = torch.nn.functional.normalize(after.velocity[0, -1, 1], dim=0)
    reduced = 1.0 * 1.5 / 2.5
    expected = (1 + back) * reduced * float(normal[0]) * 2.0 / 1.5
    assert float(after.velocity[0, -1, 1].norm()) == pytest.approx(expected, rel=1e-6)
    assert float(normal[1]) == pytest.approx(0.5, abs=0.02)  # sine of the way from middle to middle


def test_a_ball_that_lands_sliding_begins_to_roll():
    """Friction takes 2/7 of the speed and no more, wherever it begins to."""
    start = solids([BALL], [[0, 0, 0.2]], [[1.4, 0, 0]])
    after = rolled(start, around([BALL], friction=0.4), 10)
    assert float(after.velocity[0, -1, 0, 0]) == pytest.approx(1.0, rel=1e-3)
    assert float(after.spin[0, -1, 0, 1]) == pytest.approx(5.0, rel=1e-3)


def test_a_box_that_spins_freely_keeps_its_angular_momentum_and_goes_where_mujoco_says():
    spin = [3.0, 4.0, -5.0]
    xml = """<mujoco><option gravity="0 0 0" integrator="RK4" timestep="0.001"/><worldbody>
        <body><freejoint/><geom type="box" size="0.3 0.2 0.1"/></body></worldbody></mujoco>"""
    model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(model)
    data.qvel[3:] = spin
    mujoco.mj_step(model, data, 1000)
    states, scenery = solids([BOX], [[0, 0, 3.0]], spin=[spin]), around([BOX], gravity=0.0)
    after = rolled(states, scenery, 25, RigidDynamics(parts=16))
    kept = turning_of(after, scenery)
    torch.testing.assert_close(kept, kept[:1].expand_as(kept), atol=1e-12, rtol=0)
    same = (after.rotation[0, -1, 0] * torch.from_numpy(data.qpos[3:])).sum().abs()
    assert math.degrees(2 * math.acos(min(1.0, float(same)))) < 0.5


@pytest.mark.parametrize(("shape", "kind"), [(BALL, "sphere"), (CAPSULE, "capsule"), (BOX, "box")])
def test_moments_of_inertia_are_those_of_mujoco(shape, kind):
    extent, rounding = shape
    size = {"sphere": "0.2", "capsule": "0.1 0.2", "box": "0.3 0.2 0.1"}[kind]
    xml = f"""<mujoco><worldbody><body><freejoint/><geom type="{kind}" size="{size}" mass="1"/></body>
        </worldbody></mujoco>"""
    model = mujoco.MjModel.from_xml_string(xml)
    graph = graph_of(solids([shape], [[0, 0, 3.0]]), around([shape]))
    expected = torch.from_numpy(model.body_inertia[1]).clone()
    turned = rotation_matrix(torch.from_numpy(model.body_iquat[1])[None])[0]
    expected = torch.diagonal(turned @ torch.diag(expected) @ turned.T)
    torch.testing.assert_close(1 / inertia_of(graph).easy[1], expected, atol=1e-6, rtol=1e-5)


HEAP = ([BOX, BALL, CAPSULE, BOX], [[0, 0, 2], [0.1, 0.1, 2.28], [0.38, 0.05, 2.05], [-0.2, 0, 1.82]])
FAST = ([[0, 0, 0], [0.3, 0, -2], [-2, 0.5, 0], [1, 0, 2.0]], [[1, 2, 0], [0, 3, 1], [4, 0, 1], [0, 0, 2.0]])


def heap():
    shapes, place = HEAP
    return solids(shapes, place, FAST[0], spin=FAST[1]), around(shapes, 0.0, friction=0.5, restitution=0.4)


def test_momentum_and_angular_momentum_are_kept_where_bodies_strike_each_other():
    states, scenery = heap()
    after = rolled(states, scenery, 4)
    assert ((after.velocity[0, -1] - after.velocity[0, 0]).norm(dim=-1) > 0.1).all()
    assert ((after.spin[0, -1] - after.spin[0, 0]).norm(dim=-1) > 0.1).all()
    kept = turning_of(after, scenery)
    torch.testing.assert_close(kept, kept[:1].expand_as(kept), atol=1e-12, rtol=0)


def test_blows_make_no_energy():
    states, scenery = heap()
    after = rolled(states, scenery, 6)
    energy = []
    for frame in range(7):
        graph = graph_of(after, scenery, frame)
        body = graph.kind == 2
        axes = rotation_matrix(graph.rotation[body])
        local = (axes.transpose(-1, -2) @ graph.spin[body][..., None])[..., 0]
        turning = (local.square() / inertia_of(graph).easy[body]).sum()
        moving = (graph.x[body, 4:5].exp() * graph.velocity[body].square()).sum()
        energy.append(float(turning + moving) / 2)
    assert all(late < early * 1.001 for early, late in zip(energy, energy[1:], strict=False))
    assert energy[-1] < 0.95 * energy[0]


def test_where_the_origin_lies_where_north_is_and_the_order_do_not_matter():
    states, scenery = heap()
    plain = rolled(states, scenery, 3)
    turn = rotation_matrix(torch.tensor([0.6, 0.0, 0.0, 0.8], dtype=torch.float64))
    shift = torch.tensor([3.0, -2.0, 0.0], dtype=torch.float64)
    w, x, y, z = states.rotation.unbind(-1)
    about = torch.stack([0.6 * w - 0.8 * z, 0.6 * x - 0.8 * y, 0.6 * y + 0.8 * x, 0.6 * z + 0.8 * w], dim=-1)
    there = replace(
        states, position=states.position @ turn.T + shift, rotation=about,
        velocity=states.velocity @ turn.T, spin=states.spin @ turn.T,
    )  # fmt: skip
    there = rolled(there, scenery, 3)
    torch.testing.assert_close(there.position, plain.position @ turn.T + shift, atol=1e-7, rtol=0)
    torch.testing.assert_close(there.spin, plain.spin @ turn.T, atol=1e-6, rtol=0)
    order = torch.tensor([2, 0, 3, 1])
    mixed = {
        name: getattr(states, name)[:, :, order] for name in ("position", "rotation", "velocity", "spin")
    }
    mixed = replace(states, mass=states.mass[:, order], extent=states.extent[:, order], **mixed)
    mixed = rolled(mixed, replace(scenery, rounding=scenery.rounding[:, order]), 3)
    torch.testing.assert_close(mixed.position, plain.position[:, :, order], atol=1e-7, rtol=0)
    torch.testing.assert_close(mixed.rotation, plain.rotation[:, :, order], atol=1e-6, rtol=0)


def hanging(shape, length, swing, height=2.0, turn=0.0, speed=0.0):
    """A body that hangs ``swing`` rad from below, on a rod whose axis is y turned by ``turn`` about z."""
    out = [math.cos(turn), math.sin(turn), 0.0]
    place = [math.sin(swing) * out[0] * length, math.sin(swing) * out[1] * length]
    forth = [math.cos(swing) * out[0] * speed, math.cos(swing) * out[1] * speed, math.sin(swing) * speed]
    states = solids(
        [shape], [[*place, height - length * math.cos(swing)]], [forth], rotation=[tilted(-swing)]
    )
    axis = [-math.sin(turn), math.cos(turn), 0.0]
    return states, around([shape], pivots=[[0.0, 0.0, height]], axes=[axis])


@pytest.mark.parametrize(("length", "swing", "turn"), [(0.9, 0.6, 0.0), (0.6, 1.2, 0.0), (1.1, 0.9, 0.7)])
def test_a_pendulum_is_back_after_a_period_and_keeps_its_rod(length, swing, turn):
    """``T = 2 pi sqrt((l^2 + 2/5 r^2) / (g l)) / agm(1, cos(swing / 2))``."""
    states, scenery = hanging(BALL, length, swing, turn=turn)
    one, two = 1.0, math.cos(swing / 2)
    for _ in range(8):
        one, two = (one + two) / 2, math.sqrt(one * two)
    period = 2 * math.pi * math.sqrt((length**2 + 2 / 5 * 0.2**2) / (G * length)) / one
    after = rolled(replace(states, dt=states.dt * 0 + period / 48), scenery, 48)
    start, turned = after.position[0, 0, 0], after.position[0, 24, 0]
    mirrored = start * torch.tensor([-1, -1, 1])
    torch.testing.assert_close(turned, mirrored, atol=2e-4, rtol=0)
    torch.testing.assert_close(after.position[0, -1, 0], start, atol=4e-4, rtol=0)
    rod = (after.position[0, :, 0] - scenery.pivot[0, 0]).norm(dim=-1)
    torch.testing.assert_close(rod, torch.full_like(rod, length), atol=1e-9, rtol=0)
    lowest = after.velocity[0, 12, 0].norm()
    fall = 2 * G * length * (1 - math.cos(swing)) / (1 + 2 / 5 * 0.2**2 / length**2)
    assert float(lowest) == pytest.approx(math.sqrt(fall), rel=1e-3)
    assert float(after.spin[0, 12, 0].norm()) == pytest.approx(float(lowest) / length, rel=1e-9)


def test_a_box_on_a_rod_swings_with_the_moment_about_its_pivot():
    length, (half, _) = 0.5, BOX
    about = (half[0] ** 2 + half[2] ** 2) / 3 + length**2
    period = 2 * math.pi * math.sqrt(about / (G * length))
    states, scenery = hanging(BOX, length, 0.02)
    after = rolled(replace(states, dt=states.dt * 0 + period / 40), scenery, 20)
    assert float(after.position[0, -1, 0, 0]) == pytest.approx(-float(states.position[0, 0, 0, 0]), rel=2e-3)


def test_a_rod_goes_on_with_the_velocity_of_its_middle_or_with_the_spin_of_what_is_held_there():
    states, scenery = hanging(BALL, 0.8, 0.0, speed=1.6)
    assert states.spin.abs().max() == 0
    after = rolled(states, scenery, 1)
    rate = math.sqrt(G * 0.8 / (0.8**2 + 2 / 5 * 0.2**2))  # of small swings
    angle = 1.6 / 0.8 / rate * math.sin(rate * DT)
    assert float(after.position[0, 1, 0, 0]) == pytest.approx(0.8 * math.sin(angle), rel=1e-4)
    wheel = replace(scenery, pivot=states.position[:, 0])
    after = rolled(replace(states, spin=torch.tensor([[[[0.3, 4.0, 0]]]]).double()), wheel, 5)
    torch.testing.assert_close(after.position, states.position.expand_as(after.position))
    torch.testing.assert_close(after.spin[0, -1, 0], torch.tensor([0, 4.0, 0]).double())
    assert float(after.rotation[0, -1, 0, 2]) == pytest.approx(math.sin(4.0 * 5 * DT / 2))


@pytest.mark.parametrize("back", [1.0, 0.6])
def test_a_ball_that_strikes_one_on_a_rod_hands_on_what_the_rod_lets_it(back):
    """The rod takes none: an impulse along its circle moves ``(l^2 + 2/5 r^2) / l^2`` of the mass."""
    states = solids([BALL, BALL], [[-0.45, 0, 1.2], [0, 0, 1.2]], [[3.0, 0, 0], [0.0] * 3])
    pivots, axes = [[0.0] * 3, [0, 0, 2.0]], [[0.0] * 3, [0, 1.0, 0]]
    after = rolled(states, around([BALL, BALL], 0.0, 0.0, back, pivots=pivots, axes=axes), 1)
    light, heavy = float(states.mass[0, 0]), float(states.mass[0, 1]) * (1 + 2 / 5 * 0.2**2 / 0.8**2)
    given = (1 + back) * light / (light + heavy) * 3.0
    assert float(after.velocity[0, 1, 1].norm()) == pytest.approx(given, rel=1e-6)
    assert float(after.velocity[0, 1, 0, 0]) == pytest.approx(3.0 - given * heavy / light, rel=1e-6)


def test_a_batch_is_its_clips_beside_each_other():
    """The first touches nothing, the second does."""
    apart = [solids([BALL], [[0, 0, height]], [[1.0, 0, -3.0]]) for height in (2.0, 0.25)]
    names = [f for f in apart[0].__dataclass_fields__ if f not in ("contacts", "metric", "joints")]
    both = replace(apart[0], **{f: torch.cat([getattr(one, f) for one in apart]) for f in names})
    alone = around([BALL], restitution=0.5, friction=0.3)
    twice = replace(alone, **{f: torch.cat([value] * 2) for f, value in vars(alone).items()})
    together = rolled(both, twice, 3)
    for number, one in enumerate(apart):
        single = rolled(one, alone, 3)
        for name in ("position", "rotation", "velocity", "spin"):
            torch.testing.assert_close(getattr(together, name)[number], getattr(single, name)[0])
    assert together.spin[1, -1].abs().max() > 1 and together.spin[0].abs().max() == 0


def test_gradients_reach_the_start():
    shapes = [BOX, BALL]
    states = solids(
        shapes, [[0, 0, 0.15], [0.1, 0.1, 0.5]], [[0.5, 0, -1.0], [0, 0, -3]], spin=[[1, 2, 0.5]] * 2
    )
    scenery = around(shapes, friction=0.3, restitution=0.4)

    def end(position, velocity, spin):
        now = replace(states, position=position, velocity=velocity, spin=spin)
        after = RigidDynamics(parts=3, rounds=5).rollout(now, scenery, 1)
        return after.position[:, 1], after.rotation[:, 1], after.velocity[:, 1], after.spin[:, 1]

    inputs = tuple(
        getattr(states, name).clone().requires_grad_() for name in ("position", "velocity", "spin")
    )
    assert torch.autograd.gradcheck(end, inputs, eps=1e-7, atol=1e-4, rtol=1e-3)


def test_gradients_reach_the_start_of_what_hangs_and_its_pivot():
    states, scenery = hanging(BOX, 0.6, 0.7, speed=0.4)

    def end(position, velocity, pivot):
        now = replace(states, position=position, velocity=velocity)
        after = RigidDynamics(parts=3).rollout(now, replace(scenery, pivot=pivot), 2)
        return after.position[:, 2], after.velocity[:, 2], after.spin[:, 2]

    inputs = tuple(one.clone().requires_grad_() for one in (states.position, states.velocity, scenery.pivot))
    assert torch.autograd.gradcheck(end, inputs, eps=1e-7, atol=1e-4, rtol=1e-3)


def test_what_flies_or_rests_is_sure_and_a_harder_blow_is_less_so():
    exact = torch.zeros(1, 1, 2, 2).double()
    claimed = {}
    for speed in (0.0, 1.0, 4.0):
        for height in (3.0, 0.2):
            start = solids([BALL], [[0, 0, height]], [[0, 0, -speed]])
            scenery = around([BALL], restitution=0.5)
            claim = RigidDynamics().rollout_with_doubt(start, scenery, 2, exact)[1]
            claimed[speed, height] = claim[0, :, 0]
    for free in (claimed[0.0, 3.0], claimed[4.0, 3.0], claimed[0.0, 0.2]):
        assert 0 < free[-1] < 4e-4 and torch.equal(free, claimed[0.0, 3.0])
    mild, hard = claimed[1.0, 0.2], claimed[4.0, 0.2]
    assert mild[0] == 0 and (mild[1:] > 4e-3).all()
    torch.testing.assert_close(hard[1:], 4 * mild[1:], rtol=5e-3, atol=0)


def test_what_cannot_be_moved_is_said():
    with pytest.raises(ValueError, match="parts and rounds must be at least 1; got 0 and 20"):
        RigidDynamics(parts=0)
    states, scenery = heap()
    with pytest.raises(ValueError, match="must have a mass"):
        RigidDynamics().rollout(replace(states, mass=states.mass * 0), scenery, 1)
    with pytest.raises(ValueError, match="must have an extent; got one of 0 m"):
        RigidDynamics().rollout(replace(states, extent=states.extent * 0), scenery, 1)
    one, two = torch.zeros(1, 1, 1), torch.zeros(1, 1, 2)
    joints = Joints(
        angle=one, anchor=torch.zeros(1, 1, 1, 3), limits=two, bodies=torch.zeros(1, 1, 2, dtype=torch.long),
        hinge=torch.ones(1, 1, dtype=torch.bool), feet=torch.zeros(1, 4, dtype=torch.bool),
    )  # fmt: skip
    with pytest.raises(ValueError, match="RigidDynamics moves free bodies; got a figure with joints"):
        RigidDynamics().rollout(replace(states, joints=joints), scenery, 1)


@pytest.mark.parametrize(("gap", "shares"), [(0.0, [-1 / 3, 2 / 3, 2 / 3]), (0.008, [0.0, 0.0, 1.0])])
def test_a_row_of_balls_hands_a_blow_on_one_after_another_only_where_there_are_gaps(gap, shares):
    row = [[index * (0.4 + gap), 0, 1.0] for index in range(3)]
    states = solids([BALL] * 3, row, [[2.0, 0, 0], [0.0] * 3, [0.0] * 3], mass=[1.0] * 3)
    after = rolled(states, around([BALL] * 3, 0.0, restitution=1.0), 2)
    torch.testing.assert_close(
        after.velocity[0, -1, :, 0] / 2, torch.tensor(shares).double(), atol=1e-4, rtol=0
    )
