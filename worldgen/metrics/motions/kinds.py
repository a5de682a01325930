"""Kinds of motion: which one a stretch of a track is, by how well each fits it.

A law holds for its own kind only. A pendulum, a wheel and a braking car break no law of falling: nothing says
that they fall. So a stretch is a flight where a parabola with its acceleration downward explains it, or where
it claims to be one (it falls, or bends down) and nothing else explains it: then what is left over is a fault.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import least_squares

from worldgen.physics.laws import acceleration_noise, fit_parabola

Kind = Literal["flight", "swing", "circle", "straight", "even", "driven"]
WORDS: dict[Kind, str] = {
    "flight": "flies",
    "swing": "swings",
    "circle": "goes round",
    "straight": "slides, rolls or brakes along a line",
    "even": "moves evenly",
    "driven": "is carried or driven",
}
CLOSE = 0.015
"""Share of a path's range that it may stray from a parabola (limit of `ballistic_residual`)."""
_STEEP, _DOWN = np.cos(np.radians(15)), np.cos(np.radians(30))
_STRAIGHT = 0.004
_CIRCLE = 0.01
_SWING = 0.03
"""Shares of the range that a path may stray from another kind."""
_LEAST_ARC = np.radians(40)
_CLAIM = 0.5
"""Share of what is left of an even motion that a parabola explains, at least, in what claims to fly."""
_AT_REST = 0.25
"""Speed at the ends, over the greatest, of what is carried from rest to rest."""
_SHAKE = 0.01
"""Share of a path's range that noise may have, at most: more is motion."""
_LEAST_REST = 3
_MEDIAN_OFF = 1.177
"""Median distance from the center in the plane, for noise 1 of each coordinate."""
_FREQUENCIES = 40


def find_kind(path: Float[np.ndarray, "T 3"], sigma: float, free: bool) -> Kind:
    """What kind of motion a smooth path is.

    Args:
        path: T >= 6 places, equally spaced in time, any unit, z up.
        sigma: Noise of one coordinate, at least; what the path's own scatter shows if that is more.
        free: Whether it is known that nothing touches it: then it flies unless it clearly swings or goes
            round.
    """
    span = float(np.linalg.norm(np.ptp(path, axis=0)))
    noise = _noise(path, sigma, span)
    fit = fit_parabola(torch.from_numpy(path), 1.0)
    strayed = _rms(fit.residual.numpy())
    close = strayed <= max(CLOSE * span, 2 * noise)
    if close and free:
        return "flight"
    if not close:
        if _swings(path, noise, span, strayed):
            return "swing"
        if _goes_round(path, noise, span):
            return "circle"
        if free:
            return "flight"
    pull = fit.acceleration.numpy()
    size = float(np.linalg.norm(pull))
    bent = size * (len(path) - 1) ** 2 / 8  # farthest from the chord
    if close and (bent < 0.01 * span or size < 4 * acceleration_noise(len(path), 1.0, noise)):
        return "even"
    if _is_straight(path, noise, span) and not _is_steep(path):
        return "straight"
    sinks = sinks_straight(path)  # whatever goes straight down, faster or slower, claims to fall
    downward = -pull[2] >= _DOWN * size - acceleration_noise(len(path), 1.0, noise)
    if close or sinks:
        return "flight" if downward or sinks else "driven"
    uneven = _rms(_detrended(path))
    claimed = downward and strayed**2 < (1 - _CLAIM) * uneven**2
    return "flight" if claimed and not _from_rest_to_rest(path) else "driven"


def sinks_straight(path: Float[np.ndarray, "T 3"]) -> bool:
    """Whether a path leads down, and to the side by no more than 15 degrees."""
    return _is_steep(path) and bool(path[-1, 2] < path[0, 2])


def find_support(path: Float[np.ndarray, "T 3"], sigma: float) -> int:
    """Samples at the beginning in which a path is a straight line that does not fall: a table, ramp or rail.

    0 where there are fewer than six, and where the whole path is.
    """
    noise = _noise(path, sigma, float(np.linalg.norm(np.ptp(path, axis=0))))
    stops = np.arange(6, len(path) - 3)
    if not len(stops):
        return 0
    span = np.linalg.norm(np.maximum.accumulate(path) - np.minimum.accumulate(path), axis=1)[stops - 1]
    # Every head's scatter from sums over its places: one pass for all of them.
    moved = path - path[0]
    mean = np.cumsum(moved, axis=0)[stops - 1] / stops[:, None]
    square = np.cumsum(moved[:, :, None] * moved[:, None], axis=0)[stops - 1] / stops[:, None, None]
    share, axes = np.linalg.eigh(square - mean[:, :, None] * mean[:, None])  # rising
    off = np.sqrt(share[:, :2].clip(min=0).sum(axis=1))
    straight = np.logical_and.accumulate(off <= np.maximum(2 * noise, _STRAIGHT * span))
    last = int(straight.sum()) - 1
    return 0 if last < 0 or abs(axes[last, 2, 2]) > _STEEP else int(stops[last])


