"""Physics-IQ: where, when and how much a generated video moves, beside a real one, and the scores made of it.

Four numbers per pair (Motamed et al. 2025, arXiv:2501.09038, section 3): spatial, spatiotemporal and weighted
spatial overlap of motion masks, and the mean square error of pixels; "physical variance" is the same four
between two real takes. `physics_iq_score` is the score of 2025, `verified_score` that of Physics-IQ Verified
(arXiv:2606.18943), `stable_score` the third one of the official code.

Read the four apart. Two of them collapse time, so played backward or in random order a clip keeps them: such
clips beat every model on the official leaderboards. Only the spatiotemporal overlap notices.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float, UInt8

from worldgen.metrics.physics_iq.mask_codec import Mpeg4
from worldgen.metrics.physics_iq.motion_masks import iterate_masks
from worldgen.metrics.physics_iq.resize import shrink, shrink_mask

_SHRINK = 4
"""Videos are compared at this fraction of the real one's size."""
_EPSILON = 1e-8
_LIST_DIGITS, _VARIANCE_DIGITS, _SPATIAL_DIGITS = 4, 4, 5


@dataclass(frozen=True)
class Closeness:
    """How alike two videos are."""

    spatial: float
    """In [0, 1], like the other two overlaps; 1 is best."""
    spatiotemporal: tuple[float, ...]
    """One per frame."""
    weighted_spatial: float
    mse: tuple[float, ...]
    """One per frame, of values in [0, 1]; 0 is best."""

    @property
    def mean_spatiotemporal(self) -> float:
        return float(np.mean(self.spatiotemporal))

    @property
    def mean_mse(self) -> float:
        return float(np.mean(self.mse))


@dataclass(frozen=True)
class View:
    """One scenario from one side: generated, and filmed twice."""

    scenario: str
    view: str
    first: Closeness
    """Generated beside the first take: what is scored."""
    second: Closeness
    """Generated beside the second take: in the official table, but in no score."""
    variance: Closeness
    """The two takes beside each other."""


@dataclass(frozen=True)
class Moment:
    """A frame as it is compared."""

    frame: UInt8[np.ndarray, "h w 3"]
    mask: UInt8[np.ndarray, "h w"]


def watch(
    frames: Iterable[UInt8[np.ndarray, "H W 3"]],
    size: tuple[int, int] | None = None,
    masks: Iterable[UInt8[np.ndarray, "H W"]] | None = None,
    codec: Mpeg4 | None = None,
    rate: float = 30.0,
) -> Iterator[Moment]:
    """Frames and motion masks at the size of comparison, one after the other; memory for a few frames only.

    Args:
        frames: 8-bit RGB.
        size: Rows and columns; a quarter of the frames' own when None.
        masks: Masks, 0 to 255, that are already known; made here when None.
        codec: What masks that are made here pass through, as the official ones do; nothing when None.
        rate: Frames per second, for the codec.
    """
    kept: deque[UInt8[np.ndarray, "H W 3"]] = deque()

    def handed_on() -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        for frame in frames:
            kept.append(frame)
            yield frame

    if masks is None:
        masks = (mask * np.uint8(255) for mask in iterate_masks(handed_on()))
        masks = masks if codec is None else codec.pass_through(masks, rate)
        pairs = ((kept.popleft(), mask) for mask in masks)
    else:
        pairs = zip(frames, masks, strict=False)
    for frame, mask in pairs:
        size = size or quarter(frame.shape[:2])
        yield Moment(shrink(frame, size), shrink_mask(mask, size))


