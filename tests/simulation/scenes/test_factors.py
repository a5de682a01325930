"""Declared ranges: apart, kept, and with an effect."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from worldgen.simulation.clips import simulate_clip, simulate_trajectory
from worldgen.simulation.engine import model_of, mujoco, object_bodies
from worldgen.simulation.rendering.cameras import MOTIONS
from worldgen.simulation.rendering.lighting import BACKGROUNDS, LIGHTS
from worldgen.simulation.scenes.factors import (
    APPLIES,
    HELD_OUT,
    NAMES,
    TRAIN,
    USUAL,
    Factors,
    check_split,
    draw_count,
    draw_part,
    factors_of,
    stream_of,
)
from worldgen.simulation.scenes.families import COLORS, FAMILIES, Scene, draw_scene
from worldgen.simulation.scenes.staging import restitution_of_damping

SPLITS = [None, "train", "id", *(f"ood:{name}" for name in NAMES)]
SHARES = ("friction", "speed", "size", "count")  # of a family's own range
WORDS = {"color": COLORS, "lighting": LIGHTS, "background": BACKGROUNDS, "camera_motion": MOTIONS}
SEEDS = range(16)


def _measure(scene: Scene, factor: str) -> dict[str, float]:
    """A factor as the compiled model has it, by what it is measured on."""
    model = model_of(scene.spec.to_xml())
    bodies = object_bodies(model)
    geoms = [int(model.body_geomadr[body]) for body in bodies]
    # A box on a ramp starts slower than one on the floor.
    kind = f"{len(scene.setting.stands)}{scene.things[0].shape}"
    if factor == "mass":
        density = [
            model.body_mass[body] / _volume(scene.things[index].shape, scene.things[index].size)
            for index, body in enumerate(bodies)
        ]
        return {"": density[0] / density[-1]} if len(bodies) > 1 else {}
    if factor == "friction":
        return {scene.things[-1].shape: model.geom_friction[geoms[-1], 0]}
    if factor == "restitution":
        stiffness, damping = -model.geom_solref[geoms[0]]
        return {"": restitution_of_damping(damping / 2 / math.sqrt(stiffness))}
    if factor == "gravity":
        return {"": -model.opt.gravity[2]}
    if factor == "speed":
        thing = scene.things[0]
        if scene.family == "tumble":
            return {"": math.hypot(*thing.spin)}
        if scene.family == "dominoes":
            across = math.hypot(thing.size[0], thing.size[2])
            enough = math.sqrt(1.5 * scene.gravity * (across - thing.size[2])) / across
            return {"": abs(thing.spin[1]) / enough}
        thrown = scene.family in ("bounce", "projectile", "topple")
        sideways = (thing.velocity[0],) if thrown else thing.velocity
        return {kind: math.hypot(*sideways)} if any(thing.velocity) else {}
    if factor == "size":
        sizes = {}
        for thing in scene.things:
            for axis in range(3):
                sizes[f"{thing.shape}{axis}"] = thing.size[axis]
        assert all(model.geom_rbound[geom] > 0 for geom in geoms)
        return sizes
    if factor == "count":
        return {kind: len(bodies)}
    if factor == "camera":
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        return {"": math.degrees(math.atan2(data.cam_xpos[0, 0], -data.cam_xpos[0, 1]))}
    assert factor == "light"
    return {"": model.light_pos[0, 0]}


def _volume(shape: str, size: tuple[float, float, float]) -> float:
    return math.prod(size) * {"ball": 4 / 3 * math.pi, "box": 8.0}[shape]


def _measured(family: str, factor: str, split: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for seed in SEEDS:
        for name, value in _measure(draw_scene(family, seed, split=split), factor).items():
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("factor", [name for name in NAMES if name not in WORDS])
def test_a_held_out_factor_is_what_training_never_meets(factor):
    (low, high), (least, most) = getattr(HELD_OUT, factor), getattr(TRAIN, factor)
    below = high < least
    assert below or low >= most  # only the count's parts meet: 1 is one thing more
    for family in APPLIES[factor]:
        train = _measured(family, factor, "train")
        held_out = _measured(family, factor, f"ood:{factor}")
        assert held_out and set(held_out) <= set(train)
        for name, values in held_out.items():
            apart = min(train[name]) - max(values) if below else min(values) - max(train[name])
            assert apart > 1e-6, (family, name)
            assert factor == "count" or len(values) < 4 or len(set(values)) > 1
            if factor not in SHARES:
                assert low - 1e-3 <= min(values) and max(values) <= high + 1e-3
                assert least - 1e-3 <= min(train[name]) and max(train[name]) <= most + 1e-3


def test_held_out_colors_are_not_met_in_training():
    assert not set(TRAIN.color) & set(HELD_OUT.color) and set(TRAIN.color + HELD_OUT.color) == set(COLORS)
    for family in FAMILIES:
        for split, allowed in (("train", TRAIN.color), ("id", TRAIN.color), ("ood:color", HELD_OUT.color)):
            scenes = [draw_scene(family, seed, split=split) for seed in range(8)]
            used = {thing.color for scene in scenes for thing in scene.things}
            assert used <= set(allowed) and used


@pytest.mark.parametrize("factor", WORDS)
def test_words_that_are_held_out_are_all_that_training_never_meets(factor):
    train, held_out = getattr(TRAIN, factor), getattr(HELD_OUT, factor)
    assert not {*train} & {*held_out} and {*train, *held_out} == {*WORDS[factor]}
    if factor != "color":
        for split, allowed in (("train", train), (f"ood:{factor}", held_out)):
            settings = [draw_scene("drop", seed, split=split).setting for seed in range(40)]
            assert {getattr(setting, factor) for setting in settings} == {*allowed}


def test_a_held_out_look_is_seen_and_told(split_clips):
    """Where lamps, walls and cameras are other ones, pixels, truth and words of a clip still agree."""
    plain = split_clips["train"]
    for factor, clip in split_clips.items():
        assert clip.camera.moves == (factor == "camera_motion")
        assert ("patterned wall" in clip.descriptions[0]) == (factor == "background")
        assert " a background" not in clip.descriptions[0]
        pixels = clip.camera.project(clip.truth.position, 64, 64)[0, :, 0]  # (T, 2)
        y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
        seen = clip.masks[0, :, 0]
        centers = torch.stack([torch.stack([x[mask].mean(), y[mask].mean()]) for mask in seen])
        torch.testing.assert_close(pixels, centers, rtol=0, atol=0.5)
        assert factor == "train" or (clip.frames - plain.frames).abs().mean() > 0.01
    model = model_of(split_clips["lighting"].scenes[0])
    assert not np.allclose(model.vis.headlight.ambient, 0.74) and model.nlight == 1


@pytest.fixture(scope="module")
def split_clips():
    factors = ("lighting", "background", "camera_motion")
    return {"train": simulate_clip("bounce", 2, split="train")} | {
        factor: simulate_clip("bounce", 2, split=f"ood:{factor}") for factor in factors
    }


@pytest.mark.parametrize("factor", NAMES)
def test_a_factor_changes_the_families_that_it_is_declared_for_and_no_other(factor):
    changed = set()
    for family, make in FAMILIES.items():
        worlds = []
        for factors in (TRAIN, factors_of(f"ood:{factor}")):
            scene = make(np.random.default_rng(1), factors)
            moved = np.concatenate([[thing.velocity, thing.spin] for thing in scene.things])
            worlds.append((scene.spec.to_xml(), moved.tobytes(), scene.setting.camera_motion))
        if worlds[0] != worlds[1]:
            changed.add(family)
    if factor == "gravity":  # in these it is there, but nothing falls
        changed -= {"collide", "occlude"}
    assert changed == set(APPLIES[factor])


def test_gravity_changes_what_happens_and_not_where_nothing_falls():
    for split, family, moves in (("ood:gravity", "drop", True), ("ood:gravity", "pendulum", True)):
        a, b = (simulate_trajectory(family, 1, split=name) for name in ("train", split))
        assert bool((a.position - b.position).abs().max() > 1e-3) == moves


def test_no_scene_of_one_split_is_in_another():
    streams = [stream_of(split) for split in SPLITS]
    assert len(set(streams)) == len(SPLITS) and stream_of(None) == ()
    texts = [
        draw_scene("bounce", seed, split=split).spec.to_xml()
        for split in ("train", "id", "ood:mass")  # mass changes nothing in bounce: the ranges are the same
        for seed in range(30)
    ]
    assert len(set(texts)) == len(texts)
    assert factors_of("id") == factors_of("train") == TRAIN and factors_of(None) == USUAL == Factors()
    for name in NAMES:
        assert factors_of(f"ood:{name}") == replace(TRAIN, **{name: getattr(HELD_OUT, name)})


def test_ranges_and_parts():
    rng = np.random.default_rng(0)
    inside = [draw_part(rng, 2.0, 4.0, (0.0, 1.0)) for _ in range(300)]
    beyond = [draw_part(rng, 2.0, 4.0, (1.2, 1.5)) for _ in range(300)]
    assert 2.0 <= min(inside) < 2.1 and 3.9 < max(inside) <= 4.0
    assert 4.4 <= min(beyond) < 4.5 and 4.9 < max(beyond) <= 5.0
    assert {draw_count(rng, 3, 5, (0.0, 1.0)) for _ in range(100)} == {3, 4, 5}
    assert {draw_count(rng, 3, 5, (1.0, 1.3)) for _ in range(100)} == {6}
    assert set(APPLIES) == set(NAMES) == {field.name for field in fields(Factors)}
    assert all(set(families) <= set(FAMILIES) for families in APPLIES.values())


def test_a_clip_of_a_split_is_deterministic_and_of_its_split():
    clip, again = (simulate_clip("drop", 5, 24, 6, split="ood:color") for _ in range(2))
    assert clip.frames.equal(again.frames) and ("purple" in clip.prompts[0] or "cyan" in clip.prompts[0])
    assert not clip.frames.equal(simulate_clip("drop", 5, 24, 6, split="train").frames)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: factors_of("test"), "split must be train, id or ood:FACTOR; got 'test'."),
        (
            lambda: draw_scene("drop", 0, split="ood:colour"),
            "the factor of an ood split must be one of mass, friction, .*, camera_motion; got 'colour'.",
        ),
        (
            lambda: check_split("ood:friction", ("drop", "roll")),
            "the factor friction changes nothing in drop, roll; it applies to slide, topple, dominoes. Ask",
        ),
    ],
)
def test_bad_splits_are_named(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
    check_split("ood:friction", ("drop", "slide"))
    check_split(None, ("drop",))
