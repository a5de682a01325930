"""Frames in which a thing is not seen: no data, and no cut.

Lost frames, a blurred one, a post in front: what flies before and after a short gap is one flight. Contacts
are looked for along a cubic through the places around the gap, flights are fitted to what is seen, at its
times. A contact may hide in a gap; where one parabola does not fit, two with a jump of the velocity between
them may.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import torch
from jaxtyping import Float, Int

from worldgen.metrics.motions.kinds import CLOSE, scatter_noise
from worldgen.physics.laws import ParabolaFit, acceleration_noise, fit_parabola
from worldgen.types import Trajectory

_LONGEST_GAP = 8
"""Frames in a row that may go unseen in one motion: with 45 % lost at random, 2 of 1000 gaps are longer."""
_AROUND = 2
"""Places on each side that a gap is bridged by."""
_LEAST_PART = 4
"""Places on each side of a contact: one more than any parabola fits."""
_WELL_SEEN = 0.75
"""Share of the frames of a bad flight that must be seen: else several contacts may hide in it."""
_JUMP = 3.0
"""Least jump of the velocity at a contact, in what the acceleration changes it by from frame to frame."""


def bridge_gaps(trajectory: Trajectory) -> Trajectory:
    """A trajectory in which what goes unseen for eight frames at most lies on a cubic through its neighbors.

    Present is what is seen or bridged. The places are for finding contacts only: they are no measurement.
    """
    position, present = trajectory.position.clone(), trajectory.present.clone()
    for index in range(position.shape[2]):
        seen = np.flatnonzero(trajectory.present[0, :, index].numpy())
        for last in np.flatnonzero((np.diff(seen) > 1) & (np.diff(seen) <= _LONGEST_GAP + 1)):
            frames = seen[max(last + 1 - _AROUND, 0) : last + 1 + _AROUND]
            if len(frames) < 3:
                continue
            hidden = np.arange(seen[last] + 1, seen[last + 1])
            near = trajectory.position[0, frames, index].double().numpy()
            through = np.polynomial.polynomial.polyfit(frames - hidden[0], near, len(frames) - 1)
            places = np.polynomial.polynomial.polyval(hidden - hidden[0], through).T  # (hidden, 3)
            position[0, hidden, index] = torch.from_numpy(places).to(position)
            present[0, hidden, index] = True
    return replace(trajectory, position=position, present=present)


def cut_at_contacts(
    path: Float[np.ndarray, "K 3"], frames: Int[np.ndarray, " K"], sigma: float
) -> list[Int[np.ndarray, " k"]]:
    """Frames of the flights that one with unseen frames is, where contacts hide in it; else all, or none.

    A contact is where two parabolas fit best that differ by a jump of the velocity (an acceleration that
    changes slowly makes none). It counts if it leaves nothing unexplained. On which side of a gap a contact
    was that ends the path is not known, so that up to three places at each end, a quarter of all, may belong
    to what was before or comes after. What is bad all the same is no flight where a quarter goes unseen.

    Args:
        path: Places that are seen.
        frames: In which they are.
        sigma: Noise of one coordinate, at least.
    """
    if len(frames) <= _LEAST_PART:
        return []
    if frames[-1] - frames[0] == len(frames) - 1:
        return [frames]
    for lost in sorted(product(range(_LEAST_PART), repeat=2), key=sum):
        if sum(lost) > len(frames) // 4:
            break
        inner = slice(lost[0], len(frames) - lost[1])
        parts = _explain(path[inner], frames[inner], sigma)
        if parts is None:
            continue
        fits = [(_fit(path[np.isin(frames, part)], part), part) for part in parts]
        if all(_meet_at_contact(before, after, sigma) for before, after in pairwise(fits)):
            return parts
    return [frames] if len(frames) > _WELL_SEEN * (frames[-1] + 1 - frames[0]) else []


def fits_parabola(
    path: Float[np.ndarray, "T 3"], sigma: float, frames: Int[np.ndarray, " T"] | None = None
) -> bool:
    """Whether a path strays from its parabola by 1.5 % of its range at most, or by what noise makes."""
    fit = _fit(path, np.arange(len(path)) if frames is None else frames)
    strayed = float(fit.residual.square().sum(dim=-1).mean().sqrt())
    span = float(np.linalg.norm(np.ptp(path, axis=0)))
    return strayed <= max(CLOSE * span, 2 * max(sigma, scatter_noise(path, frames)))


def _explain(
    path: Float[np.ndarray, "K 3"], frames: Int[np.ndarray, " K"], sigma: float
) -> list[Int[np.ndarray, " k"]] | None:
    """Flights between contacts; None where something is left that neither is."""
    if len(frames) <= _LEAST_PART or fits_parabola(path, sigma, frames):
        return [frames]
    places = range(_LEAST_PART, len(frames) - _LEAST_PART + 1)
    cuts = [(_fit(path[:at], frames[:at]), _fit(path[at:], frames[at:]), at) for at in places]
    if not cuts:
        return None
    at = min(cuts, key=lambda cut: sum(float(fit.residual.square().sum()) for fit in cut[:2]))[2]
    parts = _explain(path[:at], frames[:at], sigma), _explain(path[at:], frames[at:], sigma)
    return None if parts[0] is None or parts[1] is None else parts[0] + parts[1]


def _meet_at_contact(
    before: tuple[ParabolaFit, Int[np.ndarray, " k"]],
    after: tuple[ParabolaFit, Int[np.ndarray, " k"]],
    sigma: float,
) -> bool:
    """Whether the velocity jumps between two flights, and the acceleration does not: gravity stays."""
    when, speeds, noise = (before[1][-1] + after[1][0]) / 2, [], 0.0
    for fit, frames in (before, after):
        speeds.append(fit.velocity + fit.acceleration * (when - frames.mean()))
        noise += acceleration_noise(len(frames), 1.0, sigma, torch.from_numpy(frames))
    pull = max(float(fit.acceleration.norm()) for fit, _ in (before, after))
    changed = float((after[0].acceleration - before[0].acceleration).norm())
    return changed <= pull / 2 + 3 * noise and float((speeds[1] - speeds[0]).norm()) >= _JUMP * pull


def _fit(path: Float[np.ndarray, "K 3"], frames: Int[np.ndarray, " K"]) -> ParabolaFit:
    return fit_parabola(torch.from_numpy(path), 1.0, torch.from_numpy(frames))
