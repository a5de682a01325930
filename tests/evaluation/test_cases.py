"""A run's report: what was generated is held against MuJoCo that starts as it does."""

import torch

from worldgen.evaluation.cases import HeldOut, observe_truth, present_case, replay_rows, tracker_error
from worldgen.metrics.checks.clip import observe
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.violations.graded import change_gravity


def test_generated_clips_are_replayed_beside_the_truth():
    clips = [simulate_clip("bounce", seed) for seed in (0, 1)]
    held_out = [HeldOut(f"bounce-{k}", "bounce", one) for k, one in enumerate(clips)]
    truths = [observe_truth(one) for one in held_out]
    own = tracker_error(truths)
    assert own is not None and own.clips == 2 and 0 < own.rms < 0.02
    assert own.low is None and own.high is None  # of two clips
    cases = [
        present_case(one, truth, observe(change_gravity(one.clip, 0.3), one.clip, one.name), 2, own=own)
        for one, truth in zip(held_out, truths, strict=True)
    ]
    shown = {item.label: item for item in cases[0].exhibits}
    labels = ["truth", "generated", "frozen (control)", "reversed (control)"]
    assert list(shown) == [*labels, *(f"{label}, replayed" for label in labels)]
    assert [shown[label].report.source for label in labels] == ["readout"] * 4
    replays = [shown[f"{label}, replayed"] for label in labels]
    assert {item.report.source for item in replays} == {"replay"}
    assert [item.is_violation for item in replays] == [False, False, True, True]
    scores = [item.report["replay_error"].score for item in replays]
    assert scores[0] > 0.9 and max(scores[1:]) < 0.3
    # The truth's replay is pictured as the truth itself, what was generated as it should have gone on.
    assert (replays[0].clip.frames - clips[0].frames).abs().mean() < 2e-3
    assert (replays[1].clip.frames - shown["generated"].clip.frames)[:, 8:].abs().mean() > 3e-3
    assert torch.equal(replays[0].tracks.present, shown["truth"].tracks.present)
    tracker, generated = replay_rows(cases, own)
    assert tracker.value == own.rms and tracker.unit == "m"
    assert generated.low is None and generated.value > 10 * own.rms
    assert "n = 2 of 2 clips" in generated.note
    assert replay_rows(cases, None) == [generated]


def test_what_a_screen_hides_is_not_missed_and_its_place_is_not_judged():
    one = HeldOut("occlude-1", "occlude", simulate_clip("occlude", 1))
    case = present_case(one, observe_truth(one), None, 2)
    shown = {item.label: item for item in case.exhibits}
    assert shown["truth"].report["permanence"].value == 1
    for label in ("truth", "truth, replayed"):
        report = shown[label].report
        assert not [check.name for check in report.checks if check.score is not None and check.score < 0.5]
    assert shown["truth, replayed"].report["replay_error"].applies