def find_rests(
    position: Float[np.ndarray, "T 3"], usable: Bool[np.ndarray, " T"], sigma: float = 0.0
) -> Bool[np.ndarray, " T"]:
    """Frames in which a thing lies or hangs still, before it is released or after it has landed.

    At the top of a throw a thing stands still, too, but one parabola runs through before and after; from
    rest to flight the acceleration jumps.

    Args:
        position: Any unit.
        usable: Frames in which the place is known.
        sigma: Noise of one coordinate, at least.
    """
    still = np.zeros(len(position), dtype=bool)
    for start, stop in runs_of(usable):
        path = position[start:stop]
        span = float(np.linalg.norm(np.ptp(path, axis=0)))
        noise = max(_noise(path, sigma, span), 5e-5 * span)
        boxes = _Boxes(path)
        waiting = [(0, len(path))]
        while waiting:
            low, high = waiting.pop()
            if high - low < _LEAST_REST:
                continue
            first, last, off, own = _grow_stillness(path, boxes, low, high, noise)
            inner = first > 0 and last < len(path)  # between two motions it takes more to be a stillness
            if last - first < _LEAST_REST + 2 * inner:
                continue
            near = np.flatnonzero(off <= 3 * own)
            if not len(near):  # nothing of it is where it is said to rest
                continue
            first, last = first + int(near[0]), first + int(near[-1]) + 1
            back = len(path) - last, len(path) - first
            if (
                _breaks(path, first, last, own)
                and _breaks(path[::-1], *back, own)
                and not _is_bent(path[first:last], noise)
                and not _stops_in_the_air(path, first, last)
            ):
                still[start + first : start + last] = True
            waiting += [(low, first), (last, high)]
    return still


def scatter_noise(path: Float[np.ndarray, "T 3"], frames: Int[np.ndarray, " T"] | None = None) -> float:
    """Noise of one coordinate from fourth differences, which smooth motion lacks.

    ``sqrt(mean d^2 / 70)`` for consecutive frames, divided differences for others. The median over frames, so
    that a few kinks do not count; 0 for fewer than 6 frames.

    Args:
        path: Places, any unit.
        frames: In which they were seen, growing; consecutive ones when None.
    """
    if len(path) < 6:
        return 0.0
    moving = path[:, np.ptp(path, axis=0) > 1e-9 * max(float(np.abs(path).max()), 1e-12)]
    if frames is None or frames[-1] - frames[0] == len(path) - 1:
        fourth = np.diff(moving, n=4, axis=0) / 70**0.5
    else:
        near = np.lib.stride_tricks.sliding_window_view(frames.astype(float), 5)  # (T - 4, 5)
        apart = near[:, :, None] - near[:, None] + np.eye(5)
        share = 1 / apart.prod(axis=2)
        share /= np.linalg.norm(share, axis=1, keepdims=True)
        windows = np.lib.stride_tricks.sliding_window_view(moving, 5, axis=0)  # (T - 4, D, 5)
        fourth = np.einsum("tdw,tw->td", windows, share)
    if not fourth.size:
        return 0.0
    return 1.4826 * float(np.median(np.abs(fourth)))


