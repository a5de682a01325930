import itertools
import math

import numpy as np

from worldgen.simulation.rollout import rollout
from worldgen.simulation.scenes import crowds
from worldgen.simulation.scenes.balls import HALF_WIDTH
from worldgen.simulation.scenes.crowds import SOON, crowd, pairs_that_touch
from worldgen.simulation.scenes.factors import factors_of
from worldgen.simulation.scenes.families import draw_scene


def _crowds(split: str, count: int = 6):
    return [crowd(np.random.default_rng(seed), factors_of(split)) for seed in range(count)]


def test_at_least_two_pairs_of_balls_strike_each_other_while_it_is_played():
    for scene in _crowds("id"):
        frames = 1 + round(SOON * 25)
        contacts = rollout(scene, frames, 25.0).trajectory.contacts[0]
        struck = {tuple(sorted(pair)) for pair in contacts.bodies.tolist() if min(pair) >= 0}
        assert len(struck) >= 2
        assert struck == pairs_that_touch(scene, SOON)


def test_a_draw_of_which_only_one_pair_touches_is_not_taken(monkeypatch):
    first = crowd(np.random.default_rng(0))
    told = iter([{(0, 1)}, {(0, 1), (1, 2)}])
    monkeypatch.setattr(crowds, "pairs_that_touch", lambda *_: next(told))
    second = crowd(np.random.default_rng(0))
    assert second.things != first.things and next(told, None) is None


def test_balls_start_apart_in_the_plane_on_the_floor_and_above_it():
    scenes = _crowds("id")
    assert all(3 <= len(scene.things) <= 6 for scene in scenes)
    assert {scene.setting.floor_priority for scene in scenes} == {0, 2}
    things = [thing for scene in scenes for thing in scene.things]
    lying = [thing for thing in things if thing.position[2] < thing.radius]
    assert 0 < len(lying) < len(things) and all(thing.velocity[2] == 0 for thing in lying)
    for scene in scenes:
        for one, other in itertools.combinations(scene.things, 2):
            assert math.dist(one.position, other.position) > one.radius + other.radius
    for thing in things:
        assert thing.position[1] == thing.velocity[1] == 0
        assert abs(thing.position[0]) + thing.radius <= HALF_WIDTH + 1e-9
        assert 0.29 < math.hypot(*thing.velocity) < 2.01


def test_a_held_out_number_is_seven_or_eight():
    assert {len(scene.things) for scene in _crowds("ood:count", 10)} == {7, 8}


def test_what_touches_is_told_by_places_and_not_before_it_does():
    apart = draw_scene("collide", 0)
    assert pairs_that_touch(apart, 0.01) == set()
    assert pairs_that_touch(apart, 1.5) == {(0, 1)}
    assert pairs_that_touch(draw_scene("drop", 1), SOON) == set()