def quarter(shape: tuple[int, ...]) -> tuple[int, int]:
    """Size at which videos of this shape (H W) are compared."""
    return max(shape[0] // _SHRINK, 1), max(shape[1] // _SHRINK, 1)


class Comparison:
    """Two videos, watched side by side: memory for the counts of moving frames, whatever their length."""

    def __init__(self) -> None:
        self._counts: np.ndarray | None = None
        self._overlaps: list[float] = []
        self._errors: list[float] = []

    def add(self, one: Moment, two: Moment) -> None:
        """The next frame of both.

        Raises:
            ValueError: Frames of different size.
        """
        if one.frame.shape != two.frame.shape:
            raise ValueError(f"Frames must have one size; got {one.frame.shape} and {two.frame.shape}.")
        if self._counts is None:
            self._counts = np.zeros((2, *one.mask.shape), np.int32)
        self._overlaps.append(_ratio(*_meet(one.mask, two.mask, self._counts)))
        self._errors.append(_square_difference(one.frame, two.frame) / (one.frame.size * 255.0**2))

    @property
    def frames(self) -> int:
        return len(self._errors)

    def closeness(self) -> Closeness:
        """What came out.

        Raises:
            ValueError: No frame was compared.
        """
        if self._counts is None:
            raise ValueError("A comparison needs at least one frame of both videos; got none.")
        return Closeness(
            spatial=_overlap(*(self._counts > 0)),
            spatiotemporal=tuple(self._overlaps),
            weighted_spatial=_ratio(*_counts_overlap(*self._counts)),
            mse=tuple(self._errors),
        )


def physics_iq_raw(views: Sequence[View]) -> float:
    """The original score before it is clipped: about 1 for a real take, and no bound above.

    ``(ST/vST + S/vS + WS/vWS) / 3 - (MSE - vMSE)``, each term a mean over frames, views and scenarios before
    anything is divided, with the official roundings: lists to 4 digits, variances to 4 (S to 5).

    Raises:
        ValueError: No views, or real takes that never overlap.
    """
    own, variance = _own(views), _rounded_variances(views)
    return _combine(own / np.where(_IS_OVERLAP, variance, 1), own[3] - variance[3])


def physics_iq_score(views: Sequence[View]) -> float:
    """The score of 2025 in [0, 100]: 100 for as close as a second take, or closer; see `physics_iq_raw`."""
    return round(min(max(100 * physics_iq_raw(views), 0.0), 100.0), 2)


def stable_score(views: Sequence[View]) -> float:
    """The original score in [0, 1] with each of its four terms clipped to [0, 1] before they are combined."""
    own = _own(views)
    variance = _mean_of_groups((view.scenario, view.variance) for view in views)
    _require_overlap(variance)
    shares = np.clip(own / np.where(_IS_OVERLAP, variance, 1), 0, 1)
    return float(np.clip(_combine(shares, np.clip(own[3] - variance[3], 0, 1)), 0, 1))


def verified_score(views: Sequence[View]) -> float:
    """Physics-IQ Verified in [0, 1]: a mean of ratios, view by view.

    ``mean(clip(S/vS), clip(ST/vST), clip(WS/vWS), clip(vMSE/MSE))``, each clipped to [0, 1], variances plus
    1e-8; no error at all scores 1.
    """
    if not views:
        raise ValueError("A Physics-IQ score needs at least one view; got none.")
    scores = []
    for view in views:
        ratio = _four([view.first]) / (_four([view.variance]) + _EPSILON)
        with np.errstate(divide="ignore"):
            scores.append(np.clip(np.where(_IS_OVERLAP, ratio, 1 / ratio), 0, 1).mean())
    return float(np.mean(scores))


_IS_OVERLAP = np.array([True, True, True, False])
"""Order of the four: spatial, spatiotemporal, weighted spatial, error."""


def _four(pairs: Sequence[Closeness]) -> Float[np.ndarray, " 4"]:
    """The four numbers over some pairs, their frames together; lists are rounded as the table is read."""
    times = [round(value, _LIST_DIGITS) for pair in pairs for value in pair.spatiotemporal]
    errors = [round(value, _LIST_DIGITS) for pair in pairs for value in pair.mse]
    spatial = [pair.spatial for pair in pairs]
    weighted = [pair.weighted_spatial for pair in pairs]
    return np.array([np.mean(values) for values in (spatial, times, weighted, errors)])


def _mean_of_groups(pairs: Iterable[tuple[str, Closeness]]) -> Float[np.ndarray, " 4"]:
    """Within each group first, then over the groups."""
    groups: dict[str, list[Closeness]] = defaultdict(list)
    for name, pair in pairs:
        groups[name].append(pair)
    if not groups:
        raise ValueError("A Physics-IQ score needs at least one view; got none.")
    return np.mean([_four(group) for group in groups.values()], axis=0)


def _own(views: Sequence[View]) -> Float[np.ndarray, " 4"]:
    return _mean_of_groups((view.scenario, view.first) for view in views)


def _rounded_variances(views: Sequence[View]) -> Float[np.ndarray, " 4"]:
    means = _mean_of_groups((view.view, view.variance) for view in views)
    digits = (_SPATIAL_DIGITS, _VARIANCE_DIGITS, _VARIANCE_DIGITS, _VARIANCE_DIGITS)
    variance = np.array([round(float(value), count) for value, count in zip(means, digits, strict=True)])
    _require_overlap(variance)
    return variance


def _combine(ratios: Float[np.ndarray, " 4"], error: float) -> float:
    return float((ratios[1] + ratios[0] + ratios[2]) / 3 - error)


def _require_overlap(variance: Float[np.ndarray, " 4"]) -> None:
    if not (variance[:3] > 0).all():
        raise ValueError(
            "A Physics-IQ score divides by the overlap of two real takes, which must not be 0; got "
            f"{variance[:3].tolist()} (spatial, spatiotemporal, weighted). Are these takes of one scene?"
        )


def _overlap(one: np.ndarray, two: np.ndarray) -> float:
    return _ratio(int((one & two).sum()), int((one | two).sum()))


def _counts_overlap(one: np.ndarray, two: np.ndarray) -> tuple[int, int]:
    return int(np.minimum(one, two).sum()), int(np.maximum(one, two).sum())


def _ratio(shared: int, total: int) -> float:
    """Two empty masks agree."""
    return shared / total if total else 1.0


@numba.njit(cache=True, nogil=True)
def _meet(one, two, counts):
    """Pixels that move in both, and in either; each one's moving frames are counted."""
    shared, total = 0, 0
    for y in range(one.shape[0]):
        for x in range(one.shape[1]):
            shared += one[y, x] & two[y, x]
            total += one[y, x] | two[y, x]
            counts[0, y, x] += one[y, x]
            counts[1, y, x] += two[y, x]
    return shared, total


@numba.njit(cache=True, nogil=True)
def _square_difference(one, two):
    total = 0
    for y in range(one.shape[0]):
        for x in range(one.shape[1]):
            for channel in range(one.shape[2]):
                difference = np.int64(one[y, x, channel]) - np.int64(two[y, x, channel])
                total += difference * difference
    return total
