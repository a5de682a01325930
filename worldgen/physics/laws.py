"""The laws of motion: pure, differentiable functions on tensors, of flight, energy, momentum and swing.

What the regularizer differentiates, the metrics report and the tests hold against MuJoCo is the same
function: every one is called by a check. World frame, z up, SI units; ``gravity`` is the magnitude g,
pointing along -z. Frames where an object is not ``present`` give numbers without meaning: mask them with
``trajectory.present``. The laws of touching bodies are in `contact_laws`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldgen.types import GRAVITY, Trajectory


@dataclass(frozen=True)
class ParabolaFit:
    """The least-squares parabola through a window of positions (metres and seconds, or pixels)."""

    velocity: Float[Tensor, "... 3"]
    """At the mean time of the window."""
    acceleration: Float[Tensor, "... 3"]
    residual: Float[Tensor, "... W 3"]
    """Measured minus fitted positions."""


@dataclass(frozen=True)
class CubicFit:
    """What a cubic adds to the parabola through a window of positions."""

    change: Float[Tensor, ...]
    """Of the acceleration from first sample to last, in shares of it; below zero where it dies away."""
    strayed: Float[Tensor, ...]
    """Root mean square of the cubic part, in the positions' unit."""
    noise: Float[Tensor, ...]
    """Standard deviation of the change from what the cubic leaves over."""


def central_velocity(trajectory: Trajectory) -> Float[Tensor, "B T-2 N 3"]:
    """Velocity by central differences of position, exact for parabolas: ``(x[t+1] - x[t-1]) / (2 dt)``.

    A simulator's own velocity belongs to another instant than its position under semi-implicit Euler (energy
    then drifts by 1 % of mgz in a second at 2 ms steps); this one does not.

    Returns:
        m/s at frames 1 .. T-2.
    """
    x = trajectory.position
    return (x[:, 2:] - x[:, :-2]) / (2 * trajectory.dt[:, None, None, None])


def fit_parabola(
    position: Float[Tensor, "... W 3"],
    dt: float | Float[Tensor, " *window"],
    frames: Int[Tensor, " W"] | None = None,
) -> ParabolaFit:
    """Closed-form least-squares parabola through W >= 3 positions.

    With centered time ``t`` the polynomials 1, t and ``p = t^2 - mean(t^2) - t sum(t^3) / sum(t^2)`` are
    orthogonal, so ``a = 2 sum(p x) / sum(p^2)``: no linear system, no conditioning trouble.

    Args:
        position: Windows of positions.
        dt: Seconds between frames, one value or one per window.
        frames: In which the positions were seen, growing; consecutive ones when None.
    """
    count = position.shape[-2]
    if count < 3:
        raise ValueError(f"A parabola needs at least 3 samples; got {count}. Use a longer window.")
    t, skew, p = _parabola_basis(count, frames, position)
    mean = position.mean(dim=-2, keepdim=True)
    slope = torch.einsum("w,...wd->...d", t, position - mean) / (t**2).sum()  # per frame
    curvature = torch.einsum("w,...wd->...d", p, position - mean) / (p**2).sum()  # per frame^2
    fitted = mean + t[:, None] * slope[..., None, :] + p[:, None] * curvature[..., None, :]
    step = torch.as_tensor(dt, dtype=position.dtype, device=position.device)[..., None]
    return ParabolaFit((slope - skew * curvature) / step, 2 * curvature / step**2, position - fitted)


def acceleration_noise(count: int, dt: float, sigma: float, frames: Int[Tensor, " W"] | None = None) -> float:
    """Standard deviation of `fit_parabola`'s acceleration when each position has independent noise ``sigma``.

    ``sigma_a = 2 sigma / (dt^2 sqrt(sum(p^2)))``, for consecutive frames ``sigma / dt^2 * sqrt(720 / (n (n^2
    - 1) (n^2 - 4)))``, the exact form of sqrt(720/n) sigma / T^2.
    """
    if frames is None:
        return sigma / dt**2 * (720.0 / (count * (count**2 - 1) * (count**2 - 4))) ** 0.5
    _, _, p = _parabola_basis(count, frames, torch.zeros(0, dtype=torch.float64))
    return 2 * sigma / dt**2 / float(p.norm())


def gravity_residual(acceleration: Float[Tensor, "... 3"], gravity: float = GRAVITY) -> Float[Tensor, ...]:
    """How far an acceleration (m/s^2) is from that of free fall, ``|a - (0, 0, -g)| / g``, in shares of g."""
    down = torch.tensor([0.0, 0.0, -gravity], dtype=acceleration.dtype, device=acceleration.device)
    return (acceleration - down).norm(dim=-1) / gravity


