"""Checks of energy: nothing passive gains it, and no step between two frames may need more than there is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from worldgen.metrics.checks.scoring import blank_states, passed, refused
from worldgen.metrics.tracking.flights import smooth_runs
from worldgen.physics.laws import central_velocity, chord_energy, kinetic_energy, potential_energy
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
        return refused(_ENERGY_GAIN, "pixels without scale have no energy")
    level = _level(trajectory, floor)
    velocity = torch.zeros_like(trajectory.position)
    velocity[:, 1:-1] = central_velocity(trajectory)
    moving = replace(trajectory, velocity=velocity, spin=torch.zeros_like(velocity))
    energies = kinetic_energy(moving) + potential_energy(moving, gravity, level)
    total = torch.where(moving.present, energies, 0.0)[0].sum(dim=-1).double().numpy()  # (T,)
    stretches = common_stretches(trajectory, excused_noise(trajectory, sigma))
    if len(stretches) < 2:
        return refused(_ENERGY_GAIN, f"{len(stretches)} smooth stretch of motion; a gain needs two")
    means = np.array([total[start:stop].mean() for start, stop in stretches])
    highest = max(float(means.max()), 1e-12)
    gain = max(float((means[1:] - np.minimum.accumulate(means)[:-1]).max()), 0.0) / highest
    noise = _energy_noise(moving, sigma) / highest
    loss = max(float((np.maximum.accumulate(means)[:-1] - means[1:]).max()), 0.0) / highest
    note = f"{len(stretches)} stretches, loss {loss:.3f}, noise {noise:.3f}"
    return passed(_ENERGY_GAIN, gain, note)


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
        return refused(_CHORD_ENERGY, "pixels without scale have no energy")
    level = _level(trajectory if reference is None else reference, floor)
    total = _system_chords(trajectory, gravity, level)
    # A tracked radius is a little off and its mass three times as much: compare speeds and heights only.
    weighed = trajectory if reference is None else replace(reference, mass=trajectory.mass)
    known = _system_chords(weighed, gravity, level)
    known = known[np.isfinite(known)][:_REFERENCE_STEPS]
    if not len(known) or not np.isfinite(total).any():
        return refused(_CHORD_ENERGY, "no step with every object visible at both ends")
    start = max(float(np.median(known)), 1e-12)
    speed = trajectory.position[:, 1:] - trajectory.position[:, :-1]
    mass = trajectory.mass[:, None]
    scatter = (
        mass
        * speed.norm(dim=-1)
        * excused_noise(trajectory, sigma)
        * 2**0.5
        / trajectory.dt[:, None, None] ** 2
    )[0]
    allowed = (1 + _SLACK) * start + 3 * scatter.norm(dim=-1).double().numpy()
    measured = np.isfinite(total)
    share = float((total[measured] > allowed[measured]).mean())
    worst = float(np.nanmax(total)) / start
    return passed(_CHORD_ENERGY, share, f"{measured.sum()} steps, highest {worst:.2f} of the initial energy")


def excused_noise(trajectory: Trajectory, sigma: float | None) -> float:
    radius = float(trajectory.extent.max())
    return min(sigma or 0.0, _NOISE_SHARE * radius) if radius > 0 else sigma or 0.0


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


def common_stretches(trajectory: Trajectory, sigma: float) -> list[tuple[int, int]]:
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


def _energy_noise(trajectory: Trajectory, sigma: float | None) -> float:
    """Scatter of one frame's energy from noise of its central difference, ``m |v| sigma / (sqrt(2) dt)``."""
    speed = trajectory.velocity[0].norm(dim=-1)[trajectory.present[0]]
    mass = float(trajectory.mass.max())
    return float(speed.mean()) * mass * (sigma or 0.0) / (2**0.5 * float(trajectory.dt[0]))
