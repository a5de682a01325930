"""Captions read back and compared with the scenes that they describe."""

import re

import pytest

from worldgen.simulation.scenes.balls import SHAPES
from worldgen.simulation.scenes.captions import describe
from worldgen.simulation.scenes.families import COLORS, FAMILIES, NANO, RESTITUTION, draw_scene

BALL = rf"a ({'|'.join(COLORS)})(?: ({'|'.join(RESTITUTION)}))? ball"
SCENES = [draw_scene(family, seed) for family in NANO for seed in range(200)]


@pytest.mark.parametrize("family", NANO)
def test_a_caption_says_what_is_in_the_scene(family):
    unnamed = 0
    for scene in [scene for scene in SCENES if scene.family == family]:
        text = describe(scene)
        found = re.findall(BALL, text)
        assert [color for color, _ in found] == [ball.color for ball in scene.things]
        materials = [material for _, material in found]
        assert materials in ([""] * len(found), [ball.material for ball in scene.things])
        unnamed += materials[0] == ""
        if len(found) == 2:
            assert re.match(rf"{BALL} on the left and {BALL} on the right \w+", text)
            assert scene.things[0].position[0] < scene.things[1].position[0]
    assert 8 <= unnamed <= 35  # one in ten of 200


def test_captions_say_side_and_speed():
    for scene in SCENES:
        text, velocities = describe(scene), [ball.velocity[0] for ball in scene.things]
        if scene.family == "bounce":
            assert re.search(r"to the (\w+)", text).group(1) == ("right" if velocities[0] > 0 else "left")
            assert re.search(r"(slowly|quickly)", text).group(1) == (
                "quickly" if abs(velocities[0]) > 1.1 else "slowly"
            )
        elif scene.family == "collide":
            assert velocities[0] > 0 > velocities[1] and "toward each other" in text
            closing = velocities[0] - velocities[1]
            assert re.search(r"(slowly|quickly)", text).group(1) == ("quickly" if closing > 2.2 else "slowly")
        else:
            assert ("left" in text) == (len(velocities) == 2) and not re.search("slow|quick", text)


def test_words_vary_and_hold_the_plain_prompt():
    texts = [describe(scene) for scene in SCENES]
    shapes = {re.sub(BALL, "BALL", text) for text in texts}
    assert len(shapes) == 4 + 3 + 3 * 2 * 2 + 3 * 2
    plain = [describe(draw_scene("drop", seed)) for seed in range(2000)]
    assert "a red ball drops onto the floor and bounces" in plain
    assert describe(SCENES[0]) == texts[0]


def test_both_materials_colors_and_counts_are_drawn_evenly():
    drops = [scene for scene in SCENES if scene.family == "drop"]
    assert 70 < sum(len(scene.things) == 2 for scene in drops) < 130
    balls = [ball for scene in SCENES for ball in scene.things]
    for color in COLORS:
        assert sum(ball.color == color for ball in balls) > len(balls) / 10
    assert 0.4 < sum(ball.material == "rubber" for ball in balls) / len(balls) < 0.6


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in NANO])
def test_prompts_of_the_other_families_name_what_moves_and_where_it_goes(family):
    seen = set()
    for seed in range(40):
        scene = draw_scene(family, seed)
        text, first = describe(scene), scene.things[0]
        seen.add(re.sub("|".join([*COLORS, *SHAPES]), "", text))
        assert describe(scene) == text and not re.search(r"[{}]", text)
        leans = family == "topple" and first.shape == "box"
        if not leans:
            assert re.search(rf"a {first.color} ({first.material} )?{first.shape}", text)
        if family in ("slide", "roll", "projectile", "occlude"):
            assert ("right" in text) == (first.velocity[0] > 0) == ("left" not in text)
        if first.pivot is not None:
            side = "left" if first.position[0] < first.pivot[0] else "right"
            assert re.search("left|right", text)[0] == side
        if family in ("topple", "cradle", "dominoes"):
            count = len(scene.things) - (family == "topple" and not leans)
            assert re.search("three|four|five|six", text)[0] == ["three", "four", "five", "six"][count - 3]
        if family == "slide":
            assert ("ramp" in text) == bool(scene.setting.stands) != ("floor" in text)
    assert len(seen) >= 3
