import json
from dataclasses import replace

import pytest
import torch

from tests.physics.balls import shaken
from tests.physics.solids import BALL, BOX, CAPSULE, around, solids, tilted
from tests.physics.test_rigid import heap, ramp_of, rolled, turning_of
from worldgen.parts import CONFIG_FILE
from worldgen.physics.contact_laws import rotation_matrix
from worldgen.physics.graph import graph_of
from worldgen.physics.rigid import RigidDynamics
from worldgen.physics.rigid_network import GraphRigid, load_rigid

STATES = ("position", "rotation", "velocity", "spin")


def differs(one, other):
    return max(float((getattr(one, name) - getattr(other, name)).abs().max()) for name in STATES)


def test_untrained_it_is_closed_form_and_shaken_it_is_not():
    states, scenery = heap()
    plain = rolled(states, scenery, 2)
    assert differs(rolled(states, scenery, 2, GraphRigid(width=8).double()), plain) == 0
    assert differs(rolled(states, scenery, 2, shaken(GraphRigid(width=8))), plain) > 1e-2


def test_what_rests_slides_rolls_or_flies_stays_as_closed_form_has_it_whatever_was_learned():
    network = shaken(GraphRigid(width=8))
    ramp, down, up = ramp_of(0.4)
    place = (torch.tensor([0, 0, 2.0]) + 0.24 * up - 0.8 * down).tolist()
    box = (torch.tensor([0, 0, 2.0]) + 0.14 * up - 0.5 * down).tolist()
    for states, scenery in (
        (solids([BOX], [[0, 0, 0.1]], [[1.0, 0, 0]]), around([BOX], friction=0.3)),
        (solids([BALL], [place]), around([BALL], friction=0.8, stands=(ramp,))),
        (solids([BOX], [box], rotation=[tilted(0.4)]), around([BOX], friction=0.2, stands=(ramp,))),
        (solids([CAPSULE], [[0, 0, 3.0]], [[1, 0, 2.0]], spin=[[1, 2, 3.0]]), around([CAPSULE])),
    ):
        assert differs(rolled(states, scenery, 4, network), rolled(states, scenery, 4)) == 0


def test_what_hangs_on_rods_stays_as_closed_form_has_it_whatever_was_learned():
    shapes, away = [BALL, BALL], [[0.0] * 3, [0.0, 1.0, 0.0]]
    states = solids(shapes, [[-0.45, 0, 1.2], [0, 0, 1.2]], [[3.0, 0, 0], [0.0] * 3])
    network = shaken(GraphRigid(width=8))
    for axes, same in ((away, True), ([[0.0] * 3] * 2, False)):
        scenery = around(shapes, restitution=0.6, pivots=[[0.0] * 3, [0, 0, 2.0]], axes=axes)
        off = differs(rolled(states, scenery, 3, network), rolled(states, scenery, 3))
        assert (off == 0) == same


def test_momentum_and_angular_momentum_are_kept_whatever_was_learned():
    states, scenery = heap()
    after = rolled(states, scenery, 3, shaken(GraphRigid(width=8)))
    assert differs(after, rolled(states, scenery, 3)) > 1e-2
    kept = turning_of(after, scenery)
    torch.testing.assert_close(kept, kept[:1].expand_as(kept), atol=1e-11, rtol=0)
    middles = (states.mass[0, :, None] * after.position[0]).sum(dim=1) / states.mass.sum()
    drift = (states.mass[0, :, None] * after.velocity[0, 0]).sum(dim=0) / states.mass.sum()
    expected = middles[0] + torch.arange(4).double()[:, None] * 0.04 * drift
    torch.testing.assert_close(middles, expected, atol=1e-11, rtol=0)


def test_where_the_origin_lies_where_north_is_and_the_order_do_not_matter():
    network, (states, scenery) = shaken(GraphRigid(width=8)), heap()
    plain = rolled(states, scenery, 2, network)
    turn = rotation_matrix(torch.tensor([0.6, 0.0, 0.0, 0.8], dtype=torch.float64))
    shift = torch.tensor([3.0, -2.0, 0.0], dtype=torch.float64)
    w, x, y, z = states.rotation.unbind(-1)
    about = torch.stack([0.6 * w - 0.8 * z, 0.6 * x - 0.8 * y, 0.6 * y + 0.8 * x, 0.6 * z + 0.8 * w], dim=-1)
    there = replace(
        states, position=states.position @ turn.T + shift, rotation=about,
        velocity=states.velocity @ turn.T, spin=states.spin @ turn.T,
    )  # fmt: skip
    there = rolled(there, scenery, 2, network)
    torch.testing.assert_close(there.position, plain.position @ turn.T + shift, atol=1e-6, rtol=0)
    torch.testing.assert_close(there.spin, plain.spin @ turn.T, atol=1e-5, rtol=0)
    order = torch.tensor([2, 0, 3, 1])
    mixed = {name: getattr(states, name)[:, :, order] for name in STATES}
    mixed = replace(states, mass=states.mass[:, order], extent=states.extent[:, order], **mixed)
    mixed = rolled(mixed, replace(scenery, rounding=scenery.rounding[:, order]), 2, network)
    torch.testing.assert_close(mixed.position, plain.position[:, :, order], atol=1e-6, rtol=0)


def test_without_friction_a_floor_pushes_along_its_normal_alone():
    states = solids([BALL], [[0, 0, 0.25]], [[1.5, 0.5, -3.0]])
    for friction in (0.0, 0.3):
        scenery = around([BALL], restitution=0.5, friction=friction)
        learned, plain = rolled(states, scenery, 1, shaken(GraphRigid(width=8))), rolled(states, scenery, 1)
        off = (learned.velocity - plain.velocity)[0, 1, 0].abs()
        assert off[2] > 1e-3
        assert (off[:2].max() > 1e-6) == (friction > 0)
        assert (learned.spin.abs().max() > 1e-9) == (friction > 0)


def test_gradients_reach_all_weights_and_no_closed_form_is_learned():
    network, (states, scenery) = shaken(GraphRigid(width=8)), heap()
    step = network(graph_of(states, scenery))
    (step.position.square().sum() + step.spin.square().sum()).backward()
    assert all(one.grad is not None for one in network.parameters())
    assert not list(RigidDynamics().parameters())


def test_a_network_comes_back_from_its_file_and_what_is_none_is_said(tmp_path):
    network, (states, scenery) = shaken(GraphRigid(width=8, rounds=1, parts=4)), heap()
    network.float().save(tmp_path / "net")
    again = load_rigid(tmp_path / "net").double()
    expected = rolled(states, scenery, 1, network.double())
    assert differs(rolled(states, scenery, 1, again), expected) == 0
    (tmp_path / "net" / CONFIG_FILE).write_text(json.dumps({"class": "GraphDynamics"}))
    with pytest.raises(ValueError, match="a network that is not GraphRigid, but 'GraphDynamics'"):
        load_rigid(tmp_path / "net")
    with pytest.raises(FileNotFoundError):
        load_rigid(tmp_path / "none")


def test_another_step_is_refused():
    states, scenery = heap()
    with pytest.raises(ValueError, match=r"steps by 0\.04 s; got a step of 0\.02 s"):
        rolled(replace(states, dt=states.dt / 2), scenery, 1, GraphRigid(width=8).double())
