"""Graded violations: broken as much as they say, with frames, masks, depth and truth that agree."""

from dataclasses import replace

import pytest
import torch

from tests.simulation.violations.films import PENDULUM, film, hung, pixels_only, rise, swing, violations
from worldgen.data.batching import stack_clips
from worldgen.metrics.checks.assess import assess
from worldgen.simulation.clips import simulate_clip
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
    reverse,
    shuffle,
    slow_motion,
    swap,
    teleport,
    vanish,
)
from worldgen.types import GRAVITY, Clip, Trajectory

EXAMPLES = (("drop", 1), ("bounce", 2), ("collide", 1))


def named(family: str, seed: int, name: str) -> list[Violation]:
    return [violation for violation in violations(family, seed) if violation.name == name]


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
