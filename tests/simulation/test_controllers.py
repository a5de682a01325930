import pytest
import torch

from worldgen.simulation.clips import simulate_trajectory
from worldgen.simulation.controllers import controller_of
from worldgen.simulation.engine import model_of
from worldgen.simulation.scenes.families import draw_scene


def test_only_what_has_motors_drives_itself():
    drives = {
        family: controller_of(model_of(draw_scene(family, 0).spec.to_xml()))
        for family in ("drop", "chain", "hop", "bend")
    }
    assert [family for family, drive in drives.items() if drive] == ["hop", "bend"]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_hopper_leaves_the_floor_twice_lands_on_its_foot_and_stays_upright(seed):
    truth = simulate_trajectory("hop", seed, frames=32)
    height = truth.position[0, :, 2, 2] - truth.extent[0, 2, 2]
    aloft = (height > 0.03).int()
    assert int((aloft[1:] - aloft[:-1]).clamp(min=0).sum()) >= 2
    upright = 1 - 2 * (truth.rotation[0, :, 0, 1:3].square().sum(dim=-1))
    assert upright.min() > 0.85 and abs(float(truth.position[0, -1, 0, 0] - truth.position[0, 0, 0, 0])) > 0.4


def test_a_figure_bends_and_rises_over_its_feet():
    truth = simulate_trajectory("bend", 1, frames=32)
    height = truth.position[0, :, 0, 2]
    assert height[0] - height.min() > 0.15 and height[-1] - height.min() > 0.1
    feet = truth.position[0, :, truth.joints.feet[0]]
    assert torch.all((feet - feet[:1]).norm(dim=-1) < 0.03)