def runs_of(usable: Bool[np.ndarray, " T"]) -> list[tuple[int, int]]:
    """Maximal runs ``(start, stop)`` of frames that are True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], usable.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _noise(path: Float[np.ndarray, "T 3"], sigma: float, span: float) -> float:
    """What a path may stray without meaning; a zigzag is no noise, so its own scatter counts in part only."""
    return max(sigma, min(scatter_noise(path), _SHAKE * span))


def _grow_stillness(
    path: Float[np.ndarray, "T 3"], boxes: _Boxes, low: int, high: int, noise: float
) -> tuple[int, int, Float[np.ndarray, " K"], float]:
    """The longest stillness in ``low:high``, how far its places are from their middle, and its own noise.

    Fourth differences of a few frames tell the noise badly, so the stillness is found again with its own.
    """
    own = noise
    first, last = boxes.find_longest(low, high, 8 * own)
    for _ in range(3):
        off = np.linalg.norm(path[first:last] - np.median(path[first:last], axis=0), axis=1)
        own = max(noise, min(float(np.median(off)) / _MEDIAN_OFF, 2.5 * noise))
        first, last = boxes.find_longest(low, high, 8 * own)
    return first, last, np.linalg.norm(path[first:last] - np.median(path[first:last], axis=0), axis=1), own


class _Boxes:
    """The boxes that runs of a path's frames fill.

    A path of which one stillness after the other is taken has few lengths of them (of n frames less than
    ``sqrt(2 n)``), so the boxes of all runs of one length are kept.
    """

    def __init__(self, path: Float[np.ndarray, "T 3"]) -> None:
        self._tops, self._bottoms = [path], [path]  # of runs of 1, 2, 4, ... frames
        self._diagonals: dict[int, Float[np.ndarray, " R"]] = {}

    def find_longest(self, low: int, high: int, reach: float) -> tuple[int, int]:
        """The longest run within ``low:high`` whose places lie within ``reach``, and the first of such.

        Each part of a run that fits does so, too: the length is found bit by bit.
        """
        first, size, square = low, 0, reach**2
        for bit in reversed(range((high - low).bit_length())):
            longer = size + (1 << bit)
            if longer > high - low:
                continue
            fits = self._squared_diagonals(longer)[low : high - longer + 1] <= square
            if fits.any():
                first, size = low + int(fits.argmax()), longer
        return first, first + size

    def _squared_diagonals(self, size: int) -> Float[np.ndarray, " R"]:
        """Of the box of each run of ``size`` frames, by its first."""
        if size not in self._diagonals:
            level = size.bit_length() - 1
            for runs, fold in ((self._tops, np.maximum), (self._bottoms, np.minimum)):
                for done in range(len(runs), level + 1):
                    half = 1 << (done - 1)
                    runs.append(fold(runs[-1][:-half], runs[-1][half:]))
            tops, bottoms, rest = self._tops[level], self._bottoms[level], size - (1 << level)
            stop = len(tops) - rest
            sides = np.maximum(tops[:stop], tops[rest:]) - np.minimum(bottoms[:stop], bottoms[rest:])
            self._diagonals[size] = np.square(sides).sum(axis=1)
        return self._diagonals[size]


def _breaks(path: Float[np.ndarray, "T 3"], first: int, last: int, noise: float) -> bool:
    """Whether no parabola runs from the stillness into what comes after it; True where nothing does."""
    after = path[last : last + 8]
    if len(after) < 3:
        return True
    before = path[max(first, last - 30) : last]
    one = np.square(_left_over(np.concatenate([before, after]))).sum()
    two = np.square(before - before.mean(axis=0)).sum() + np.square(_left_over(after)).sum()
    return float(one - two) > 24 * noise**2


def _is_bent(path: Float[np.ndarray, "T 3"], noise: float) -> bool:
    """Whether a short stillness is a turning point: far more of it is a parabola than noise makes."""
    if len(path) < 4:
        return False  # a parabola through three places is no evidence
    still = np.square(path - path.mean(axis=0)).sum()
    return float(still - np.square(_left_over(path)).sum()) > 60 * noise**2


def _stops_in_the_air(path: Float[np.ndarray, "T 3"], first: int, last: int) -> bool:
    """Whether it comes straight down into a stillness and goes straight down from there: nothing held it."""
    before, after = path[max(first - 4, 0) : first + 1], path[last - 1 : last + 4]
    steps = [part[-1] - part[0] for part in (before, after) if len(part) > 3]
    return len(steps) == 2 and all(-step[2] > _STEEP * float(np.linalg.norm(step)) > 0 for step in steps)


def _left_over(path: Float[np.ndarray, "T 3"]) -> Float[np.ndarray, "T 3"]:
    return fit_parabola(torch.from_numpy(path.copy()), 1.0).residual.numpy()


def _rms(strayed: Float[np.ndarray, "T D"]) -> float:
    return float(np.sqrt(np.square(strayed).sum(axis=1).mean()))


def _detrended(path: Float[np.ndarray, "T 3"]) -> Float[np.ndarray, "T 3"]:
    time = np.arange(len(path)) - (len(path) - 1) / 2
    centered = path - path.mean(axis=0)
    return centered - np.outer(time, time @ centered) / np.square(time).sum()


def _is_straight(path: Float[np.ndarray, "T 3"], noise: float, span: float) -> bool:
    centered = path - path.mean(axis=0)
    off = np.linalg.svd(centered, compute_uv=False)[1:]
    return float(np.linalg.norm(off)) / len(path) ** 0.5 <= max(2 * noise, _STRAIGHT * span)


def _is_steep(path: Float[np.ndarray, "T 3"]) -> bool:
    """Whether it goes up and down, give or take 15 degrees."""
    centered = path - path.mean(axis=0)
    return abs(float(np.linalg.svd(centered, full_matrices=False)[2][0, 2])) > _STEEP


def _from_rest_to_rest(path: Float[np.ndarray, "T 3"]) -> bool:
    speed = np.linalg.norm(np.diff(path, axis=0), axis=1)
    return max(speed[0], speed[-1]) < _AT_REST * speed.max()


def _swings(path: Float[np.ndarray, "T 3"], noise: float, span: float, strayed: float) -> bool:
    """Whether a damped oscillation with an overtone, about a place or along a line, is what it does.

    It turns round twice at least, and nine tenths of a period are seen; one and a half where it also drifts.
    """
    limit = min(max(_SWING * span, 3 * noise), strayed / 3)
    for drift, least in ((False, 0.9), (True, 1.5)):
        moved = _detrended(path) if drift else path - path.mean(axis=0)
        along = moved @ np.linalg.svd(moved, full_matrices=False)[2][0]
        if len(path) < 12 or count_turns(along) < 2 + drift:
            continue
        rest, periods = _fit_oscillation(path, drift)
        if periods >= least and rest <= limit:
            return True
    return False


def count_turns(along: Float[np.ndarray, " T"]) -> int:
    """Turning points: how often the coordinate changes direction, by more than a twentieth of its range."""
    turns, extreme, direction = 0, along[0], 0.0
    least = 0.05 * float(np.ptp(along))
    for value in along[1:]:
        if direction == 0 and abs(value - extreme) > least:
            direction = np.sign(value - extreme)
        if direction * (value - extreme) >= 0:
            extreme = value if direction else extreme
        elif abs(value - extreme) > least:
            turns, direction, extreme = turns + 1, -direction, value
    return turns


def _fit_oscillation(path: Float[np.ndarray, "T 3"], drift: bool) -> tuple[float, float]:
    """Root mean square distance from the best damped oscillation, and how many periods of it are seen."""
    time = np.arange(len(path), dtype=float)

    def left(found: Float[np.ndarray, " 2"]) -> Float[np.ndarray, "T 3"]:
        envelope, phase = np.exp(np.clip(-found[0] * time, -30, 30)), found[1] * time
        waves = [envelope * np.cos(phase), envelope * np.sin(phase)]
        waves += [envelope**2 * np.cos(2 * phase), envelope**2 * np.sin(2 * phase)]
        basis = np.stack([np.ones_like(time), *waves, *([time] if drift else [])], axis=1)
        axes = np.linalg.qr(basis)[0]
        return path - axes @ (axes.T @ path)

    grid = np.geomspace(np.pi / len(path), 0.25 * np.pi, _FREQUENCIES)
    start = grid[int(np.argmin([_rms(left(np.array([0.0, omega]))) for omega in grid]))]
    fit = least_squares(
        lambda found: left(found).ravel(), (0.0, start), x_scale=1 / len(path), xtol=1e-8, max_nfev=30
    )
    return _rms(left(fit.x)), abs(float(fit.x[1])) * (len(path) - 1) / (2 * np.pi)


def _goes_round(path: Float[np.ndarray, "T 3"], noise: float, span: float) -> bool:
    """Whether it keeps its distance from a point: on a rod, a hinge, a wheel, at whatever pace.

    An upright parabola through the same places must fit worse: else it may be a bad throw.
    """
    centered = path - path.mean(axis=0)
    plane = centered @ np.linalg.svd(centered, full_matrices=False)[2][:2].T  # (T, 2)
    solved = np.linalg.lstsq(
        np.column_stack([2 * plane, np.ones(len(plane))]), np.square(plane).sum(axis=1), rcond=None
    )[0]
    start = (*solved[:2], max(solved[2] + float(np.square(solved[:2]).sum()), 1e-12) ** 0.5)

    def off(circle: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " T"]:
        return np.linalg.norm(plane - circle[:2], axis=1) - circle[2]

    circle = least_squares(off, start, max_nfev=30).x
    left = float(np.sqrt(np.square(off(circle)).mean()))
    angle = np.unwrap(np.arctan2(plane[:, 1] - circle[1], plane[:, 0] - circle[0]))
    if np.ptp(angle) < _LEAST_ARC or left > max(_CIRCLE * span, 2 * noise):
        return False
    if np.ptp(angle) > np.pi:
        return True
    across = centered @ _sideways(centered)
    if float(np.ptp(across)) < 0.1 * span:
        return False
    across = across / float(np.ptp(across))
    basis = np.column_stack([np.ones_like(across), across, across**2])
    bent = np.linalg.lstsq(basis, centered[:, 2], rcond=None)[0]
    slope = (bent[1] + 2 * bent[2] * across) / float(np.ptp(centered @ _sideways(centered)))
    arch = (centered[:, 2] - basis @ bent) / np.sqrt(1 + slope**2)
    return left < float(np.sqrt(np.square(arch).mean())) / 1.5


def _sideways(centered: Float[np.ndarray, "T 3"]) -> Float[np.ndarray, " 3"]:
    """Main horizontal direction."""
    flat = centered * np.array([1.0, 1.0, 0.0])
    return np.linalg.svd(flat, full_matrices=False)[2][0]
