from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.scenes.families import FAMILIES, draw_scene
from worldgen.simulation.scenes.materials import prompt_materials, read_materials, scene_materials


@pytest.mark.parametrize("family, dead", [("drop", False), ("bounce", False), ("collide", True)])
@pytest.mark.parametrize("split", [None, "ood:gravity", "ood:restitution", "ood:mass"])
def test_what_was_drawn_is_read_from_the_mjcf(family, dead, split):
    if split == "ood:mass" and family == "drop":
        pytest.skip("no mass is drawn there")
    clip = simulate_clip(family, 4, size=8, split=split)
    scene = next(
        scene
        for attempt in range(100)
        if (scene := draw_scene(family, 4, attempt, split=split)).spec.to_xml() == clip.scenes[0]
    )
    read = read_materials(clip.scenes)
    assert_close(read.gravity, torch.tensor([scene.gravity]))
    assert_close(read.mass, clip.truth.mass)
    assert_close(
        read.restitution, torch.tensor([[thing.restitution for thing in scene.things]]), atol=1e-3, rtol=0
    )
    assert read.dead_floor.tolist() == [dead]


def test_scenes_of_one_and_two_balls_stand_beside_each_other():
    one, two = (simulate_clip("drop", seed, size=8).scenes[0] for seed in (2, 0))
    read = read_materials([one, two])
    assert read.mass.shape == (2, 2)
    assert read.mass[0, 1] == 1 and read.restitution[0, 1] == 0
    assert_close(read_materials([two]).mass[0], read.mass[1])


@pytest.mark.parametrize("family", ["roll", "pendulum", "tumble", "dominoes", "slide"])
def test_what_is_not_of_balls_on_a_floor_is_refused(family):
    scene = simulate_clip(family, 0, size=8).scenes
    with pytest.raises(ValueError, match="balls that move freely on a floor and touch nothing else"):
        read_materials(scene)


@pytest.mark.parametrize("family", ["drop", "bounce", "collide"])
def test_a_prompt_says_what_the_scene_says_where_it_names_materials(family):
    named = 0
    for seed in range(12):
        clip = simulate_clip(family, seed, size=8)
        told, said = scene_materials(clip), prompt_materials(clip)
        assert_close(said.gravity, told.gravity)
        assert said.dead_floor.tolist() == told.dead_floor.tolist()
        assert not said.mass.any()
        count = told.restitution.shape[1]
        if "rubber" in clip.prompts[0] or "wooden" in clip.prompts[0]:
            named += 1
            assert_close(said.restitution[:, :count], told.restitution, atol=1e-3, rtol=0)
        else:
            assert (said.restitution == 0.675).all()
    assert named > 6


def test_balls_are_counted_in_the_order_in_which_a_prompt_names_them():
    clip = simulate_clip("drop", 0, size=8)
    said = prompt_materials(
        replace(
            clip, prompts=("A Wooden ball hits a ball, a rubber-ball and two balls; baseball, all bounce",)
        )
    )
    assert_close(said.restitution, torch.tensor([[0.5, 0.675, 0.85, 0.675]]))
    silent = prompt_materials(replace(clip, prompts=("",)))
    assert (silent.restitution == 0.675).all() and silent.free.tolist() == [False]
    assert prompt_materials(replace(clip, prompts=("a ball rolls",))).dead_floor.tolist() == [True]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_says_whether_what_moves_is_free_and_whether_it_falls(family):
    for seed in range(4):
        clip = simulate_clip(family, seed, size=8)
        free = family in {"drop", "bounce", "collide", "projectile", "occlude", "tumble"}
        said = prompt_materials(clip)
        assert said.free.tolist() == [free], clip.prompts
        if free:
            scene = draw_scene(family, seed)
            assert_close(said.gravity, torch.tensor([scene.gravity])), clip.prompts


@pytest.mark.parametrize(
    "prompt, free, gravity",
    [
        ("a red box is thrown up", True, 9.81),
        ("a red capsule flying through the air", True, 9.81),
        ("a red box is thrown and lands on the floor", False, 9.81),
        ("a red box is thrown at a wall", False, 9.81),
        ("a red box is thrown at a stack of boxes", False, 9.81),
        ("a red box falls", False, 9.81),
        ("a fly walks on a red box", False, 9.81),
        ("a shark flies", False, 9.81),
        ("a red ball floats and turns", True, 0.0),
        ("a red ball floats on water", False, 9.81),
        ("a red ball spins on the floor", False, 9.81),
        ("a red box tumbles without gravity", True, 0.0),
        ("a red ball without gravity bounces off the floor", False, 9.81),
        ("a red ball drops in low gravity", False, 9.81),
        ("a Red Ball is dropped", True, 9.81),
        ("a red ball hits a blue box", False, 9.81),
    ],
)
def test_what_is_free_in_words_of_others(prompt, free, gravity):
    said = prompt_materials(replace(simulate_clip("drop", 0, size=8), prompts=(prompt,)))
    assert said.free.tolist() == [free]
    assert_close(said.gravity, torch.tensor([gravity]))


def test_a_clip_without_a_scene_tells_nothing_of_one():
    clip = replace(simulate_clip("drop", 0, size=8), scenes=None)
    with pytest.raises(ValueError, match="needs Clip.scenes, and the clip has none. Use simulated clips, or"):
        scene_materials(clip)
