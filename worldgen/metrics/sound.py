"""Sound against what is seen: when blows are heard, against when they happen; how loud, against how hard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.data.waves import RATE, loudness
from worldgen.metrics.intervals import jackknife_interval, mean_interval, wilson_interval
from worldgen.metrics.measure import Row

TOLERANCE = 0.1
"""Seconds within which an onset belongs to a blow."""
APART = 0.05
"""Seconds within which two blows are heard as one."""
_HOP = 0.002
_WINDOW = 0.004
_RISE = 4.0
"""dB by which a window is louder than what was heard just before, at an onset."""
_FLOOR = -50.0
"""dB below the loudest window of a sound; what is softer is no onset."""
_QUIETEST = 1e-5
"""Amplitude; below it a sound is silence."""
_REACH = 0.25
"""Seconds in which the offset of a sound is looked for."""


@dataclass(frozen=True)
class Blows:
    """What happens in one clip: times in seconds and impulses in N s, in order of time."""

    time: tuple[float, ...]
    impulse: tuple[float, ...]

    def heard(self) -> Blows:
        """With blows within `APART` of each other as one: the first one's time, and their impulses' sum."""
        times: list[float] = []
        sums: list[float] = []
        for time, impulse in sorted(zip(self.time, self.impulse, strict=True)):
            if times and time - times[-1] < APART:
                sums[-1] += impulse
            else:
                times.append(time)
                sums.append(impulse)
        return Blows(tuple(times), tuple(sums))


@dataclass(frozen=True)
class Synchrony:
    """The onsets of one clip's sound beside its blows."""

    offset: tuple[float, ...]
    """Seconds from each blow that was heard to its onset."""
    missed: int
    false: int
    """Onsets that belong to no blow."""
    shift: float | None
    """Seconds by which the whole sound seems late: the median distance to the nearest onset."""
    impulse: tuple[float, ...]
    level: tuple[float, ...]
    """dB of the onsets that were heard, beside the impulses of their blows."""


def find_onsets(sound: Float[Tensor, " S"], rate: int = RATE) -> list[float]:
    """Times in seconds at which something is struck: the energy rises by `_RISE` dB within a few ms.

    Energy is that of the differenced sound, in which a blow stands out of what still rings; an onset is the
    first sample of the rise that is a tenth as loud as its peak.
    """
    wave = sound.detach().double().cpu().numpy()
    hop, length = max(1, round(_HOP * rate)), max(2, round(_WINDOW * rate))
    if len(wave) < 4 * length or np.abs(wave).max() < _QUIETEST:
        return []
    edges = np.diff(wave, prepend=0.0)
    total = np.concatenate([[0.0], np.cumsum(edges**2)])
    starts = np.arange(0, len(wave) - length + 1, hop)
    level = 10 * np.log10((total[starts + length] - total[starts]) / length + 1e-14)
    back = round(0.03 / _HOP)
    before = np.full(len(level), -140.0)
    for place in range(3, len(level)):
        before[place] = level[max(0, place - back) : place - 2].max()
    rises = (level > before + _RISE) & (level > level.max() + _FLOOR)
    found: list[float] = []
    place = 0
    while place < len(rises):
        if not rises[place]:
            place += 1
            continue
        first, last = starts[place], min(len(wave), starts[place] + length + round(0.01 * rate))
        part = np.abs(wave[first:last])
        time = float(first + int((part >= 0.1 * part.max()).argmax())) / rate
        if not found or time - found[-1] >= APART:
            found.append(time)
        place += round(APART / _HOP)
    return found


def compare_onsets(sound: Float[Tensor, " S"], blows: Blows, rate: int = RATE) -> Synchrony:
    """Each blow with the onset that is nearest, one to one, within `TOLERANCE`."""
    from scipy.optimize import linear_sum_assignment

    blows, onsets = blows.heard(), np.array(find_onsets(sound, rate))
    times = np.array(blows.time)
    if not len(onsets) or not len(times):
        return Synchrony((), len(times), len(onsets), None, (), ())
    apart = onsets[None] - times[:, None]  # (blows, onsets)
    cost = np.where(np.abs(apart) <= TOLERANCE, np.abs(apart), 1e3)
    pairs = [(i, j) for i, j in zip(*linear_sum_assignment(cost), strict=True) if cost[i, j] < 1e3]
    nearest = apart[np.arange(len(times)), np.abs(apart).argmin(axis=1)]
    nearest = nearest[np.abs(nearest) <= _REACH]
    return Synchrony(
        tuple(float(apart[i, j]) for i, j in pairs),
        len(times) - len(pairs),
        len(onsets) - len(pairs),
        float(np.median(nearest)) if len(nearest) else None,
        tuple(blows.impulse[i] for i, _ in pairs),
        tuple(_level(sound, float(onsets[j]), rate) for _, j in pairs),
    )


