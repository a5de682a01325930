import pytest
import torch

from worldgen.simulation.body_states import BODIES, play_bodies, stack_bodies
from worldgen.simulation.rollout import rollout
from worldgen.simulation.scenes.families import draw_scene


@pytest.mark.parametrize("family", ["slide", "roll", "topple", "dominoes", "collide", "pendulum", "cradle"])
def test_what_is_played_is_the_first_draw_of_its_seed_and_so_are_its_materials(family):
    scene = draw_scene(family, 3, split="id")
    expected = rollout(scene, 8, 25.0).trajectory
    states = play_bodies(family, 3, "id", frames=8)
    for name in ("position", "velocity", "rotation", "spin", "mass", "extent"):
        torch.testing.assert_close(
            getattr(states.trajectory, name), getattr(expected, name).float(), atol=1e-4, rtol=0
        )
    assert states.friction[0].tolist() == pytest.approx([one.friction for one in scene.things])
    assert states.restitution[0].tolist() == pytest.approx([one.restitution for one in scene.things])
    assert states.gravity[0].tolist() == pytest.approx([0, 0, -scene.gravity])
    assert bool(states.master[0, 0]) == (family in ("collide", "dominoes"))
    hung = [one.pivot is not None for one in scene.things]
    assert states.axis[0].tolist() == [[0, float(one), 0] for one in hung]
    assert states.pivot[0].tolist() == [pytest.approx(one.pivot or (0, 0, 0)) for one in scene.things]
    assert states.static_friction[0, 0] == pytest.approx(0.8 if family == "dominoes" else 0)


def test_the_ramp_stands_where_it_does_and_what_is_not_solid_does_not():
    ramp = play_bodies("roll", 0, "id", frames=2)
    stand = draw_scene("roll", 0, split="id").setting.stands[0]
    assert ramp.static_position[0, 1].tolist() == pytest.approx(stand.position)
    assert ramp.static_rotation[0, 1].tolist() == pytest.approx(stand.rotation, abs=1e-6)
    assert ramp.static_extent[0, 1].tolist() == pytest.approx(stand.size)
    assert play_bodies("drop", 0, "id", frames=2).static_position.shape[1] == 1


def test_what_flies_is_a_ball_a_box_or_a_capsule():
    found = set()
    for seed in range(20):
        for family in ("projectile", "tumble"):
            states = play_bodies(family, seed, "id", frames=2)
            core = states.trajectory.extent[0, 0] - states.rounding[0, 0]
            found.add(tuple((core > 0).tolist()))
    assert found == {(False, False, False), (True, True, True), (False, False, True)}


def test_stacked_scenes_keep_their_bodies_and_stands_and_the_rest_is_absent_or_far_below():
    row, ramp = play_bodies("dominoes", 1, "id", frames=3), play_bodies("roll", 2, "id", frames=3)
    states = stack_bodies([row, ramp])
    count = row.rounding.shape[1]
    assert states.trajectory.present.sum(dim=-1).tolist() == [[count] * 3, [1] * 3]
    assert torch.equal(states.trajectory.position[0, :, :count], row.trajectory.position[0])
    assert torch.equal(states.trajectory.position[1, :, :1], ramp.trajectory.position[0])
    assert torch.equal(states.static_position[1], ramp.static_position[0])
    assert states.static_position[0, 1, 2] < -100
    assert torch.equal(states.friction[0, :count], row.friction[0])
    assert states.family == ("dominoes", "roll") and states.split == "id" and len(states) == 2


def test_a_row_on_rods_beside_one_that_is_free_keeps_its_pivots():
    row, free = play_bodies("cradle", 0, "id", frames=2), play_bodies("dominoes", 1, "id", frames=2)
    states = stack_bodies([row, free])
    count = row.rounding.shape[1]
    assert torch.equal(states.pivot[0, :count], row.pivot[0]) and count > 1
    assert len(set(row.pivot[0, :, 0].tolist())) == count
    assert (states.axis[0, :count] != 0).any(dim=-1).all() and not states.axis[1].any()


def test_what_is_no_scene_of_rigid_bodies_is_said():
    assert "cloth" not in BODIES
    with pytest.raises(ValueError, match="Scenes of rigid bodies are drop, .*; got 'cloth'"):
        play_bodies("cloth", 0, "id")
    with pytest.raises(ValueError, match="frames must be at least 1"):
        play_bodies("slide", 0, "id", frames=0)
