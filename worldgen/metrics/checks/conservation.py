"""Checks of conservation: nothing passive gains energy, no step needs more than there is, momentum stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from worldgen.metrics.checks.scoring import blank_states, measured, not_applicable
from worldgen.metrics.motions.flights import smooth_runs
from worldgen.physics.laws import (
    central_velocity,
    chord_energy,
    energy,
    largest_rise,
    momentum_residual,
    speed_momentum,
)
from worldgen.types import Check, Trajectory

_ENERGY_GAIN = blank_states(
    "energy_gain",
    "of the highest energy",
    0.05,
    (
        "teleport",
        "wrong gravity within one flight",
        "slow motion",
        "backward motion without a loss of energy",
        "frozen from some frame on",
        "pass-through",
        "objects that change places",
        "vanishing",
    ),
)
_CHORD_ENERGY = blank_states(
    "chord_energy",
    "of steps",
    0.01,
    (
        "zero or weak gravity",
        "slow motion",
        "reversal",
        "frozen from some frame on",
        "pass-through",
        "vanishing",
    ),
)
_MOMENTUM = blank_states(
    "momentum",
    "of all momenta",
    0.1,
    (
        "wrong or zero gravity",
        "slow motion",
        "time reversal",
        "shuffled frames",
        "pass-through",
        "energy gained at a bounce",
        "teleport",
        "vanishing",
        "a copy that appears",
        "objects that change places",
    ),
)
_SLACK = 0.1
"""Excess of energy that is forgiven: a length scale 5 % off, as in careful hand tracks, shifts it so far."""
_NOISE_SHARE = 0.05
"""Scatter beyond this share of the radius is motion, not noise, and excuses no energy."""
_REFERENCE_STEPS = 3
"""The median of so many first chords is the initial energy, whatever one bounce or jump among them does."""


def check_energy_gain(
    trajectory: Trajectory, sigma: float | None, gravity: float, floor: float | None
) -> Check:
    """A4: largest rise of the system's energy from one smooth stretch of motion to any later one.

    Energy is ``sum m (v^2 / 2 + g z)`` with central differences of position, averaged over each stretch of
    frames in which no object has a velocity kink. Zero for a passive world; a reversed one gains what it had
    lost.

    Args:
        trajectory: B = 1.
        sigma: Tracker noise of one coordinate in metres; None where unknown.
        gravity: m/s^2.
        floor: Height of zero potential energy; the lowest position when None.
    """
    if not trajectory.metric:
        return not_applicable(_ENERGY_GAIN, "pixels without scale have no energy")
    level = _level(trajectory, floor)
    velocity = torch.zeros_like(trajectory.position)
    velocity[:, 1:-1] = central_velocity(trajectory)
    moving = replace(trajectory, velocity=velocity, spin=torch.zeros_like(velocity))
    total = (
        torch.where(moving.present, energy(moving, gravity, level), 0.0)[0].sum(dim=-1).double().numpy()
    )  # (T,)
    stretches = _common_stretches(trajectory, _excused_noise(trajectory, sigma))
    if len(stretches) < 2:
        return not_applicable(_ENERGY_GAIN, f"{len(stretches)} smooth stretch of motion; a gain needs two")
    means = torch.tensor([total[start:stop].mean() for start, stop in stretches], dtype=torch.float64)
    highest = max(float(means.max()), 1e-12)
    gain, loss = (float(largest_rise(signed)) / highest for signed in (means, -means))
    noise = _energy_noise(moving, sigma) / highest
    note = f"{len(stretches)} stretches, loss {loss:.3f}, noise {noise:.3f}"
    return measured(_ENERGY_GAIN, gain, note)


def check_chord_energy(
    trajectory: Trajectory,
    reference: Trajectory | None,
    sigma: float | None,
    gravity: float,
    floor: float | None,
) -> Check:
    """A4: share of steps whose chord energy exceeds the initial energy by more than 10 % and tracker noise.

    The initial energy is the median of the first three chords (of the reference, where there is one). Exactly
    zero for passive motion, because a bounce inside a step only shortens its chord; teleports and shuffled
    frames need speeds that the energy does not allow.

    Args:
        trajectory: B = 1.
        reference: What truly happened, or None.
        sigma: Tracker noise of one coordinate in metres; None where unknown.
        gravity: m/s^2.
        floor: Height of zero potential energy; the lowest position when None.
    """
    if not trajectory.metric:
        return not_applicable(_CHORD_ENERGY, "pixels without scale have no energy")
    level = _level(trajectory if reference is None else reference, floor)
    total = _system_chords(trajectory, gravity, level)
    # A tracked radius is a little off and its mass three times as much: compare speeds and heights only.
    weighed = trajectory if reference is None else replace(reference, mass=trajectory.mass)
    known = _system_chords(weighed, gravity, level)
    known = known[np.isfinite(known)][:_REFERENCE_STEPS]
    if not len(known) or not np.isfinite(total).any():
        return not_applicable(_CHORD_ENERGY, "no step with every object visible at both ends")
    start = max(float(np.median(known)), 1e-12)
    speed = trajectory.position[:, 1:] - trajectory.position[:, :-1]
    mass = trajectory.mass[:, None]
    scatter = (
        mass
        * speed.norm(dim=-1)
        * _excused_noise(trajectory, sigma)
        * 2**0.5
        / trajectory.dt[:, None, None] ** 2
    )[0]
    allowed = (1 + _SLACK) * start + 3 * scatter.norm(dim=-1).double().numpy()
    known = np.isfinite(total)
    share = float((total[known] > allowed[known]).mean())
    worst = float(np.nanmax(total)) / start
    return measured(_CHORD_ENERGY, share, f"{known.sum()} steps, highest {worst:.2f} of the initial energy")


def check_momentum(
    trajectory: Trajectory, reference: Trajectory | None, sigma: float | None, gravity: float
) -> Check:
    """A5: ``|P_after - P_before| / sum m |v|``, the largest change from the first smooth stretch of motion.

    Along the axes on which nothing outside pushes: the horizontal ones, and the vertical one too where there
    is no gravity. Velocities are means over stretches in which no object has a kink. Where in truth friction,
    a rod or a ramp pushes sideways, the check does not apply.

    Args:
        trajectory: B = 1.
        reference: What truly happened, or None.
        sigma: Tracker noise of one coordinate in metres; None where unknown.
        gravity: m/s^2.
    """
    if not trajectory.metric:
        return not_applicable(_MOMENTUM, "pixels without scale tell no masses")
    axes = (0, 1) if gravity > 0 else (0, 1, 2)
    noise = sigma or 0.0
    found = _drift(trajectory, noise, axes)
    if found is None:
        return not_applicable(_MOMENTUM, "fewer than two smooth stretches of motion to compare")
    value, stretches, scatter = found
    if scatter > _MOMENTUM.limit / 2:
        return not_applicable(_MOMENTUM, f"noise moves it by {scatter:.2f}, above {_MOMENTUM.limit / 2:g}")
    note = f"{stretches} stretches, noise {scatter:.3f}"
    if reference is None:
        return measured(_MOMENTUM, value, note + "; if no friction, rod or ramp pushes sideways")
    pushed = _pushed(reference, axes)
    if pushed > _MOMENTUM.limit / 2:
        return not_applicable(_MOMENTUM, f"in truth something outside pushes: it changes by {pushed:.2f}")
    return measured(_MOMENTUM, value, note)


def _common_stretches(trajectory: Trajectory, sigma: float) -> list[tuple[int, int]]:
    """Runs of at least two frames that lie inside a smooth run of every object that is ever seen."""
    frames = trajectory.position.shape[1]
    inside = np.ones(frames, dtype=bool)
    for index in range(trajectory.position.shape[2]):
        if not bool(trajectory.present[0, :, index].any()):
            continue
        own = np.zeros(frames, dtype=bool)
        for start, stop in smooth_runs(trajectory, index, sigma):
            own[start + 1 : stop - 1] = True  # where the central difference does not reach over the end
        inside &= own
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(int), [0]])))
    return [
        (start, stop)
        for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        if stop - start >= 2
    ]


def _excused_noise(trajectory: Trajectory, sigma: float | None) -> float:
    """Tracker noise of one coordinate, as far as it is noise; 0 where unknown."""
    radius = float(trajectory.extent.max())
    return min(sigma or 0.0, _NOISE_SHARE * radius) if radius > 0 else sigma or 0.0


def _energy_noise(trajectory: Trajectory, sigma: float | None) -> float:
    """Scatter of one frame's energy from noise of its central difference, ``m |v| sigma / (sqrt(2) dt)``."""
    speed = trajectory.velocity[0].norm(dim=-1)[trajectory.present[0]]
    mass = float(trajectory.mass.max())
    return float(speed.mean()) * mass * (sigma or 0.0) / (2**0.5 * float(trajectory.dt[0]))


