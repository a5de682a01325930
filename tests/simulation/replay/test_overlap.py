from dataclasses import replace

import torch

from tests.simulation.replay.worlds import blind, world
from worldgen.simulation.replay.overlap import overlap


def test_overlap_is_geometry():
    balls = "".join(f"<body><freejoint/><geom size='{radius}'/></body>" for radius in (0.2, 0.1))
    xml = f"<mujoco><worldbody><geom type='plane' size='0 0 1'/>{balls}</worldbody></mujoco>"
    truth, _ = world("collide")
    place = torch.tensor(
        [[[0, 0, 1.0], [0.25, 0, 1]], [[0, 0, 1.0], [0.35, 0, 1]], [[0, 0, 0.17], [1, 0, 1]]]
    )
    states = replace(
        blind(truth),
        position=place[None].double(),
        **{name: getattr(blind(truth), name)[:, :3] for name in ("rotation", "velocity", "spin", "present")},
    )
    torch.testing.assert_close(overlap(states, xml), torch.tensor([0.05, 0.0, 0.03]).double())
    present = states.present.clone()
    present[0, 0, 1] = False
    assert overlap(replace(states, present=present), xml)[0] == 0