def ballistic_residual(
    position: Float[Tensor, "... W 3"], frames: Int[Tensor, " W"] | None = None
) -> Float[Tensor, ...]:
    """How far a path strays from its parabola: root mean square distance over the diagonal of its box.

    Needs neither scale nor time: ``sqrt(mean |x - x_fit|^2) / |max(x) - min(x)|``, 0 for a path of any
    constant acceleration.

    Args:
        position: W >= 3 places, any unit.
        frames: In which they were seen, growing; consecutive ones when None.
    """
    strayed = fit_parabola(position, 1.0, frames).residual.norm(dim=(-2, -1)) / position.shape[-2] ** 0.5
    span = (position.amax(dim=-2) - position.amin(dim=-2)).norm(dim=-1)
    return strayed / span.clamp(min=1e-12)


def fit_cubic(position: Float[Tensor, "... W 3"], frames: Int[Tensor, " W"] | None = None) -> CubicFit:
    """Least-squares cubic through W >= 6 places: is the acceleration of a path constant?

    The cubic polynomial ``q``, what the best parabola leaves of ``t^3``, is orthogonal to every parabola, so
    the jerk is ``j = 6 sum(q x) / sum(q^2)`` and the change of the acceleration a over the time T, in shares
    of a, is ``T j . a / |a|^2``.

    Args:
        position: Any unit.
        frames: In which the places were seen, growing; consecutive ones when None.
    """
    count = position.shape[-2]
    fit = fit_parabola(position, 1.0, frames)
    t = _parabola_basis(count, frames, position)[0]
    q, lasting = fit_parabola((t**3)[:, None], 1.0, frames).residual[:, 0], t[-1] - t[0]
    share = torch.einsum("w,...wd->...d", q, fit.residual) / q.norm()
    square = fit.acceleration.square().sum(dim=-1).clamp(min=1e-24)
    change = 6 * lasting / q.norm() * (share * fit.acceleration).sum(dim=-1) / square
    left = fit.residual.square().sum(dim=(-2, -1)) - share.square().sum(dim=-1)
    moving = (fit.residual.abs().amax(dim=-2) > 1e-12).sum(dim=-1).clamp(min=1)
    sigma = (left.clamp(min=0) / (moving * (count - 4))).sqrt()
    noise = 6 * lasting / q.norm() * sigma / square.sqrt()
    return CubicFit(change, share.norm(dim=-1) / count**0.5, noise)


def fall_acceleration(height: Float[Tensor, ...], time: Float[Tensor, ...]) -> Float[Tensor, ...]:
    """Acceleration of a fall from rest, ``2 h / t^2``: m/s^2 where ``height`` is in m and ``time`` in s."""
    return 2 * height / time**2


def galileo_ratio(height: Float[Tensor, "... 2"], time: Float[Tensor, "... 2"]) -> Float[Tensor, ...]:
    """All bodies fall alike: ``(t1^2 / t2^2) / (h1 / h2)`` of two falls from rest, 1 for any g and scale."""
    first, second = fall_acceleration(height, time).unbind(dim=-1)
    return second / first


def energy(
    trajectory: Trajectory,
    gravity: float = GRAVITY,
    floor: float = 0.0,
    inertia: Float[Tensor, "B N 3"] | None = None,
) -> Float[Tensor, "B T N"]:
    """Mechanical energy of each object, ``(m v^2 + w . (I w)) / 2 + m g (z - floor)``, in J.

    Constant in free flight; energy stored in a soft contact is not counted.

    Args:
        trajectory: Object states.
        gravity: m/s^2.
        floor: Height in m at which energy of height is zero.
        inertia: Principal moments in kg m^2 along the body axes; those of the solid ellipsoid whose half axes
            are ``extent`` when None, ``m (b^2 + c^2) / 5``, which is exact for a solid ball.
    """
    if inertia is None:
        square = trajectory.extent**2
        inertia = trajectory.mass[..., None] * (square.sum(dim=-1, keepdim=True) - square) / 5
    body_spin = _to_body(trajectory.rotation, trajectory.spin)
    motion = trajectory.mass[:, None] * trajectory.velocity.square().sum(dim=-1)
    kinetic = (motion + (inertia[:, None] * body_spin.square()).sum(dim=-1)) / 2
    return kinetic + trajectory.mass[:, None] * gravity * (trajectory.position[..., 2] - floor)


