import math

import pytest
import torch

from worldgen.audio.impact import find_impacts, impact_sound
from worldgen.data.waves import RATE
from worldgen.metrics.sound import (
    Blows,
    compare_onsets,
    describe_sound,
    find_onsets,
    measure_ring,
    sync_rows,
)
from worldgen.simulation.clips import simulate_trajectory


def rings(*blows: tuple[float, float], pitch: float = 900.0, seconds: float = 1.0) -> torch.Tensor:
    """Damped tones that begin at the times, as loud as the second numbers."""
    t = torch.arange(round(seconds * RATE)).double() / RATE
    sound = torch.zeros_like(t)
    for time, size in blows:
        since = (t - time).clamp(min=0)
        sound += size * torch.exp(-30 * since) * torch.sin(2 * math.pi * pitch * since) * (t >= time)
    return sound.float()


def test_onsets_are_found_to_the_millisecond_while_others_still_ring():
    found = find_onsets(rings((0.1, 0.2), (0.3, 0.1), (0.45, 0.2), (0.8, 0.05)))
    assert found == pytest.approx([0.1, 0.3, 0.45, 0.8], abs=0.001)


def test_silence_and_a_lasting_tone_have_none():
    assert find_onsets(torch.zeros(RATE)) == []
    assert find_onsets(torch.zeros(10)) == []
    assert len(find_onsets(rings((0.0, 0.2)))) == 1
    assert find_onsets(0.3 * torch.sin(torch.arange(RATE) * 0.3))[1:] == []


@pytest.mark.parametrize("ms", [20, 40, 80])
def test_a_shift_is_read_back(ms):
    blows = Blows((0.1, 0.4, 0.7), (3.0, 1.0, 2.0))
    late = ms / 1000
    found = compare_onsets(rings((0.1 + late, 0.3), (0.4 + late, 0.1), (0.7 + late, 0.2)), blows)
    assert found.shift == pytest.approx(late, abs=0.001)
    assert (found.missed, found.false) == (0, 0)
    assert sorted(zip(found.impulse, found.level, strict=True)) == sorted(
        zip(found.impulse, sorted(found.level, key=lambda one: found.level.index(one)), strict=True)
    )
    assert [found.level[found.impulse.index(impulse)] for impulse in (1.0, 2.0, 3.0)] == sorted(found.level)


def test_misses_and_false_onsets_are_counted_one_to_one():
    found = compare_onsets(rings((0.1, 0.2), (0.16, 0.2), (0.9, 0.2)), Blows((0.1, 0.5), (1.0, 1.0)))
    assert (len(found.offset), found.missed, found.false) == (1, 1, 2)
    nothing = compare_onsets(torch.zeros(RATE), Blows((0.1,), (1.0,)))
    assert (nothing.offset, nothing.missed, nothing.false, nothing.shift) == ((), 1, 0, None)


def test_blows_that_cannot_be_told_apart_are_one():
    assert Blows((0.1, 0.12, 0.3), (1.0, 2.0, 4.0)).heard() == Blows((0.1, 0.3), (3.0, 4.0))


def rows_of(shift: float) -> dict[str, float | None]:
    found = []
    for seed in range(8):
        truth = simulate_trajectory("drop", seed, frames=25)
        impacts = find_impacts(truth, 0)
        blows = Blows(tuple(i.time for i in impacts), tuple(i.impulse for i in impacts))
        late = torch.zeros(round(shift * RATE))
        found.append(compare_onsets(torch.cat([late, impact_sound(truth, 1.0)[0]]), blows))
    return {row.name: row.value for row in sync_rows(found)}


def test_the_rendered_sound_of_simulated_clips_is_in_time_and_as_loud_as_hard():
    rows = rows_of(0.0)
    assert rows["blows heard"] == 1 and rows["false onsets"] == 0
    assert rows["onset error"] < 1 and abs(rows["sound is late by"]) < 1
    assert rows["loudness against impulse"] > 0.8
    late = rows_of(0.16)
    assert late["sound is late by"] == pytest.approx(160, abs=20)
    assert late["blows heard"] < 0.6


def test_nothing_heard_has_no_number():
    rows = {
        row.name: row for row in sync_rows([compare_onsets(torch.zeros(RATE), Blows((0.1,), (1.0,)))] * 3)
    }
    assert rows["onset error"].value is None and rows["onset error"].note == "nothing was heard"
    assert rows["blows heard"].value == 0 and rows["loudness against impulse"].value is None


def test_a_sound_is_described():
    rows = {row.name: row for row in describe_sound(rings((0.1, 0.2), (0.5, 0.2)), [0.11, 0.9])}
    assert rows["onsets of the sound"].value == 2
    assert rows["onsets near contacts"].value == 0.5
    assert rows["clipped samples"].value == 0
    assert describe_sound((5 * rings((0.1, 1.0))).clamp(-1, 1), [])[1].value > 0
    silent = describe_sound(torch.zeros(RATE), [0.1])
    assert silent[0].value is None and silent[0].note == "silence" and len(silent) == 3


def test_a_ring_is_measured():
    ring = measure_ring(rings((0.2, 0.3), (0.6, 0.1), pitch=1200.0))
    assert ring.time == pytest.approx(0.2, abs=0.001)
    assert ring.pitch == pytest.approx(1200, abs=10)
    louder = measure_ring(rings((0.2, 0.6), pitch=1200.0))
    assert louder.level - ring.level == pytest.approx(6.02, abs=0.1)
    assert measure_ring(torch.zeros(RATE)) is None
