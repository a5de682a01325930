"""Long descriptions read back by a parser and compared with the truth, clip by clip."""

import re
from dataclasses import dataclass

import pytest
import torch

from worldgen.simulation.clips import _play
from worldgen.simulation.rendering.film import camera_of
from worldgen.simulation.scenes.captions import describe
from worldgen.simulation.scenes.descriptions import describe_at_length
from worldgen.simulation.scenes.families import COLORS, RESTITUTION
from worldgen.simulation.scenes.naming import name_backdrop, name_things
from worldgen.types import GRAVITY, Camera, Contacts, Trajectory

NUMBERS = {"a": 1, "an": 1, "two": 2, "three": 3, "four": 4, "eight": 8}
SHAPE = r"(?:ball|box|cylinder|capsule|ellipsoid)(?:e?s)?"
THING = rf"(a|an|two|three|four|eight) ({'|'.join(COLORS)})(?: ({'|'.join(RESTITUTION)}))? ({SHAPE})"
NAME = rf"the ({'|'.join(COLORS)}) {SHAPE}"
STARTS = ("falls", "fall", "flies", "fly", "slides", "slide", "rolls", "roll", "is at rest", "are at rest")
FAMILIES = ("drop", "bounce", "collide")


@dataclass(frozen=True)
class Facts:
    """What a reader knows after reading."""

    things: list[tuple[str, str]]
    """Color and material, in the order of the list."""
    row: str
    first: str
    """The first verb of the story."""
    touches: list[tuple[float, str, str]]
    """Time, color, and the other's color or "floor", in order."""
    bounces: list[str]
    fixed: bool
    higher: tuple[str, str] | None
    """Color of the higher and of the lower of two."""


def parse(text: str) -> Facts:
    sentences = re.split(r"(?<=\.) ", text)
    opening = next(s for s in sentences if re.search(rf"\b(?:shows|is|are) .*{THING}", s))
    listed = re.findall(THING, opening)
    things = [(color, material) for number, color, material, _ in listed for _ in range(NUMBERS[number])]
    side = {"on the right.": "from left to right"}.get(" ".join(opening.split()[-3:]), "")
    story = [s for s in sentences if re.match(r"(At first|At the start|In the beginning), ", s)]
    first = min(STARTS, key=lambda verb: (story[0].find(f" {verb}") % 10_000, -len(verb)))
    touches, bounces, subject, clock, higher = [], [], "", 0.0, None
    for sentence in sentences:
        colors = re.findall(NAME, sentence, re.IGNORECASE)
        clock = float(m.group(1)) if (m := re.search(r"bout (\d+(?:\.\d)?) seconds?", sentence)) else clock
        subject = colors[0] if colors else subject
        if "hits the floor" in sentence:
            touches.append((clock, subject, "floor"))
            bounces += re.findall(r"bounces to about (.*) of its", sentence)
        elif re.search(r"collides with|bumps into|runs into|strikes", sentence):
            touches.append((clock, colors[-2] if len(colors) > 1 else subject, colors[-1]))
        elif "starts higher than" in sentence or "starts lower than" in sentence:
            higher = tuple(colors) if "higher" in sentence else tuple(reversed(colors))
    fixed = bool(re.search(r"stands still and|fixed camera|does not move", text))
    return Facts(things, side, first, touches, bounces, fixed, higher)


def tell(family: str, seed: int):
    scene, played = _play(family, seed, 16, 25.0, None, None, 0)
    camera = camera_of(played.model)
    backdrop = name_backdrop(played.model)
    text = describe_at_length(scene.things, played.trajectory, camera, scene.gravity, backdrop, scene.wording)
    return scene, played, text


@pytest.fixture(scope="module")
def told():
    return [tell(family, seed) for family in FAMILIES for seed in range(100)]


