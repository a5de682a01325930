"""Check of momentum: what nothing outside pushes keeps the momentum it has."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from worldgen.metrics.checks.conservation import common_stretches, excused_noise
from worldgen.metrics.checks.scoring import blank_states, passed, refused
from worldgen.types import Check, Trajectory

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
    ),
)


def check_momentum(
    trajectory: Trajectory, reference: Trajectory | None, sigma: float | None, gravity: float
) -> Check:
    """A5: ``|P_after - P_before| / sum m |v|``, the largest change from the first smooth stretch of motion.

    Along the axes on which nothing outside pushes: the horizontal ones, and the vertical one too where there
    is no gravity. Velocities are means over stretches in which no object has a kink. Where in truth friction,
    a rod or a ramp pushes sideways, the check is refused.

    Args:
        trajectory: B = 1.
        reference: What truly happened, or None.
        sigma: Tracker noise of one coordinate in metres; None where unknown.
        gravity: m/s^2.
    """
    if not trajectory.metric:
        return refused(_MOMENTUM, "pixels without scale tell no masses")
    axes = [0, 1] if gravity > 0 else [0, 1, 2]
    noise = sigma or 0.0
    found = _drift(trajectory, noise, axes)
    if found is None:
        return refused(_MOMENTUM, "fewer than two smooth stretches of motion to compare")
    value, stretches, scatter = found
    if scatter > _MOMENTUM.limit / 2:
        return refused(_MOMENTUM, f"noise moves it by {scatter:.2f}, above {_MOMENTUM.limit / 2:g}")
    note = f"{stretches} stretches, noise {scatter:.3f}"
    if reference is None:
        return passed(_MOMENTUM, value, note + "; if no friction, rod or ramp pushes sideways")
    pushed = _pushed(reference, axes)
    if pushed > _MOMENTUM.limit / 2:
        return refused(_MOMENTUM, f"in truth something outside pushes: it changes by {pushed:.2f}")
    return passed(_MOMENTUM, value, note)


def _pushed(reference: Trajectory, axes: list[int]) -> float:
    """How much the true momentum changes from frame to frame, over all momenta; of noiseless states."""
    used = reference.present[0].any(dim=0)
    place, mass = reference.position[0, :, used].double(), reference.mass[0, used].double()
    velocity = (place[2:] - place[:-2]) / (2 * float(reference.dt[0]))
    total = (mass * velocity.norm(dim=-1)).sum(dim=-1).max()
    momentum = (mass[:, None] * velocity)[..., axes].sum(dim=1)
    return float((momentum - momentum[0]).norm(dim=-1).max() / total.clamp(min=1e-12))


def _drift(trajectory: Trajectory, sigma: float, axes: list[int]) -> tuple[float, int, float] | None:
    """Largest change between stretches, their number, and what noise alone would make of it."""
    used = trajectory.present[0].any(dim=0).numpy()
    stretches = common_stretches(trajectory, excused_noise(trajectory, sigma))
    if len(stretches) < 2 or not used.any():
        return None
    place = trajectory.position[0].double().numpy()[:, used]
    mass = trajectory.mass[0].double().numpy()[used]
    dt = float(trajectory.dt[0])
    momenta: list[Float[np.ndarray, " axes"]] = []
    total, scatter = 0.0, 0.0
    for start, stop in stretches:
        # The mean of central differences over the stretch reaches one frame over either end.
        velocity = (place[start + 1 : stop + 1] - place[start - 1 : stop - 1]).mean(axis=0) / (2 * dt)
        momenta.append((mass[:, None] * velocity)[:, axes].sum(axis=0))
        total = max(total, float((mass * np.linalg.norm(velocity, axis=1)).sum()))
        scatter = max(scatter, sigma * float(np.linalg.norm(mass)) / ((stop - start) * dt))
    total = max(total, 1e-12)
    worst = max(float(np.linalg.norm(after - momenta[0])) for after in momenta[1:])
    return worst / total, len(stretches), 2**0.5 * scatter / total
