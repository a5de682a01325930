"""Who comes, who goes, and who is taken for another."""

from dataclasses import replace

import pytest
import torch

from tests.metrics.paths import of, path, times
from worldgen.metrics.checks.assess import assess
from worldgen.metrics.checks.permanence import (
    check_births,
    check_constancy,
    check_identity,
    exits,
    segment_objects,
)
from worldgen.metrics.checks.surroundings import read_surroundings
from worldgen.metrics.tracking.colors import track_objects
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.violations.graded import duplicate, swap, vanish


def pixels(x, y, radius=2.0, frames=16):
    return of(path(x, 0.0, -torch.as_tensor(y, dtype=torch.float64), frames), radius=radius, metric=False)


def test_births_and_deaths_are_counted_in_the_open():
    track = pixels(times(16) * 50 + 20, 30.0)
    present = track.present.clone()
    present[:, 4:7] = False
    gone = replace(track, present=present)
    excused = exits(gone, None, 64, 64)
    assert not excused.any()
    check = check_births(gone, excused)
    assert check.value == 2 and check.note == "1 births and 1 deaths" and check.score < 0.1
    assert check_births(track, excused).value == 0
    assert "not known" in check_births(gone, None).note


def test_a_border_and_a_screen_excuse():
    track = pixels(torch.linspace(1, 32, 16, dtype=torch.float64), 30.0)
    excused = exits(track, None, 64, 64)
    assert excused[0, 0] and not excused[-1, 0]
    present = track.present.clone()
    present[:, :1] = False  # comes in over the border
    assert check_births(replace(track, present=present), excused).value == 0
    clip = simulate_clip("occlude", 1)
    world = read_surroundings(clip.scenes[0])
    hidden = clip.masks[0].flatten(2).sum(dim=2) == 0  # (T, N)
    behind = exits(clip.truth, clip.camera, 64, 64, world.screens)
    assert hidden.any() and behind[hidden].all() and not behind.all()
    seen = replace(clip.truth, present=~hidden[None])
    assert check_births(seen, behind).value == 0
    assert check_births(seen, torch.zeros_like(behind)).value == 2


def test_an_exchange_of_places_is_a_swap_and_a_collision_is_none():
    t = times(16)
    left, right = path(-0.5 + t, 0.0, 1.0), path(0.5 - t, 0.0, 1.0)
    passing = of(left, right + torch.tensor([0.0, 0.3, 0.0], dtype=torch.float64))
    assert check_identity(passing).value == 0
    hit = of(path(torch.where(t < 0.38, -0.5 + t, -0.12 - (t - 0.38)), 0.0, 1.0),
             path(torch.where(t < 0.38, 0.5 - t, 0.12 + (t - 0.38)), 0.0, 1.0))  # fmt: skip
    assert check_identity(hit).value == 0
    position = passing.position.clone()
    position[:, 3:12] = position[:, 3:12].flip(2)
    changed = check_identity(replace(passing, position=position))
    assert changed.value == 2 and changed.note == "at frames 3, 12" and changed.score < 0.1
    jumped = passing.position.clone()
    jumped[:, 5:, 0] += 0.6
    assert check_identity(replace(passing, position=jumped)).value == 0  # a teleport is no exchange
    assert "fewer than two objects" in check_identity(of(left)).note


def test_the_controls_of_permanence_are_each_caught():
    clip = simulate_clip("collide", 1)

    def judged(broken):
        states = broken.truth
        return assess(
            states, clip="x", source="truth", excused=torch.zeros_like(states.present[0]),
            expected=None if states.position.shape == clip.truth.position.shape else states.present[0],
        )  # fmt: skip

    assert judged(clip)["births"].value == judged(clip)["identity_swaps"].value == 0
    assert judged(vanish(clip))["births"].value == 2
    assert judged(duplicate(clip))["births"].value == 2
    assert judged(swap(clip))["identity_swaps"].value == 2


def test_looks_are_constant_in_truth_and_change_where_they_are_changed():
    clip = simulate_clip("bounce", 2)
    tracks = track_objects(replace(clip, truth=None), clip)
    area, color = check_constancy(clip, tracks, clip)
    assert area.value < 0.05 and color.value < 0.05
    faded = clip.frames.clone()
    fade = torch.linspace(1, 0.5, 16)[None, :, None, None, None]
    mask = clip.masks.any(dim=2, keepdim=True)
    faded = torch.where(mask, faded * fade, faded)
    dark = replace(clip, frames=faded)
    changed = check_constancy(dark, tracks, clip)[1]
    # A linear fade to one half has the variation sqrt(1/12) 0.5 / 0.75 = 0.19.
    assert changed.value == pytest.approx(0.19, abs=0.06) and changed.score < 0.5
    small = torch.where(
        mask & (torch.arange(64)[:, None] % 3 == 0), clip.frames[:, :1, :, :1, :1], clip.frames
    )
    shrunk = torch.cat([clip.frames[:, :8], small[:, 8:]], dim=1)
    assert check_constancy(replace(clip, frames=shrunk), tracks, clip)[0].value > area.value + 0.05


def test_segments_are_the_masks():
    clip = simulate_clip("collide", 1)
    tracks = track_objects(replace(clip, truth=None), clip)
    found = segment_objects(clip, tracks, clip)
    union = (found | clip.masks).sum().float()
    assert float((found & clip.masks).sum() / union) > 0.85