def sync_rows(clips: Sequence[Synchrony]) -> tuple[Row, ...]:
    """Over clips: errors and offset in ms, hits, false onsets a clip, and loudness against impulse.

    Intervals are over clips. The rank correlation is Spearman's over all blows that were heard.
    """
    offsets = [[1000 * value for value in clip.offset] or [float("nan")] for clip in clips]
    width = max(map(len, offsets), default=1)
    table = np.array([[*row, *[np.nan] * (width - len(row))] for row in offsets])
    hits = sum(len(clip.offset) for clip in clips)
    blows = hits + sum(clip.missed for clip in clips)
    shifts = [1000 * clip.shift for clip in clips if clip.shift is not None]
    late = float(np.median(shifts)) if shifts else None
    pairs = [pair for clip in clips for pair in zip(clip.impulse, clip.level, strict=True)]
    share = _share("blows heard", hits, blows, f"within {1000 * TOLERANCE:.0f} ms")
    low, high = _spearman_interval(clips)
    return (
        share,
        _mean_row("onset error", np.abs(table), "ms", "of what was heard"),
        Row("sound is late by", late, unit="ms", note=f"median of {len(shifts)} clips"),
        _mean_row("false onsets", np.array([[float(clip.false)] for clip in clips]), "a clip", ""),
        Row("loudness against impulse", _spearman(pairs), low, high, note=f"ranks of {len(pairs)} blows"),
    )


def describe_sound(sound: Float[Tensor, " S"], seen: Sequence[float], rate: int = RATE) -> tuple[Row, ...]:
    """What can be said of the sound of anybody's video: loudness, clipping, and onsets near contacts.

    Args:
        sound: Mono.
        seen: Seconds at which velocities jump in the tracks.
        rate: Of the sound.
    """
    onsets, clipped = find_onsets(sound, rate), float((sound.abs() >= 0.999).float().mean())
    level = loudness(sound, rate)
    silent = level == -np.inf
    rows = [
        Row(
            "loudness of the sound", None if silent else level, unit="LUFS", note="silence" if silent else ""
        ),
        Row("clipped samples", 100 * clipped, unit="%"),
        Row("onsets of the sound", float(len(onsets))),
    ]
    if seen and onsets:
        near = sum(min(abs(onset - time) for time in seen) <= TOLERANCE for onset in onsets)
        within = f"within {1000 * TOLERANCE:.0f} ms of a jump of velocity"
        rows.append(_share("onsets near contacts", near, len(onsets), within))
    return tuple(rows)


@dataclass(frozen=True)
class Ring:
    """What can be measured of the first blow of a sound."""

    time: float
    """Seconds."""
    pitch: float
    """Hz of the strongest mode."""
    level: float
    """dB."""


def measure_ring(sound: Float[Tensor, " S"], rate: int = RATE) -> Ring | None:
    """The first blow of a sound up to the next one; None where nothing is struck."""
    onsets = find_onsets(sound, rate)
    if not onsets:
        return None
    end = onsets[1] if len(onsets) > 1 else len(sound) / rate
    part = sound[round(onsets[0] * rate) : round(min(end, onsets[0] + 0.25) * rate)].double()
    if len(part) < 32:
        return None
    fading = torch.hann_window(2 * len(part), dtype=torch.float64)[len(part) :]
    spectrum = torch.fft.rfft(part * fading, n=8 * rate).abs()
    peak = int(spectrum.argmax())
    return Ring(onsets[0], peak / 8, _level(sound, onsets[0], rate))


def _level(sound: Tensor, onset: float, rate: int) -> float:
    """DB of the 30 ms after an onset, above what rang just before."""
    first, step = round(onset * rate), round(0.03 * rate)
    after = sound[first : first + step].double()
    before = sound[max(0, first - step) : first].double()
    power = float(after.square().mean()) - (float(before.square().mean()) if len(before) else 0.0)
    return 10 * float(np.log10(max(power, 1e-12)))


def _share(name: str, count: int, of: int, within: str) -> Row:
    if not of:
        return Row(name, None, note="there are none")
    return Row(name, count / of, *wilson_interval(count / of, of), note=f"{count} of {of}, {within}")


def _mean_row(name: str, table: np.ndarray, unit: str, note: str) -> Row:
    if not np.isfinite(table).any():
        return Row(name, None, unit=unit, note="nothing was heard")
    return Row(name, float(np.nanmean(table)), *mean_interval(table), unit=unit, note=note)


def _spearman(pairs: Sequence[tuple[float, float]]) -> float | None:
    from scipy.stats import spearmanr

    if len(pairs) < 3 or len({impulse for impulse, _ in pairs}) < 2:
        return None
    first, second = zip(*pairs, strict=True)
    found: Any = spearmanr(first, second)
    value = float(found.statistic)
    return value if np.isfinite(value) else None


def _spearman_interval(clips: Sequence[Synchrony]) -> tuple[float | None, float | None]:
    """Over clips, each left out in turn."""
    told = [clip for clip in clips if clip.impulse]
    if len(told) < 3:
        return None, None
    most = max(len(clip.impulse) for clip in told)
    table = np.full((len(told), most, 2), np.nan)
    for row, clip in zip(table, told, strict=True):
        row[: len(clip.impulse)] = list(zip(clip.impulse, clip.level, strict=True))

    def statistic(values: np.ndarray) -> float:
        flat = values.reshape(-1, 2)
        found = _spearman([(float(a), float(b)) for a, b in flat[np.isfinite(flat[:, 0])]])
        return float("nan") if found is None else found

    low, high = jackknife_interval(table, statistic)
    return None if low is None else max(low, -1.0), None if high is None else min(high, 1.0)
