"""The laws of rigid motion as residuals: pure, differentiable functions of a Trajectory.

What the regularizer differentiates, the metrics report and the tests hold against MuJoCo is the same
function. World frame, z up, SI units; ``gravity`` is the magnitude g, pointing along -z. Frames where an
object is not ``present`` give numbers without meaning: mask them with ``trajectory.present``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.types import Trajectory

STANDARD_GRAVITY = 9.81
"""m/s^2, the value of the simulated scenes."""


@dataclass(frozen=True)
class ParabolaFit:
    """The least-squares parabola through a window of positions (metres and seconds, or pixels)."""

    velocity: Float[Tensor, "... 3"]
    """At the middle of the window."""
    acceleration: Float[Tensor, "... 3"]
    residual: Float[Tensor, "... W 3"]
    """Measured minus fitted positions."""


def acceleration(trajectory: Trajectory) -> Float[Tensor, "B T-2 N 3"]:
    """Acceleration by central second differences, exact for parabolas: ``(x[t+1] - 2 x[t] + x[t-1]) / dt^2``.

    Returns:
        m/s^2 at frames 1 .. T-2.
    """
    x = trajectory.position
    return (x[:, 2:] - 2 * x[:, 1:-1] + x[:, :-2]) / trajectory.dt[:, None, None, None] ** 2


def central_velocity(trajectory: Trajectory) -> Float[Tensor, "B T-2 N 3"]:
    """Velocity by central differences of position, exact for parabolas: ``(x[t+1] - x[t-1]) / (2 dt)``.

    A simulator's own velocity belongs to another instant than its position under semi-implicit Euler (energy
    then drifts by 1 % of mgz in a second at 2 ms steps); this one does not.

    Returns:
        m/s at frames 1 .. T-2.
    """
    x = trajectory.position
    return (x[:, 2:] - x[:, :-2]) / (2 * trajectory.dt[:, None, None, None])


def fit_parabola(position: Float[Tensor, "... W 3"], dt: float | Float[Tensor, " *window"]) -> ParabolaFit:
    """Closed-form least-squares parabola through W >= 3 equally spaced positions.

    With centered time ``t`` the polynomials 1, t and ``p = t^2 - mean(t^2)`` are orthogonal, so
    ``v = sum(t x) / sum(t^2)`` and ``a = 2 sum(p x) / sum(p^2)``: no linear system, no conditioning trouble.

    Args:
        position: Windows of positions, equally spaced in time.
        dt: Seconds between samples, one value or one per window.
    """
    count = position.shape[-2]
    if count < 3:
        raise ValueError(f"A parabola needs at least 3 samples; got {count}. Use a longer window.")
    t = torch.arange(count, dtype=position.dtype, device=position.device) - (count - 1) / 2
    p = t**2 - (t**2).mean()
    mean = position.mean(dim=-2, keepdim=True)
    slope = torch.einsum("w,...wd->...d", t, position - mean) / (t**2).sum()  # per sample
    curvature = torch.einsum("w,...wd->...d", p, position - mean) / (p**2).sum()  # per sample^2
    fitted = mean + t[:, None] * slope[..., None, :] + p[:, None] * curvature[..., None, :]
    step = torch.as_tensor(dt, dtype=position.dtype, device=position.device)[..., None]
    return ParabolaFit(slope / step, 2 * curvature / step**2, position - fitted)


def acceleration_noise(count: int, dt: float, sigma: float) -> float:
    """Standard deviation of `fit_parabola`'s acceleration when each position has independent noise ``sigma``.

    ``sigma_a = sigma / dt^2 * sqrt(720 / (n (n^2 - 1) (n^2 - 4)))``, the exact form of sqrt(720/n) sigma /
    T^2.
    """
    return sigma / dt**2 * (720.0 / (count * (count**2 - 1) * (count**2 - 4))) ** 0.5


def kinetic_energy(
    trajectory: Trajectory, inertia: Float[Tensor, "B N 3"] | None = None
) -> Float[Tensor, "B T N"]:
    """Energy of motion and spin, ``m v^2 / 2 + w . (I w) / 2``, in J.

    Args:
        trajectory: Object states.
        inertia: Principal moments in kg m^2 along the body axes; those of the solid ellipsoid whose half axes
            are ``extent`` when None, ``m (b^2 + c^2) / 5``, which is exact for a solid ball.
    """
    if inertia is None:
        square = trajectory.extent**2
        inertia = trajectory.mass[..., None] * (square.sum(dim=-1, keepdim=True) - square) / 5
    body_spin = _to_body(trajectory.rotation, trajectory.spin)
    motion = trajectory.mass[:, None] * trajectory.velocity.square().sum(dim=-1)
    return (motion + (inertia[:, None] * body_spin.square()).sum(dim=-1)) / 2


def potential_energy(
    trajectory: Trajectory, gravity: float = STANDARD_GRAVITY, floor: float = 0.0
) -> Float[Tensor, "B T N"]:
    """Energy of height above the floor, ``m g (z - floor)``, in J."""
    return trajectory.mass[:, None] * gravity * (trajectory.position[..., 2] - floor)


def energy(
    trajectory: Trajectory,
    gravity: float = STANDARD_GRAVITY,
    inertia: Float[Tensor, "B N 3"] | None = None,
) -> Float[Tensor, "B T N"]:
    """Mechanical energy of each object, kinetic plus potential (zero at z = 0), in J.

    Constant in free flight; energy stored in a soft contact is not counted.
    """
    return kinetic_energy(trajectory, inertia) + potential_energy(trajectory, gravity)


def chord_energy(
    trajectory: Trajectory, gravity: float = STANDARD_GRAVITY, floor: float = 0.0
) -> Float[Tensor, "B T-1 N"]:
    """Energy that the line between two frames proves: ``m (|dx/dt|^2 / 2 + g (z_mean + g dt^2 / 8))``, J.

    Equal to the mechanical energy in free flight, because the chord of a parabola has the velocity of its
    middle and lies g dt^2 / 8 below it; a bounce inside the step only shortens the chord. In passive motion
    it therefore never exceeds the initial energy, whatever the frame rate; a jump does.
    """
    dt = trajectory.dt[:, None, None]
    start, end = trajectory.position[:, :-1], trajectory.position[:, 1:]
    speed_squared = (end - start).square().sum(dim=-1) / dt**2
    height = (start + end)[..., 2] / 2 - floor + gravity * dt**2 / 8
    return trajectory.mass[:, None] * (speed_squared / 2 + gravity * height)


def momentum_residual(
    trajectory: Trajectory,
    impulse: Float[Tensor, "B T 3"] | None = None,
    gravity: float = STANDARD_GRAVITY,
) -> Float[Tensor, "B T-1"]:
    """Momentum that appears from nowhere between frames.

    For a closed system total momentum changes only by outside impulse J:
    ``r_t = || sum_i m_i (v_i[t+1] - v_i[t]) - J[t] ||``.

    Args:
        trajectory: Object states, SI units, world frame.
        impulse: Outside impulse per frame in N s, ``impulse[:, t]`` acting between frames t and t+1 (the last
            one is not used); gravity over ``dt`` when None.
        gravity: m/s^2, used when ``impulse`` is None.

    Returns:
        Residual in kg m/s, zero for a physical motion, one value per frame pair.
    """
    p = (trajectory.mass[:, None, :, None] * trajectory.velocity).sum(dim=2)  # (B, T, 3)
    if impulse is None:
        weight = -gravity * trajectory.mass.sum(dim=1) * trajectory.dt  # (B,)
        given = torch.stack([torch.zeros_like(weight), torch.zeros_like(weight), weight], dim=-1)[:, None]
    else:
        given = impulse[:, :-1]
    return (p[:, 1:] - p[:, :-1] - given).norm(dim=-1)


def floor_penetration(trajectory: Trajectory, floor: float = 0.0) -> Float[Tensor, "B T N"]:
    """Depth by which each ball sinks into the floor, ``max(0, floor + r - z)``, in m; zero above it."""
    return (floor + _radius(trajectory)[:, None] - trajectory.position[..., 2]).clamp(min=0)


def pair_penetration(trajectory: Trajectory) -> Float[Tensor, "B T N N"]:
    """Depth by which two balls overlap, ``max(0, r_i + r_j - |x_i - x_j|)``, in m; zero on the diagonal."""
    count = trajectory.position.shape[2]
    offset = trajectory.position[:, :, :, None] - trajectory.position[:, :, None]  # (B, T, N, N, 3)
    same = torch.eye(count, dtype=torch.bool, device=offset.device)
    # A unit offset on the diagonal keeps the gradient of the norm finite there.
    distance = torch.where(same[..., None], torch.ones_like(offset), offset).norm(dim=-1)
    radius = _radius(trajectory)
    depth = (radius[:, None, :, None] + radius[:, None, None, :] - distance).clamp(min=0)
    return torch.where(same, torch.zeros_like(depth), depth)


def _radius(trajectory: Trajectory) -> Float[Tensor, "B N"]:
    return trajectory.extent[..., 2]


def _to_body(rotation: Float[Tensor, "... 4"], vector: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
    """World vector in body axes: rotation by the conjugate quaternion."""
    w, axis = rotation[..., :1], -rotation[..., 1:]
    twice = 2 * torch.linalg.cross(axis, vector)
    return vector + w * twice + torch.linalg.cross(axis, twice)
