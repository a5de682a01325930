"""Graded violations: broken as much as they say, with frames, masks, depth and truth that agree."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from worldgen.data.batching import stack_clips
from worldgen.metrics.checks.assess import assess
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.engine import model_of, mujoco
from worldgen.simulation.rendering.film import camera_of
from worldgen.simulation.rendering.render import film_states
from worldgen.simulation.violations.graded import (
    CONTEXT_FRAMES,
    GRADES,
    LOOKS,
    NotViolable,
    Violation,
    change_gravity,
    duplicate,
    freeze,
    gain_energy,
    graded_violations,
    pass_through,
    recolor,
    reverse,
    shuffle,
    slow_motion,
    swap,
    swell,
    teleport,
    vanish,
)
from worldgen.types import GRAVITY, Clip, Contacts, Trajectory

EXAMPLES = (("drop", 1), ("bounce", 2), ("collide", 1))


@cache
def film(family: str, seed: int) -> Clip:
    return simulate_clip(family, seed)


@cache
def violations(family: str, seed: int) -> tuple[Violation, ...]:
    return tuple(graded_violations(film(family, seed)))


def named(family: str, seed: int, name: str) -> list[Violation]:
    return [violation for violation in violations(family, seed) if violation.name == name]


def pixels_only(clip: Clip) -> Clip:
    return replace(clip, truth=None, scenes=None, camera=None)


@pytest.mark.parametrize("grade", (*GRADES, *LOOKS), ids=lambda grade: grade.name)
def test_strength_zero_is_the_clip_itself(grade):
    clip = film("collide", 1)
    same = grade.apply(clip, 0.0)
    for field in ("frames", "depth", "masks"):
        assert torch.equal(getattr(same, field), getattr(clip, field))
    assert torch.equal(same.truth.position, clip.truth.position) and same.scenes == clip.scenes


def test_every_violation_is_made_somewhere():
    made = {violation.name for example in EXAMPLES for violation in violations(*example)}
    assert made == {"original", *(grade.name for grade in GRADES)}
    original = violations("bounce", 2)[0]
    assert original.valid and original.clip is film("bounce", 2)
    assert not any(violation.valid for violation in violations("bounce", 2)[1:])
    assert not named("bounce", 2, "swap") and not named(
        "collide", 1, "strong gravity"
    )  # it rests on the floor


@pytest.mark.parametrize("family, seed", EXAMPLES)
def test_frames_masks_and_depth_are_those_of_the_truth(family, seed):
    for violation in violations(family, seed):
        clip = violation.clip
        footage = film_states(clip.truth, clip.scenes, 64, clip.camera)
        torch.testing.assert_close(footage.frames, clip.frames, rtol=0, atol=1.5 / 255)
        assert (footage.masks != clip.masks).float().mean() < 1e-5, violation.name
        torch.testing.assert_close(footage.depth, clip.depth, rtol=0, atol=1e-4)
        where = clip.camera.project(clip.truth.position, 64, 64)[0]
        y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
        radius = 26 * clip.truth.extent[0, :, 0]  # pixels, about
        whole = clip.truth.present[0] & ((where - 31.5).abs().amax(dim=-1) < 31 - radius)
        whole &= clip.masks[0].sum(dim=(-2, -1)) > 0.9 * torch.pi * radius**2  # nobody before it
        assert whole.any()
        for frame, number in whole.nonzero().tolist():
            mask = clip.masks[0, frame, number]
            found = torch.stack([x[mask].mean(), y[mask].mean()])
            torch.testing.assert_close(found, where[frame, number], rtol=0, atol=0.6)
        gone = ~clip.truth.present[0]
        assert not clip.masks[0][gone].any()


@pytest.mark.parametrize("family, seed", EXAMPLES)
def test_known_frames_are_shared_to_the_bit(family, seed):
    clip = film(family, seed)
    for violation in violations(family, seed):
        known = violation.context_frames
        if violation.name == "reversed" and violation.strength == 1:
            assert known < CONTEXT_FRAMES  # the one that starts at the end
            continue
        assert known >= CONTEXT_FRAMES, violation
        assert torch.equal(violation.clip.depth[:, :known], clip.depth[:, :known])
        count = clip.masks.shape[2]
        assert torch.equal(violation.clip.masks[:, :known, :count], clip.masks[:, :known])
        assert torch.equal(violation.clip.truth.position[:, :known, :count], clip.truth.position[:, :known])
        assert not torch.equal(violation.clip.frames[:, known:], clip.frames[:, known:]) or not known < 16
        assert violation.clip.truth.contacts is None or violation.valid


def test_controls_are_deterministic():
    for first, second in zip(violations("bounce", 2), graded_violations(film("bounce", 2)), strict=True):
        assert torch.equal(first.clip.frames, second.clip.frames), first.name
        assert (first.name, first.strength, first.context_frames) == (
            second.name,
            second.strength,
            second.context_frames,
        )


def rise(values: list[float], least: float) -> None:
    assert len(values) == 3 and values[0] > least, values
    assert values[0] < values[1] < values[2], values


def shift_of(violation: Violation, clip: Clip) -> float:
    return float((violation.clip.truth.position - clip.truth.position).norm(dim=-1).mean())


@pytest.mark.parametrize(
    "family, seed, name",
    [
        ("bounce", 2, "frozen"),
        ("bounce", 2, "slow motion"),
        ("bounce", 2, "teleport"),
        ("bounce", 2, "energy gain"),
        ("bounce", 2, "pass-through"),
        ("drop", 1, "weak gravity"),
        ("drop", 1, "shuffled"),
        ("collide", 1, "energy gain"),
        ("collide", 1, "pass-through"),
        ("collide", 1, "swap"),
    ],
)
def test_a_stronger_violation_moves_bodies_further(family, seed, name):
    rise([shift_of(violation, film(family, seed)) for violation in named(family, seed, name)], 0.001)


def test_stronger_means_more_frames_or_bodies():
    clip = film("bounce", 2)
    gone = [(~c.clip.truth.present[0, :, 0]).nonzero()[:, 0].tolist() for c in named("bounce", 2, "vanish")]
    there = [c.clip.truth.present[0, :, 1].nonzero()[:, 0].tolist() for c in named("bounce", 2, "duplicate")]
    assert gone == there == [[5, 6], [5, 6, 7, 8], [5, 6, 7, 8, 9, 10, 11, 12]]
    backward = [
        (c.clip.truth.velocity[..., 0].sign() != clip.truth.velocity[..., 0].sign()).sum().item()
        for c in named("bounce", 2, "reversed")
    ]
    assert backward == [4, 7, 16]  # at one half time turns around in the middle


def flight_of(clip: Clip, known: int) -> int:
    """Frames before the first touch."""
    return known + int(
        (clip.truth.position[0, known:, 0, 2] > clip.truth.extent[0, 0, 2] + 0.02).long().cumprod(0).sum()
    )


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0, -1.0])
def test_other_gravity_is_exactly_that_fall(factor):
    clip = film("drop", 3)
    fallen = change_gravity(clip, factor)
    start, stop = CONTEXT_FRAMES - 1, flight_of(fallen, CONTEXT_FRAMES)
    assert stop > CONTEXT_FRAMES + 2
    time = (torch.arange(16) - start).double()[start:stop] * 0.04
    states = clip.truth.position[0, start, 0].double(), clip.truth.velocity[0, start, 0].double()
    expected = states[0][2] + states[1][2] * time - 0.5 * factor * GRAVITY * time**2
    torch.testing.assert_close(
        fallen.truth.position[0, start:stop, 0, 2].double(), expected, rtol=0, atol=2e-6
    )
    report = assess(fallen.truth, clip="x", source="truth", reference=clip.truth)
    assert report["free_fall"].value == pytest.approx(abs(factor - 1), abs=0.01)


def test_slow_motion_is_the_same_motion_later():
    clip, twice = film("bounce", 2), slow_motion(film("bounce", 2), 2.0)
    late = twice.truth.position[0, CONTEXT_FRAMES - 1 :: 2]  # every second frame, from the last known one
    torch.testing.assert_close(
        late, clip.truth.position[0, CONTEXT_FRAMES - 1 :][: len(late)], rtol=0, atol=2e-4
    )
    pace = twice.truth.velocity[0, CONTEXT_FRAMES + 1 :: 2, 0, 0]
    torch.testing.assert_close(
        pace, clip.truth.velocity[0, CONTEXT_FRAMES : CONTEXT_FRAMES + len(pace), 0, 0] / 2
    )
    report = assess(slow_motion(film("drop", 1), 2.0).truth, clip="x", source="truth")
    assert report["free_fall"].value == pytest.approx(0.75, abs=0.02)  # 1 - 1 / 2^2


@pytest.mark.parametrize("excess", [0.1, 0.5])
def test_bodies_leave_an_impact_faster_than_they_met(excess):
    clip = film("drop", 1)
    broken = gain_energy(clip, excess).truth
    for number in range(broken.position.shape[2]):
        height = broken.position[0, :, number, 2] - broken.extent[0, number, 2]
        speed = (broken.velocity[0, :, number, 2].square() + 2 * GRAVITY * height.clamp(min=0)).sqrt()
        rising = (broken.velocity[0, :, number, 2] > 0) & (height > 0.05)
        first = int(rising.long().argmax())
        assert rising.any()
        assert float(speed[first] / speed[0]) == pytest.approx(1 + excess, rel=0.03)
    clip = film("collide", 1)
    broken = gain_energy(clip, excess).truth
    before, after = broken.velocity[0, 0, :, 0], broken.velocity[0, -1, :, 0]
    assert float(after[1] - after[0]) == pytest.approx((1 + excess) * float(before[0] - before[1]), rel=0.03)
    torch.testing.assert_close(
        (broken.mass[0] * after).sum(), (broken.mass[0] * before).sum(), rtol=0, atol=2e-3
    )


def overlap(truth: Trajectory) -> float:
    gap = (truth.position[0, :, 0] - truth.position[0, :, 1]).norm(dim=-1) - truth.extent[0, :, 0].sum()
    return float(-gap.min() / truth.extent[0, :, 0].min())


def test_bodies_pass_through_each_other_and_keep_their_momentum():
    clip = film("collide", 1)
    through = pass_through(clip, 1.0).truth
    torch.testing.assert_close(
        through.velocity[..., 0], clip.truth.velocity[:, :1, :, 0].expand(1, 16, 2), rtol=0, atol=1e-6
    )
    heights = through.position[..., 2]
    torch.testing.assert_close(heights, heights[:, :1].expand_as(heights), rtol=0, atol=1e-3)  # floors hold
    assert overlap(clip.truth) < 0.15 and overlap(through) > 1.0
    for share in (0.25, 0.5):
        partly = pass_through(clip, share).truth
        assert share - 0.1 < overlap(partly) < share + 0.15  # the deepest that frames catch
        assert (partly.position[..., 2] > heights[:, :1] - 0.01).all()
    fall = pass_through(film("drop", 1), 1.0).truth
    start = film("drop", 1).truth.position[0, 0, 0, 2]
    time = torch.arange(16) * 0.04
    torch.testing.assert_close(fall.position[0, :, 0, 2], start - 0.5 * GRAVITY * time**2, rtol=0, atol=1e-5)


def test_the_floor_gives_way_as_far_as_it_should():
    clip = film("drop", 1)
    radius = clip.truth.extent[0].min()
    for share in (0.25, 0.5):
        truth = pass_through(clip, share).truth
        lowest = (truth.position[0, :, 0, 2] - truth.extent[0, 0, 2]).min()
        assert -share * radius - 0.06 < lowest < -0.5 * share * radius


@pytest.mark.parametrize(
    "family, seed, name, check, most",
    [
        ("bounce", 1, "weak gravity", "free_fall", 0.2),
        ("drop", 3, "strong gravity", "free_fall", 0.2),
        ("bounce", 1, "slow motion", "free_fall", 0.2),
        ("bounce", 2, "slow motion", "trajectory_error", 0.8),
        ("bounce", 2, "reversed", "energy_gain", 0.6),
        ("bounce", 1, "energy gain", "energy_gain", 0.3),
        ("bounce", 2, "shuffled", "chord_energy", 0.3),
        ("bounce", 2, "teleport", "chord_energy", 0.3),
        ("bounce", 2, "frozen", "motion", 0.6),
        ("bounce", 2, "vanish", "permanence", 0.3),
        ("bounce", 2, "duplicate", "permanence", 0.3),
        ("collide", 1, "swap", "chord_energy", 0.3),
        ("collide", 1, "pass-through", "trajectory_error", 0.8),
        ("drop", 1, "pass-through", "trajectory_error", 0.8),
    ],
)
def test_the_check_that_theory_names_catches_it(family, seed, name, check, most):
    clip = film(family, seed)
    worst, truth = named(family, seed, name)[-1].clip.truth, clip.truth
    expected, comparable = truth.present[0], truth.position.shape == worst.position.shape
    if not comparable:
        expected = torch.cat([expected, torch.zeros_like(expected[:, :1])], dim=1)

    def score(states: Trajectory) -> float:
        reference = truth if states.position.shape == truth.position.shape else None
        wanted = expected[:, : states.position.shape[2]]
        return assess(states, clip="x", source="truth", reference=reference, expected=wanted)[check].score

    sound = score(truth)
    assert sound > 0.85 and score(worst) < min(most, sound), (sound, score(worst))


def test_what_moves_aside_stays_in_view_and_clear_of_others():
    for seed in range(6):
        clip = film("collide", seed)
        for broken in (duplicate(clip), teleport(clip, 0.1)):
            shown = broken.masks[0].sum(dim=(-2, -1))
            assert (shown[broken.truth.present[0]] > 0).all()
        truth = duplicate(clip).truth
        gaps = (truth.position[0, 5:9, 2:] - truth.position[0, 5:9, :2]).norm(dim=-1)
        assert (gaps > truth.extent[0, 2, 0] + truth.extent[0, :2, 0] - 0.01).all()
        assert torch.equal(truth.extent[:, 2], truth.extent[:, 0]) and truth.position.shape[2] == 3


def test_swapped_objects_stand_where_the_other_stood():
    clip = film("collide", 1)
    truth, old = swap(clip, 0.25).truth, clip.truth
    torch.testing.assert_close(truth.position[0, 5:9, 0, :2], old.position[0, 5:9, 1, :2])
    torch.testing.assert_close(
        truth.position[0, 5:9, :, 2] - truth.extent[0, :, 2],
        (old.position[0, 5:9, :, 2] - old.extent[0, :, 2]).flip(-1),
    )
    assert torch.equal(truth.position[0, 9:], old.position[0, 9:])


def test_a_batch_is_its_clips():
    clips = [film("bounce", 2), film("bounce", 3)]
    batch = stack_clips(clips)
    for violation in (
        lambda clip: change_gravity(clip, 0.0),
        lambda clip: pass_through(clip, 0.5),
        vanish,
        teleport,
        duplicate,
        reverse,
    ):
        together, apart = violation(batch), [violation(clip) for clip in clips]
        for item in range(2):
            assert torch.equal(together.frames[item], apart[item].frames[0])
            assert torch.equal(together.truth.position[item], apart[item].truth.position[0])


def test_clips_without_a_scene_are_cut_and_pasted():
    clip = film("bounce", 2)
    bare = pixels_only(clip)
    gone = vanish(bare, 0.25)
    true = vanish(clip, 0.25)
    assert not gone.masks[0, 5:9].any() and torch.equal(gone.frames[:, 9:], clip.frames[:, 9:])
    assert (gone.frames - true.frames).abs()[:, 5:9].mean() < 0.004  # its shadow stays
    jumped = teleport(bare, 0.25)
    assert (jumped.masks != teleport(clip, 0.25).masks).float().mean() < 0.01
    slowed = slow_motion(bare, 2.0)
    assert torch.equal(
        slowed.frames[:, CONTEXT_FRAMES - 1 :: 2], clip.frames[:, CONTEXT_FRAMES - 1 : CONTEXT_FRAMES + 7]
    )
    made = [violation.name for violation in graded_violations(bare)]
    assert set(made) == {"original", "reversed", "shuffled", "frozen", "slow motion", "teleport", "vanish"}


def test_time_turns_around_where_it_stands():
    clip = film("bounce", 2)
    turned = reverse(clip, 0.25)
    assert torch.equal(turned.frames[:, :12], clip.frames[:, :12])
    assert torch.equal(turned.frames[:, 12:], clip.frames[:, 7:11].flip(1))
    torch.testing.assert_close(turned.truth.velocity[:, 12:], -clip.truth.velocity[:, 7:11].flip(1))
    assert torch.equal(reverse(reverse(clip)).frames, clip.frames)
    frozen = freeze(clip, 0.25, CONTEXT_FRAMES)
    assert torch.equal(frozen.frames[:, 11:], clip.frames[:, 11:12].expand(1, 5, 3, 64, 64))
    assert not frozen.truth.velocity[:, 11:].any() and frozen.truth.velocity[:, :11, 0, 0].all()
    order = shuffle(clip, seed=1, share=0.5, context_frames=CONTEXT_FRAMES)
    assert sorted(order.truth.position[0, :, 0, 0].tolist()) == sorted(
        clip.truth.position[0, :, 0, 0].tolist()
    )
    assert torch.equal(order.frames[:, :CONTEXT_FRAMES], clip.frames[:, :CONTEXT_FRAMES])


PENDULUM = """<mujoco><option timestep=".002" integrator="RK4"/><worldbody>
<light pos="0 -3 30"/><camera pos="0 -12 1" xyaxes="1 0 0 0 0 1" fovy="12"/>
<body pos="0 0 2"><joint type="hinge" axis="0 1 0"/><geom type="sphere" size=".15" pos="0 0 -1"/></body>
<body pos=".8 0 1"><joint type="slide" axis="0 0 1"/><geom type="box" size=".1 .1 .1"/></body>
</worldbody></mujoco>"""


def swing(gravity: float, start: list[float], speed: list[float], frames: int = 10) -> Trajectory:
    model = model_of(PENDULUM)
    model.opt.gravity[:] = 0, 0, -gravity
    data, states = mujoco.MjData(model), []
    data.qpos[:], data.qvel[:] = start, speed
    for frame in range(frames):
        if frame:
            mujoco.mj_step(model, data, 20)
        mujoco.mj_forward(model, data)
        motion = np.empty((2, 6))
        for number in range(2):
            mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_BODY, number + 1, motion[number], 0)
        states.append((data.xipos[1:].copy(), data.xquat[1:].copy(), motion[:, 3:], motion[:, :3]))
    position, rotation, velocity, spin = (
        torch.tensor(np.stack(part)[None], dtype=torch.float32) for part in zip(*states, strict=True)
    )
    none = Contacts(*(torch.zeros(shape) for shape in ((0,), (0, 2), (0, 3), (0, 3), (0,))))
    return Trajectory(
        position, rotation, velocity, spin, torch.ones(1, 2), torch.full((1, 2, 3), 0.1),
        torch.ones(1, frames, 2, dtype=torch.bool), torch.tensor([0.04]), (none,),
    )  # fmt: skip


def hung(truth: Trajectory) -> Clip:
    footage = film_states(truth, (PENDULUM,), 32)
    return Clip(
        footage.frames, torch.tensor([25.0]), ("",), depth=footage.depth, masks=footage.masks,
        camera=camera_of(model_of(PENDULUM)), truth=truth, scenes=(PENDULUM,),
    )  # fmt: skip


def test_bodies_on_hinges_and_slides_are_simulated_again():
    clip = hung(swing(GRAVITY, [0.7, 0.2], [0.3, 0.5]))
    heavy = change_gravity(clip, 4.0, context_frames=1)
    expected = swing(4 * GRAVITY, [0.7, 0.2], [0.3, 0.5])
    torch.testing.assert_close(heavy.truth.position, expected.position, rtol=0, atol=1e-4)
    torch.testing.assert_close(heavy.truth.velocity, expected.velocity, rtol=0, atol=1e-3)
    assert (heavy.truth.position - clip.truth.position).abs().max() > 0.2
    position = clip.truth.position.clone()
    position[:, 1:5] += 1e-4  # what is known stays, though the scene leads elsewhere by a hair
    clip = replace(clip, truth=replace(clip.truth, position=position))
    late = change_gravity(clip, 4.0, context_frames=5)
    assert torch.equal(late.truth.position[:, :5], clip.truth.position[:, :5])
    assert torch.equal(late.frames[:, :5], clip.frames[:, :5])


def test_a_body_that_only_turns_is_seen_to_turn():
    clip = film("bounce", 2)
    angle = 0.1 * torch.arange(16.0)
    rotation = torch.zeros(1, 16, 1, 4)
    rotation[0, :, 0, 0], rotation[0, :, 0, 2] = (angle / 2).cos(), (angle / 2).sin()
    position = clip.truth.position[:, :1].expand(1, 16, 1, 3)
    spinning = replace(clip, truth=replace(clip.truth, position=position, rotation=rotation))
    made = {violation.name for violation in graded_violations(spinning)}
    assert {"reversed", "shuffled", "frozen"} < made
    still = replace(spinning, truth=replace(spinning.truth, rotation=clip.truth.rotation))
    assert "frozen" not in {violation.name for violation in graded_violations(still)}


def test_bad_arguments_are_named():
    clip, bare = film("bounce", 2), pixels_only(film("bounce", 2))
    for call, sentence in (
        (lambda: reverse(clip, 0.7), r"share must lie in \[0, 0.5\] or be 1; got 0.7"),
        (lambda: shuffle(clip, share=1.5), r"share must lie in \[0, 1\]; got 1.5"),
        (lambda: freeze(clip, -0.5), r"share must lie in \[0, 1\]; got -0.5"),
        (lambda: teleport(clip, 1.0), r"share must lie in \[0, 1\) of the image width; got 1"),
        (lambda: vanish(clip, 0.9), r"share must lie in \[0, 2/3\] of the clip's frames; got 0.9"),
        (lambda: pass_through(clip, -1.0), r"share must lie in \[0, 1\]; got -1"),
        (
            lambda: gain_energy(clip, -0.1),
            "excess must not be negative; got -0.1. Losing energy breaks no law",
        ),
        (lambda: change_gravity(clip, float("nan")), "factor must be a finite number; got nan"),
        (lambda: slow_motion(clip, 0.0), "factor must be positive; got 0"),
        (
            lambda: change_gravity(clip, 0.5, context_frames=17),
            r"context_frames must lie in \[1, 16\] frames; got 17",
        ),
        (lambda: next(graded_violations(stack_clips([clip, clip]))), "takes one clip; got 2. Select one"),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()
    ball_joint = PENDULUM.replace('type="hinge" axis="0 1 0"', 'type="ball"')
    hanging = hung(swing(GRAVITY, [0.1, 0.0], [0.0, 0.0]))
    uncaught = replace(clip, truth=replace(clip.truth, contacts=None))
    two = replace(clip, scenes=film("collide", 1).scenes)
    narrow = replace(clip, frames=clip.frames[..., :32], depth=None, masks=None)
    for call, sentence in (
        (lambda: change_gravity(bare, 0.5), "needs Clip.scenes and Clip.truth; the clip lacks them"),
        (lambda: duplicate(bare), "needs Clip.scenes and Clip.truth"),
        (lambda: vanish(replace(bare, masks=None)), "vanish needs masks"),
        (lambda: teleport(replace(bare, masks=None)), "teleport needs masks"),
        (lambda: swap(clip), "swap needs two objects"),
        (lambda: pass_through(uncaught, 0.5), "needs contacts"),
        (lambda: change_gravity(simulate_clip("drop", 1, 16, gravity=4.0), 0.5), "they miss them by"),
        (lambda: change_gravity(simulate_clip("drop", 1, 16, gravity=0.0), 0.5), "they miss them by"),
        (lambda: teleport(replace(clip, camera=None)), "needs the clip's camera"),
        (lambda: change_gravity(replace(hanging, scenes=(ball_joint,)), 0.5), "one free, hinge or slide"),
        (lambda: change_gravity(two, 0.5), "this one has 2 and 0 soft"),
        (lambda: teleport(narrow), "in square frames; got 64 x 32"),
    ):
        with pytest.raises(NotViolable, match=sentence):
            call()
    weightless = hanging.scenes[0].replace("<option ", '<option gravity="0 0 0" ')
    with pytest.raises(NotViolable, match="needs a world with gravity"):
        change_gravity(replace(hanging, scenes=(weightless,)), 0.5)


def test_a_recolored_ball_ends_in_the_color_of_a_scene_that_has_it():
    clip = film("collide", 1)
    model = model_of(clip.scenes[0])
    geom = model.body_geomadr[model.jnt_bodyid[0]]
    old = model.geom_rgba[geom, :3].copy()
    other = clip.scenes[0].replace(_rgba(old), _rgba((old + 0.5) % 1), 1)
    expected = film_states(clip.truth, (other,), 64, clip.camera).frames
    made = recolor(clip)
    torch.testing.assert_close(made.frames[:, -1], expected[:, -1], rtol=0, atol=1e-6)
    half = recolor(clip, 0.5).frames[:, -1]
    torch.testing.assert_close(half, (expected + clip.frames)[:, -1] / 2, rtol=0, atol=1e-6)
    change = (made.frames - clip.frames).abs().sum(dim=(2, 3, 4))[0]
    assert not change[:5].any() and (change[6:].diff() > 0).all()
    assert made.truth is clip.truth and made.masks is clip.masks and made.depth is clip.depth


def _rgba(color) -> str:
    return 'rgba="' + " ".join(f"{value:.4g}" for value in color)


def test_a_swollen_ball_covers_as_much_more_as_its_square():
    clip = film("collide", 1)
    areas = clip.masks[0, :, 0].sum(dim=(-2, -1)).double()
    made = swell(clip, 0.5)
    grown = made.masks[0, :, 0].sum(dim=(-2, -1)).double() / areas
    assert (grown[:5] == 1).all() and (grown[5:].diff() >= 0).all()
    torch.testing.assert_close(grown[-1].item(), 1.5**2, rtol=0.08, atol=0)
    torch.testing.assert_close(grown[10].item(), (1 + 0.5 * 6 / 11) ** 2, rtol=0.08, atol=0)
    assert made.truth is clip.truth and made.depth[0, -1].sum() < clip.depth[0, -1].sum()  # it comes nearer


@pytest.mark.parametrize("grade", LOOKS, ids=lambda grade: grade.name)
def test_looks_change_after_the_known_frames_and_more_with_strength(grade):
    clip = film("bounce", 2)
    broken = list(graded_violations(clip, (grade,)))[1:]
    assert [one.strength for one in broken] == list(grade.strengths)
    assert all(
        one.context_frames >= CONTEXT_FRAMES and torch.equal(one.clip.frames[:, :5], clip.frames[:, :5])
        for one in broken
    )
    rise([float((one.clip.frames - clip.frames).abs().mean()) for one in broken], 1e-5)
    assert not any(torch.equal(one.clip.frames[:, -1], clip.frames[:, -1]) for one in broken)


def test_what_looks_refuse():
    clip = film("bounce", 2)
    with pytest.raises(NotViolable, match="needs Clip.scenes and Clip.truth"):
        recolor(pixels_only(clip))
    with pytest.raises(NotViolable, match="needs Clip.scenes and Clip.truth"):
        swell(pixels_only(clip))
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\]; got 1.5"):
        recolor(clip, 1.5)
    with pytest.raises(ValueError, match="share must be at least 0; got -0.5"):
        swell(clip, -0.5)