def _level(trajectory: Trajectory, floor: float | None) -> float:
    if floor is not None and bool((trajectory.extent > 0).any()):
        return floor
    heights = trajectory.position[..., 2][trajectory.present]
    return float(heights.min()) if heights.numel() else 0.0


def _system_chords(trajectory: Trajectory, gravity: float, level: float) -> Float[np.ndarray, " T-1"]:
    """Summed over the objects; NaN where one of them is not seen at an end of the step."""
    seen = trajectory.present[0, 1:] & trajectory.present[0, :-1]  # (T-1, N)
    used = trajectory.present[0].any(dim=0)
    total = chord_energy(trajectory, gravity, level)[0][:, used].sum(dim=-1)
    return torch.where(seen[:, used].all(dim=-1), total, torch.nan).double().numpy()


def _drift(trajectory: Trajectory, sigma: float, axes: tuple[int, ...]) -> tuple[float, int, float] | None:
    """Largest change between stretches, their number, and what noise alone would make of it."""
    used = trajectory.present[0].any(dim=0)
    stretches = _common_stretches(trajectory, _excused_noise(trajectory, sigma))
    if len(stretches) < 2 or not bool(used.any()):
        return None
    exact = replace(trajectory, position=trajectory.position.double(), dt=trajectory.dt.double())
    velocity, mass = central_velocity(exact)[0, :, used], trajectory.mass[0, used].double()  # (T-2 N 3)
    # The first central difference is that of frame 1.
    means = torch.stack([velocity[start - 1 : stop - 1].mean(dim=0) for start, stop in stretches])
    total = max(float(speed_momentum(means, mass).max()), 1e-12)
    shortest = min(stop - start for start, stop in stretches) * float(trajectory.dt[0])
    scatter = 2**0.5 * sigma * float(mass.norm()) / shortest
    return float(momentum_residual(means, mass, axes).max()) / total, len(stretches), scatter / total


def _pushed(reference: Trajectory, axes: tuple[int, ...]) -> float:
    """How much the true momentum changes from frame to frame, over all momenta; of noiseless states."""
    used = reference.present[0].any(dim=0)
    exact = replace(reference, position=reference.position.double(), dt=reference.dt.double())
    velocity, mass = central_velocity(exact)[0, :, used], reference.mass[0, used].double()
    total = speed_momentum(velocity, mass).max().clamp(min=1e-12)
    return float(momentum_residual(velocity, mass, axes).max() / total)
