import pytest
import torch

from tests.metrics.test_sound import rings
from worldgen.metrics.paired_sound import SoundChange, change_rows, compare_sounds


def test_changes_of_time_pitch_and_level_are_read_back():
    first, second = rings((0.2, 0.1), pitch=600.0), rings((0.4, 0.2), pitch=1200.0)
    found = compare_sounds(first, second)
    assert found.time == pytest.approx(1.0, abs=0.02)
    assert found.pitch == pytest.approx(1.0, abs=0.02)
    assert found.level == pytest.approx(6.02, abs=0.2)
    same = compare_sounds(first, first)
    assert (same.time, same.pitch, same.level) == (0, 0, 0)


def test_silence_is_no_pair():
    assert compare_sounds(rings((0.2, 0.1)), torch.zeros(16_000)) is None
    rows = change_rows([None, None], SoundChange(0, 1, 0))
    assert rows[0].value == 0 and all(row.value is None for row in rows[1:])


def test_rows_say_what_must_be_and_how_wrong_it_is():
    found = [SoundChange(0.0, value, 6.0) for value in (0.9, 1.0, 1.1)]
    rows = {row.name: row for row in change_rows(found, SoundChange(0.0, 1.0, 3.0))}
    assert rows["change of pitch"].value == pytest.approx(1.0)
    assert "wrong by 0.067" in rows["change of pitch"].note
    assert "must be 3.000; wrong by 3.000" in rows["change of level"].note