def blows_of(scene, trajectory):
    """Order of the touches from the states alone: where a velocity jumps by more than a fall explains."""
    velocity, dt = trajectory.velocity[0].numpy(), float(trajectory.dt[0])
    found = []
    for contact_time, pair in zip(
        trajectory.contacts[0].time.tolist(), trajectory.contacts[0].bodies.tolist(), strict=True
    ):
        body = max(pair) if min(pair) < 0 else pair[0]
        frame = int(contact_time / dt - 1e-4)
        axis = 2 if min(pair) < 0 else 0
        before = velocity[frame, body, axis] - (GRAVITY * (contact_time - frame * dt) if axis == 2 else 0.0)
        other = velocity[frame, pair[1], 0] if axis == 0 else 0.0
        if contact_time > 0.02 and (abs(before - other) > 0.4):
            names = [scene.things[body].color, "floor" if min(pair) < 0 else scene.things[pair[1]].color]
            found.append((contact_time, *names))
    return found


def test_every_fact_is_read_back(told):
    for scene, _, text in told:
        facts, balls = parse(text), scene.things
        assert facts.things == [(ball.color, ball.material) for ball in balls], text
        if len(balls) == 2:
            assert facts.row == "from left to right" and balls[0].position[0] < balls[1].position[0]
        first = {"drop": ("fall", "falls"), "bounce": ("flies",), "collide": ("slides",)}[scene.family]
        assert facts.first in first, text
        said = [float(speed) for speed in re.findall(r"at about (\S+) meters? per second", text)]
        speeds = [float(torch.tensor(ball.velocity).norm()) for ball in balls]
        assert said == pytest.approx([speed for speed in speeds if speed], abs=0.051), text
        assert facts.fixed
        if facts.higher:
            heights = {ball.color: ball.position[2] for ball in balls}
            assert heights[facts.higher[0]] > heights[facts.higher[1]], text


def test_touches_come_in_order_and_in_time(told):
    several = 0
    for scene, played, text in told:
        said, clear = parse(text).touches, blows_of(scene, played.trajectory)
        times = [time for time, *_ in said]
        assert times == sorted(times) and said, text
        real = [
            (time, {scene.things[body].color if body >= 0 else "floor" for body in pair})
            for time, pair in zip(
                played.trajectory.contacts[0].time.tolist(),
                played.trajectory.contacts[0].bodies.tolist(),
                strict=True,
            )
        ]
        names = [(time, {one, other}) for time, one, other in said]
        for time, pair in names:  # nothing is told that did not happen
            assert any(pair == both and abs(at - time) < 0.051 for at, both in real), text
        for time, one, other in clear:  # every clear blow is told, within the rounding, in this order
            near = [abs(at - time) < 0.051 and pair == {one, other} for at, pair in names]
            assert any(near), text
            names = names[near.index(True) + 1 :]
        several += len(clear) > 1
    assert several > 70


def test_heights_of_bounces_follow_the_material(told):
    said = {material: [] for material in RESTITUTION}
    for scene, _, text in told:
        if len(scene.things) == 1:
            said[scene.things[0].material] += parse(text).bounces
    assert {*said["rubber"]} <= {"two thirds", "three quarters"} and len(said["rubber"]) > 10
    assert {*said["wooden"]} <= {"a quarter", "a third"} and len(said["wooden"]) > 20


def test_collisions_say_where_both_go(told):
    for scene, played, text in told:
        if scene.family == "collide":
            frame = int(played.trajectory.contacts[0].time[2] * 25) + 2
            for index, ball in enumerate(scene.things):
                speed = float(played.trajectory.velocity[0, min(frame, 15), index, 0])
                way = re.search(
                    rf"the {ball.color} ball (?:moves (?:\w+ )?to the (\w+)|(stands) still)", text
                )
                if abs(speed) > 0.15:
                    assert way.group(1) == ("right" if speed > 0 else "left"), text


def test_the_words_are_the_same_each_time_and_leave_the_prompt_alone(told):
    for scene, _, text in told[::30]:
        before = describe(scene)
        assert tell(scene.family, scene.seed)[2] == text and describe(scene) == before
        assert not text.startswith(before)


def test_grammar(told):
    for _, _, text in told:
        assert "  " not in text and " ," not in text and ",," not in text and text.endswith(".")
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text), text
        assert not re.search(r"\b(\w+) \1\b", text), text
        for sentence in re.split(r"(?<=\.) ", text):
            assert sentence[0].isupper() and sentence.count(".") <= 1 + len(re.findall(r"\d\.\d", sentence))