def chord_energy(
    trajectory: Trajectory, gravity: float = GRAVITY, floor: float = 0.0
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


def largest_rise(energy: Float[Tensor, "... K"]) -> Float[Tensor, ...]:
    """Energy that appears from nowhere: ``max(0, max over i < j of E_j - E_i)``, in J; 0 for a passive world.

    Args:
        energy: Of a closed system at K >= 2 times in order. The largest fall is the rise of ``-energy``.
    """
    lowest = energy.cummin(dim=-1).values
    return (energy[..., 1:] - lowest[..., :-1]).amax(dim=-1).clamp(min=0)


def momentum(velocity: Float[Tensor, "... N 3"], mass: Float[Tensor, " N"]) -> Float[Tensor, "... 3"]:
    """Total momentum of N bodies, ``sum_i m_i v_i``, in kg m/s."""
    return (mass[:, None] * velocity).sum(dim=-2)


def speed_momentum(velocity: Float[Tensor, "... N 3"], mass: Float[Tensor, " N"]) -> Float[Tensor, ...]:
    """All momenta whatever their direction, ``sum_i m_i |v_i|``, in kg m/s: what a residual compares with."""
    return (mass * velocity.norm(dim=-1)).sum(dim=-1)


def momentum_residual(
    velocity: Float[Tensor, "... K N 3"], mass: Float[Tensor, " N"], axes: tuple[int, ...] = (0, 1)
) -> Float[Tensor, "... K-1"]:
    """Momentum that appears from nowhere: ``r_k = | sum_i m_i (v_i[k] - v_i[0]) |`` along free axes.

    Args:
        velocity: m/s, of a closed system at K times.
        mass: kg.
        axes: Those along which nothing outside pushes; gravity leaves the horizontal ones.

    Returns:
        Residual in kg m/s since the first time, zero for a physical motion.
    """
    total = momentum(velocity, mass)[..., list(axes)]
    return (total[..., 1:, :] - total[..., :1, :]).norm(dim=-1)


def oscillation_residual(
    along: Float[Tensor, " T"],
    time: Float[Tensor, " T"],
    gamma: Float[Tensor, ...],
    omega: Float[Tensor, ...],
) -> Float[Tensor, "... T"]:
    """What is left of a swing without its damped sinusoid of ``gamma`` (1/s) and ``omega`` (rad/s).

    ``s - (c + exp(-gamma t) (A cos(omega t) + B sin(omega t)))``, with the c, A and B of least squares; zero
    where ``s'' + 2 gamma s' + (gamma^2 + omega^2) (s - c) = 0``.

    Args:
        along: Coordinate s at T >= 3 times, any unit.
        time: s, not necessarily equally spaced.
        gamma: Negative where the swing grows.
        omega: Above zero.
    """
    envelope = (-gamma[..., None] * time).clamp(-50, 50).exp()
    phase = omega[..., None] * time
    basis = torch.stack([torch.ones_like(phase), envelope * phase.cos(), envelope * phase.sin()], dim=-1)
    known = along.expand(phase.shape)[..., None]
    return (known - basis @ torch.linalg.lstsq(basis, known, driver="gelsd").solution)[..., 0]


def damping_ratio(gamma: Float[Tensor, ...], omega: Float[Tensor, ...]) -> Float[Tensor, ...]:
    """``gamma / sqrt(gamma^2 + omega^2)``: 0 without friction, 1 without a swing, negative if it grows."""
    return gamma / torch.hypot(gamma, omega)


def _parabola_basis(
    count: int, frames: Int[Tensor, " W"] | None, like: Tensor
) -> tuple[Float[Tensor, " W"], Float[Tensor, ""], Float[Tensor, " W"]]:
    """Centered times in frames, ``sum(t^3) / sum(t^2)``, and squares orthogonal to 1 and to the times."""
    t = torch.arange(count) if frames is None else frames
    t = t.to(like)
    t = t - t.mean()
    square = t**2
    skew = (t * square).sum() / square.sum()
    return t, skew, square - square.mean() - t * skew


def _to_body(rotation: Float[Tensor, "... 4"], vector: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
    """World vector in body axes: rotation by the conjugate quaternion."""
    w, axis = rotation[..., :1], -rotation[..., 1:]
    twice = 2 * torch.linalg.cross(axis, vector)
    return vector + w * twice + torch.linalg.cross(axis, twice)
