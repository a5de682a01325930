"""Checks of swinging: how well a damped sinusoid fits, and whether the swing dies down or grows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import least_squares

from worldgen.metrics.checks.scoring import blank_states, measured, not_applicable, tolerance
from worldgen.metrics.checks.surroundings import Surroundings
from worldgen.metrics.motions.flights import smooth_runs
from worldgen.metrics.motions.kinds import count_turns
from worldgen.physics.laws import damping_ratio, oscillation_residual
from worldgen.types import Check, Trajectory

_BLIND = (
    "wrong or zero gravity",
    "slow motion",
    "everything but a swing",
    "vanishing",
    "a copy that appears",
    "objects that change places",
)
_OSCILLATION = blank_states(
    "oscillation_residual",
    "of the swing's range",
    0.05,
    (*_BLIND, "time reversal", "growing little by little", "what stops near the end"),
)
_DAMPING = blank_states(
    "damping",
    "of critical",
    -0.01,
    (*_BLIND, "time reversal of a swing without damping", "shuffled frames", "teleport", "stops"),
    "above",
)
_FEWEST = 12
_LEAST_PERIODS = 0.75
"""Of a shorter stretch neither the period nor the damping can be told."""
_FREQUENCIES = 48


@dataclass(frozen=True)
class Swing:
    """``s = c + exp(-gamma t) (A cos(omega t) + B sin(omega t))`` along the direction of most motion."""

    index: int
    gamma: float
    """1/s; negative where the swing grows."""
    omega: float
    """rad/s."""
    gamma_error: float
    """Standard error of gamma, from the residual."""
    residual: float
    """Root mean square over the range."""
    periods: float
    """How many were seen."""

    @property
    def damping(self) -> float:
        """Damping ratio."""
        return float(damping_ratio(*torch.tensor([self.gamma, self.omega], dtype=torch.float64)))


def check_oscillation(
    trajectory: Trajectory, reference: Trajectory | None, world: Surroundings
) -> tuple[Check, Check]:
    """A9: the worst residual of a damped sinusoid over its range, and the smallest damping ratio.

    A swing that grows by itself gains energy: it is pushed, or runs backward. Judged are things that hang, by
    what the world says, and things that swing in the reference. Where neither is known, the residual only
    tells whether a thing that turns round twice without a kink swings at all: it breaks no law if it does
    not, and if it does, its damping is judged.
    """
    swings = find_swings(trajectory, world)
    if reference is not None:
        # What is no clean swing in truth (a cradle's ball) breaks no law by being none here.
        true = {
            swing.index for swing in find_swings(reference, world) if swing.residual < _OSCILLATION.limit / 2
        }
        swings = tuple(swing for swing in swings if swing.index in true)
    else:
        swings = tuple(
            swing for swing in swings if world.holds(swing.index) or swing.residual < _OSCILLATION.limit
        )
    if not swings:
        why = f"nothing swings for {_LEAST_PERIODS:g} of a period and {_FEWEST} frames"
        return not_applicable(_OSCILLATION, why), not_applicable(_DAMPING, why)
    known = [swing for swing in swings if reference is not None or world.holds(swing.index)]
    least = min(swings, key=lambda swing: swing.damping)
    growing = max(-least.damping, 0.0)
    if least.gamma > -2 * least.gamma_error:
        growing = 0.0  # no different from none
    score = tolerance(growing, -_DAMPING.limit)
    note = f"gamma = {least.gamma:.3g} +- {least.gamma_error:.1g} 1/s"
    damping = measured(_DAMPING, least.damping, note, score)
    if not known:
        return not_applicable(_OSCILLATION, "nothing says that anything hangs here"), damping
    worst = max(known, key=lambda swing: swing.residual)
    period = f"period {2 * np.pi / worst.omega:.3f} s, {worst.periods:.1f} seen"
    return measured(_OSCILLATION, worst.residual, period), damping


def find_swings(trajectory: Trajectory, world: Surroundings) -> tuple[Swing, ...]:
    """Every object's swing that is seen for long enough, at most one per object."""
    dt, found = float(trajectory.dt[0]), []
    for index in range(trajectory.position.shape[2]):
        seen = trajectory.present[0, :, index].numpy()
        if seen.sum() < _FEWEST:
            continue
        if world.holds(index):
            frames = np.flatnonzero(seen)
        else:
            start, stop = max(smooth_runs(trajectory, index), key=lambda run: run[1] - run[0], default=(0, 0))
            frames = np.arange(start, stop)
            if len(frames) < max(_FEWEST, 0.8 * seen.sum()):
                continue
        place = trajectory.position[0, :, index].double().numpy()[frames]
        along = _main_direction(place)
        least = 2 - world.holds(index)
        if np.ptp(along) <= float(trajectory.extent[0, index, 2]) or count_turns(along) < least:
            continue
        swing = fit_swing(frames * dt, along, index)
        if swing.periods >= _LEAST_PERIODS:
            found.append(swing)
    return tuple(found)


def fit_swing(time: Float[np.ndarray, " T"], along: Float[np.ndarray, " T"], index: int = 0) -> Swing:
    """Least squares in gamma and omega; c, A and B follow from them linearly at every step.

    Args:
        time: s, not necessarily equally spaced.
        along: One coordinate, any unit.
        index: Of the object.
    """
    time = time - time[0]
    span = float(time[-1])
    spacing = float(np.diff(time).min())
    seconds, coordinate = torch.from_numpy(time), torch.from_numpy(along)
    grid = torch.from_numpy(np.geomspace(0.5 * np.pi / span, 0.5 * np.pi / spacing, _FREQUENCIES))
    rests = oscillation_residual(coordinate, seconds, torch.zeros_like(grid), grid)
    start = float(grid[rests.square().sum(dim=-1).argmin()])

    def rest(found: Float[np.ndarray, " 2"]) -> Float[np.ndarray, " T"]:
        gamma, omega = torch.from_numpy(found)
        return oscillation_residual(coordinate, seconds, gamma, omega).numpy()

    fit = least_squares(
        rest, (0.0, start), x_scale=(1 / span, 1 / span), xtol=1e-12, ftol=1e-14, gtol=1e-14, max_nfev=60
    )
    gamma, omega = float(fit.x[0]), abs(float(fit.x[1]))
    square = float(np.square(fit.fun).sum())
    freedom = max(len(time) - 5, 1)
    information = np.linalg.pinv(fit.jac.T @ fit.jac)
    return Swing(
        index,
        gamma,
        omega,
        float(np.sqrt(information[0, 0] * square / freedom)),
        float(np.sqrt(square / len(time)) / max(float(np.ptp(along)), 1e-12)),
        omega * span / (2 * np.pi),
    )


def _main_direction(place: Float[np.ndarray, "T 3"]) -> Float[np.ndarray, " T"]:
    centered = place - place.mean(axis=0)
    return centered @ np.linalg.svd(centered, full_matrices=False)[2][0]
