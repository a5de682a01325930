"""Fit the first state of a simulated world to measured positions: Gauss-Newton through MuJoCo rollouts.

Outliers weigh less (Huber 1964), damping keeps steps honest (Levenberg-Marquardt), and what a measurement
cannot tell stays near where it started. Until something touches, bodies fly on parabolas, whose derivatives
are known without simulating.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from worldgen.simulation.engine import mujoco, object_bodies
from worldgen.simulation.scenes.staging import damping_of_restitution

_OUTLIER = 3.0
"""Deviations beyond which a measurement loses weight."""
_PARABOLA = 1e-6
"""Metres by which a body may leave its parabola and still count as untouched."""
_SETTLED = 1e-2
"""Relative decrease of the cost below which another step is not worth its rollouts."""


@dataclass(frozen=True, eq=False)
class Unknown:
    """One number that is fitted, as a deviation from where the fit starts."""

    what: str
    """place, rate (both along ``direction``), restitution, friction or size."""
    step: float
    """Of the finite difference: m, rad, m/s, rad/s, or of the material."""
    spread: float
    """Standard deviation that is plausible before anything is measured."""
    body: int = -1
    """Object that it moves; -1 for what all objects share."""
    direction: Float[np.ndarray, " nv"] | None = None


@dataclass(frozen=True, eq=False)
class Measured:
    """Where objects were seen."""

    position: Float[np.ndarray, "T N 3"]
    """Metres."""
    seen: Bool[np.ndarray, "T N"]
    sigma: float
    """Noise of one coordinate in metres."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """Values of the unknowns, and what they cost."""

    values: Float[np.ndarray, " P"]
    cost: float
    """Half the sum of squares in deviations, outliers linear."""
    path: Float[np.ndarray, "T N 3"]
    covariance: Float[np.ndarray, "P P"]


@dataclass(frozen=True, eq=False)
class _Path:
    position: Float[np.ndarray, "T N 3"]
    qpos: Float[np.ndarray, "T nq"]
    qvel: Float[np.ndarray, "T nv"]


class Problem:
    """A model, the state its fit starts from, and what is unknown about it.

    Args:
        model: Its step divides the frame interval.
        qpos: First positions.
        qvel: First velocities.
        unknowns: What is fitted.
        steps: Simulation steps per frame.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        qpos: Float[np.ndarray, " nq"],
        qvel: Float[np.ndarray, " nv"],
        unknowns: tuple[Unknown, ...],
        steps: int,
    ) -> None:
        self.model, self.qpos, self.qvel = model, qpos, qvel
        self.unknowns, self.steps = unknowns, steps
        self.data = mujoco.MjData(model)
        self.bodies = object_bodies(model)
        self.own = np.isin(model.geom_bodyid, self.bodies)
        self.dt = steps * model.opt.timestep
        self.nominal = (
            model.geom_solref.copy(),
            model.geom_size.copy(),
            model.geom_rbound.copy(),
            model.geom_aabb.copy(),
        )

    def start(
        self, values: Float[np.ndarray, " P"]
    ) -> tuple[Float[np.ndarray, " nq"], Float[np.ndarray, " nv"]]:
        """First positions and velocities for these values; the model takes on their materials."""
        shift, rate = np.zeros(self.model.nv), self.qvel.copy()
        for unknown, value in zip(self.unknowns, values, strict=True):
            if unknown.direction is None:
                self._set_material(unknown.what, value)
            elif unknown.what == "place":
                shift += value * unknown.direction
            else:
                rate += value * unknown.direction
        qpos = self.qpos.copy()
        mujoco.mj_integratePos(self.model, qpos, shift, 1.0)
        return qpos, rate

    def materials(self, values: Float[np.ndarray, " P"]) -> tuple[tuple[str, float], ...]:
        """Names and values of the materials among the unknowns."""
        found = []
        for unknown, value in zip(self.unknowns, values, strict=True):
            if unknown.direction is None:
                found.append((unknown.what, self._material(unknown.what, float(value))))
        return tuple(found)

    def roll(self, values: Float[np.ndarray, " P"], frames: int) -> _Path:
        """Simulate so many frames."""
        qpos, qvel = self.start(values)
        return self._roll(qpos, qvel, frames)

    def fit(
        self, measured: Measured, frames: int, values: Float[np.ndarray, " P"], rounds: int = 4
    ) -> Fitted:
        """The values that bring the first frames nearest to what was measured in them.

        Args:
            measured: Of at least so many frames.
            frames: How many of them count.
            values: Where to start.
            rounds: Linearizations, at most.
        """
        precision = np.diag([unknown.spread**-2 for unknown in self.unknowns])
        path = self.roll(values, frames)
        cost = self._cost(path, values, measured)
        damping, normal = 1e-3, precision
        for _ in range(rounds if len(values) else 0):
            slope = self.slope(path, values, frames)  # (P, T, N, 3)
            error = np.where(measured.seen[:frames, :, None], measured.position[:frames] - path.position, 0.0)
            distance = np.linalg.norm(error, axis=-1) / measured.sigma
            weight = measured.seen[:frames] * np.minimum(1.0, _OUTLIER / np.maximum(distance, _OUTLIER))
            weighed = slope * (weight / measured.sigma**2)[None, ..., None]
            normal = np.einsum("ptnd,qtnd->pq", weighed, slope) + precision
            pull = np.einsum("ptnd,tnd->p", weighed, error) - precision @ values
            for _ in range(4):
                tried = values + np.linalg.solve(normal + damping * np.diag(np.diag(normal)), pull)
                tried_path = self.roll(tried, frames)
                tried_cost = self._cost(tried_path, tried, measured)
                if tried_cost < cost:
                    break
                damping = max(10 * damping, 0.1)
            else:
                break
            gain = cost - tried_cost
            values, path, cost, damping = tried, tried_path, tried_cost, damping / 10
            if gain < _SETTLED * (cost + 1.0):
                break
        return Fitted(values, cost, path.position, np.linalg.inv(normal))

    def slope(
        self, path: _Path, values: Float[np.ndarray, " P"], frames: int
    ) -> Float[np.ndarray, "P T N 3"]:
        """Derivative of every position with respect to every unknown.

        Args:
            path: `roll` of the same values and frames.
            values: Where to take it.
            frames: How many.
        """
        free = self._untouched(path)
        shared = int(free.min()) if len(free) else frames
        slope = np.zeros((len(values), *path.position.shape))
        for number, unknown in enumerate(self.unknowns):
            if unknown.direction is not None and free[unknown.body] > 1:
                slope[number, : free[unknown.body], unknown.body] = self._flown(unknown, free[unknown.body])
            until = free[unknown.body] if unknown.body >= 0 else shared
            if until >= frames:
                continue  # it touches nothing: the parabola is all there is
            begin = max(shared - 1, 0)
            qpos, qvel = path.qpos[begin].copy(), path.qvel[begin].copy()
            if unknown.direction is None:
                self._set_material(unknown.what, values[number] + unknown.step)
            elif begin == 0:
                moved = values.copy()
                moved[number] += unknown.step
                qpos, qvel = self.start(moved)
            else:
                rate = unknown.what == "rate"
                reach = unknown.step * (begin * self.dt if rate else 1.0)
                mujoco.mj_integratePos(self.model, qpos, reach * unknown.direction, 1.0)
                qvel = qvel + (unknown.step * unknown.direction if rate else 0.0)
            moved_path = self._roll(qpos, qvel, frames - begin)
            if unknown.direction is None:
                self._set_material(unknown.what, values[number])
            slope[number, begin:] = (moved_path.position - path.position[begin:]) / unknown.step
        return slope

    def _flown(self, unknown: Unknown, frames: int) -> Float[np.ndarray, "T 3"]:
        """Derivative of a free body's position while nothing touches it."""
        assert unknown.direction is not None
        first = self.model.body_dofadr[self.bodies[unknown.body]]
        linear = unknown.direction[first : first + 3]
        time = np.arange(frames) * self.dt
        return np.outer(time if unknown.what == "rate" else np.ones(frames), linear)

    def _untouched(self, path: _Path) -> np.ndarray:
        """How many first frames each free body flies on a parabola; 0 for bodies on joints."""
        frames, time = len(path.position), np.arange(len(path.position))[:, None] * self.dt
        free = np.zeros(len(self.bodies), dtype=int)
        for number, body in enumerate(self.bodies):
            joint = self.model.body_jntadr[body]
            if self.model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_FREE:
                continue
            start = self.model.body_dofadr[body]
            flight = (
                path.qpos[0, self.model.jnt_qposadr[joint] :][:3] + time * path.qvel[0, start : start + 3]
            )
            flight = flight + time**2 / 2 * self.model.opt.gravity
            places = path.qpos[:, self.model.jnt_qposadr[joint] :][:, :3]
            left = np.flatnonzero(np.abs(places - flight).max(axis=1) > _PARABOLA)
            free[number] = left[0] if len(left) else frames
        return free

    def _roll(self, qpos: np.ndarray, qvel: np.ndarray, frames: int) -> _Path:
        model, data = self.model, self.data
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:] = qpos, qvel
        places = np.empty((frames, model.nq))
        rates, position = np.empty((frames, model.nv)), np.empty((frames, len(self.bodies), 3))
        for frame in range(frames):
            if frame:
                mujoco.mj_step(model, data, nstep=self.steps)
            places[frame], rates[frame] = data.qpos, data.qvel
            # Runge-Kutta leaves the poses of its last stage behind.
            mujoco.mj_kinematics(model, data)
            position[frame] = data.xipos[self.bodies]
        return _Path(position, places, rates)

    def _cost(self, path: _Path, values: np.ndarray, measured: Measured) -> float:
        error = np.linalg.norm(measured.position[: len(path.position)] - path.position, axis=-1)
        distance = np.where(measured.seen[: len(path.position)], error, 0.0) / measured.sigma
        far = np.minimum(distance, _OUTLIER)
        spread = np.array([unknown.spread for unknown in self.unknowns])
        cost = (far * (distance - far / 2)).sum() + ((values / spread) ** 2).sum() / 2
        return float(cost) if np.isfinite(cost) else float("inf")

    def _set_material(self, what: str, value: float) -> None:
        model, (solref, size, bound, box) = self.model, self.nominal
        if what == "restitution":
            stiffness = -solref[self.own, 0]
            damping = damping_of_restitution(self._material(what, value))
            model.geom_solref[self.own, 1] = -2 * damping * np.sqrt(stiffness)
        elif what == "friction":
            model.geom_friction[self.own, 0] = self._material(what, value)
        else:
            times = self._material(what, value)
            model.geom_size[self.own] = times * size[self.own]
            model.geom_rbound[self.own] = times * bound[self.own]
            model.geom_aabb[self.own] = times * box[self.own]

    @staticmethod
    def _material(what: str, value: float) -> float:
        """Restitution, friction, or the factor of size that a deviation stands for."""
        if what == "restitution":
            return float(np.clip(0.6 + value, 0.16, 0.999))
        return max(0.3 + value, 0.0) if what == "friction" else max(1 + value, 0.1)
