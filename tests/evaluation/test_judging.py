"""Clips are judged in the order in which they came, and each costs itself alone."""

import gc
import weakref

import pytest
import torch

from worldgen.data.crew import Crew
from worldgen.evaluation import judging
from worldgen.evaluation.cases import HeldOut
from worldgen.evaluation.judging import Judging
from worldgen.simulation.clips import simulate_clip
from worldgen.types import Clip


class Seen:
    """An encoder's view that notes what it is shown."""

    def __init__(self):
        self.pairs = []

    def add(self, truth, made):
        self.pairs.append((truth.prompts, float(made.frames.mean())))


def darker(clip):
    return Clip(clip.frames * 0.9, clip.fps, clip.prompts, camera=clip.camera, scenes=clip.scenes)


def test_numbers_of_a_clip_are_kept_and_its_frames_are_not():
    view = Seen()
    work = Judging(Crew(1, "worldgen"), 2, perceived=lambda made, true: (made - true).abs().max(), view=view)
    frames = []
    for seed in (3, 4):
        one = HeldOut(f"drop-{seed}", "drop", simulate_clip("drop", seed, size=32))
        made = darker(one.clip)
        frames += [weakref.ref(one.clip.frames), weakref.ref(made.frames)]
        view.expected = [*getattr(view, "expected", []), (one.clip.prompts, float(made.frames.mean()))]
        work.submit(one, made, one.clip, None, False, None)
    del one, made
    assert len(work) == 2 and all(frame() is not None for frame in frames)
    work.take()
    work.take()
    gc.collect()
    assert len(work) == 0 and not any(frame() is not None for frame in frames)
    assert view.pairs == view.expected
    for kept, seed in zip(work.judged, (3, 4), strict=True):
        truth = simulate_clip("drop", seed, size=32)
        assert kept.family == "drop" and kept.found.case.name == f"drop-{seed}"
        assert torch.equal(kept.truth.states.position, truth.truth.position)
        assert (kept.truth.height, kept.truth.width) == (32, 32)
        assert kept.lpips == pytest.approx(0.1 * float(truth.frames[:, 2:].max()), abs=1e-5)


def test_a_clip_that_fails_is_seen_by_nobody_and_a_killed_process_ends_it_all(monkeypatch):
    def broken(one, *_):
        raise ChildProcessError("killed") if one.name == "b" else ZeroDivisionError("by its speed")

    monkeypatch.setattr(judging, "judge_clip", broken)
    view = Seen()
    work = Judging(Crew(1, "worldgen"), 1, view=view)
    clip = simulate_clip("drop", 1, size=16, frames=4)
    for name in ("a", "b"):
        work.submit(HeldOut(name, "drop", clip), clip, clip, None, False, None)
    work.take()
    assert work.failed == [("a", "checking failed (ZeroDivisionError: by its speed)")]
    assert (work.judged, view.pairs) == ([], [])
    with pytest.raises(ChildProcessError, match="killed"):
        work.take()