def test_words_vary(told):
    texts = [text for *_, text in told]
    sentences = [s for text in texts for s in re.split(r"(?<=\.) ", text)]
    assert len({*texts}) == len(texts) == 300
    assert len({*sentences}) > 0.45 * len(sentences)
    shapes = {re.sub(rf"{'|'.join([*COLORS, *RESTITUTION])}|\d\.?\d?", "_", s) for s in sentences}
    assert len(shapes) > 150


@dataclass(frozen=True)
class Thing:
    color: str
    material: str
    shape: str


def still_scene(things, positions, extent=0.1):
    """Things that hang where they are, without gravity, seen from the front."""
    frames, count = 4, len(things)
    position = torch.tensor(positions, dtype=torch.float64).expand(1, frames, count, 3)
    zero = torch.zeros_like(position)
    contacts = Contacts(torch.zeros(0), torch.zeros(0, 2).long(), *(torch.zeros(0, 3),) * 2, torch.zeros(0))
    trajectory = Trajectory(
        position,
        torch.tensor([1.0, 0, 0, 0]).expand(1, frames, count, 4),
        zero,
        zero,
        torch.ones(1, count),
        torch.as_tensor(extent, dtype=torch.float64).expand(1, count, 3),
        torch.ones(1, frames, count, dtype=torch.bool),
        torch.tensor([0.04]),
        (contacts,),
    )
    camera = Camera(
        torch.tensor([[0.0, -12.0, 1.0]]),
        torch.tensor([[[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]]),
        torch.tensor([20.0]),
    )
    return describe_at_length(things, trajectory, camera, 0.0, "a white wall", 3)


def test_many_things_of_other_shapes():
    box, can = Thing("red", "wooden", "box"), Thing("blue", "", "cylinder")
    egg = Thing("orange", "rubber", "ellipsoid")
    text = still_scene((can, box, egg), [[0.5, 0, 1], [-0.5, 0, 1], [0, 0, 1]])
    listed = "a red wooden box, an orange rubber ellipsoid and a blue cylinder"
    assert f"three objects from left to right: {listed}" in text
    assert "all of them are at rest." in text
    row = still_scene((box,) * 8, [[0.25 * i - 0.9, 0, 1] for i in range(8)])
    assert "eight red wooden boxes in a row from left to right" in row
    stack = still_scene((box, can), [[0, 0, 1.5], [0, 0, 1]])
    assert re.search(r"two objects: a blue cylinder below and a red wooden box above\.", stack)
    depth = still_scene((box, can), [[0, 1, 1], [0, 0, 1]])
    assert re.search(r"a blue cylinder in front and a red wooden box behind\.", depth)


def test_things_that_look_alike_are_counted_from_one_side():
    box = Thing("red", "wooden", "box")
    things = box, Thing("blue", "", "ball"), box
    places = [[-0.5, 0, 1], [0, 0, 1], [0.5, 0, 1]]
    text = still_scene(things, places, extent=[[0.1] * 3, [0.1] * 3, [0.2] * 3])
    assert "The second red wooden box from the left is the largest" in text
    balls = Thing("red", "wooden", "ball"), Thing("red", "rubber", "ball")
    pair = still_scene(balls, [[-1, 0, 1], [1, 0, 1.5]])
    assert "red rubber ball starts higher" in pair or "red wooden ball starts lower" in pair


def test_an_mjcf_is_named_as_its_scene_is(told):
    for scene, played, _ in told[::10]:
        named = [(thing.color, thing.material, thing.shape) for thing in name_things(played.model)]
        assert named == [(ball.color, ball.material, "ball") for ball in scene.things]
        assert re.fullmatch(r"a (white|light gray) wall and a gray floor", name_backdrop(played.model))


def test_names_that_do_not_fit_are_refused(told):
    scene, played, _ = told[0]
    with pytest.raises(ValueError, match=r"a name for every object; got 1 clips of 2 objects and 0 names\."):
        describe_at_length((), played.trajectory, camera_of(played.model), GRAVITY, "", 0)
