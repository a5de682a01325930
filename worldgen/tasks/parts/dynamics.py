"""Training a network of dynamics on simulated trajectories, and what its roll-outs are worth."""

# torch-geometric declares everything that a Data holds as something that may be None.
# pyright: reportOptionalSubscript=false

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from torch import Tensor

from worldgen.physics.dynamics import Learned
from worldgen.physics.flight import Ballistic, ConstantVelocity, Dynamics, Step, moved
from worldgen.physics.graph import Data, Scenery, floor_and_balls, graph_of
from worldgen.simulation.ball_states import BallStates
from worldgen.tasks.schedule import require_training, scheduled, step_generator
from worldgen.types import Trajectory

PIXELS = 26.0
"""Of 64, in a metre at the plane in which things move."""
START = 1
"""The frame that roll-outs start from: two frames are known, as to a generator."""
_SPEED_NOISE = 10.0
"""1/s: noise of velocities over that of positions."""
_PLACE = 0.04
"""Metres that count as much as 1 m/s."""


class DynamicsTask(LightningModule):
    """Steps from position and velocity: squares, and the likelihood of an honest uncertainty.

    ``loss = |x' - x|^2 / s^2 + |v' - v|^2 + likelihood * sum_k sd_k (r_k^2 / (2 sd_k^2) + 3 ln sd_k)`` with
    ``s`` 4 cm, ``r`` the two residuals and ``sd`` the predicted deviations; those in front are constants
    (beta-NLL, Seitzer et al. 2022, 2203.09168). On some inputs there is noise, so that roll-outs bear their
    own errors (Sanchez-Gonzalez et al. 2020, 2002.09405, section 3.2).

    With ``unroll`` it learns from roll-outs, with the gradient through all their steps: of 1 step at first,
    then 2, 4, ... up to that many, each length for an equal part of the training. The loss is the mean over
    the steps; ``sd`` is then what `Dynamics.rollout_with_doubt` claims.

    Args:
        dynamics: The network to train.
        lr: Peak of AdamW's rate; warmed up, and brought to zero over the last 40 %.
        warmup: Steps.
        likelihood: Its weight.
        noise: Largest standard deviation in m of the positions' noise; the least is a thirtieth of it.
        noisy: Share of the pairs that have noise.
        seed: Of the noise.
        unroll: Steps of the longest roll-outs that it learns from; windows of the data must be that long.
    """

    def __init__(
        self,
        dynamics: Learned,
        lr: float = 2e-3,
        warmup: int = 100,
        likelihood: float = 0.1,
        noise: float = 1e-3,
        noisy: float = 0.3,
        seed: int = 0,
        unroll: int = 1,
    ) -> None:
        super().__init__()
        require_training(lr, warmup)
        if unroll < 1:
            raise ValueError(f"model.unroll must be at least 1; got {unroll}.")
        if not noise >= 0 or not 0 <= noisy <= 1 or not likelihood >= 0:
            raise ValueError(
                "model.noise and model.likelihood must be at least 0, and model.noisy in [0, 1]; got "
                f"{noise}, {likelihood} and {noisy}."
            )
        self.dynamics = dynamics
        self.lr, self.warmup, self.likelihood = lr, warmup, likelihood
        self.noise, self.noisy, self.seed, self.unroll = noise, noisy, seed, unroll

    def training_step(self, states: BallStates, index: int) -> Float[Tensor, ""]:
        generator = step_generator(self, self.seed, index)
        now = self._add_noise(frames_of(states.trajectory, 0, 1), generator)
        around, losses, claimed = scenery_of(states), [], None
        for ahead in range(1, self._steps_now(states) + 1):
            graph = graph_of(now, around)
            step = self.dynamics(graph)
            claimed = _claim(graph, step, claimed)
            place, velocity = _squares(graph, step, frames_of(states.trajectory, ahead, ahead + 1))
            log_variance = step.log_variance[graph.kind == 2]  # of one step, to the bit
            if ahead > 1:
                log_variance = torch.stack([claimed[0], claimed[2]], dim=1).log()
            losses.append(self._loss(place, velocity, log_variance))
            now = moved(now, graph, step)
        loss = torch.stack(losses).mean()
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/place_mm", place.mean().sqrt() * 1e3, prog_bar=True)
        self.log("train/velocity", velocity.mean().sqrt())
        return loss

    def validation_step(self, states: BallStates, index: int, dataloader_idx: int = 0) -> None:
        """Roll-outs over the rest of each trajectory, beside those that learned nothing."""
        split = states.split.replace("ood:", "")
        for name, dynamics in (("", self.dynamics), *BASELINES):
            error = rollout_error(dynamics, states)
            self._tell(f"val/{split}{name}", error, states)
            if split == "id":
                for family in sorted(set(states.family)):
                    chosen = torch.tensor([one == family for one in states.family], device=error.device)
                    self._tell(f"val/{split}_{family}{name}", error[chosen], states)

    def on_fit_end(self) -> None:
        """Export."""
        if self.trainer.log_dir and self.trainer.is_global_zero:
            self.dynamics.save(Path(self.trainer.log_dir) / "dynamics")

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(self.dynamics.parameters(), lr=self.lr, weight_decay=1e-4)
        return scheduled(optimizer, self.warmup, self.trainer)

    def _steps_now(self, states: BallStates) -> int:
        """Steps of this batch's roll-outs."""
        if self.unroll == 1:
            return 1
        given = states.trajectory.position.shape[1] - 1
        if given < self.unroll:
            raise ValueError(
                f"Training on roll-outs of {self.unroll} steps takes windows that long; got {given}. Set "
                "data.ahead to model.unroll."
            )
        parts = math.ceil(math.log2(self.unroll)) + 1
        part = parts * self.global_step // math.ceil(self.trainer.estimated_stepping_batches)
        return min(self.unroll, 2**part)

    def _loss(
        self, place: Float[Tensor, " n"], velocity: Float[Tensor, " n"], log_variance: Float[Tensor, "n 2"]
    ) -> Float[Tensor, ""]:
        squares = place / _PLACE**2 + velocity
        residual = torch.stack([place, velocity], dim=1)
        unit = residual.new_tensor([1 / _PLACE, 1.0])
        nll = residual / (2 * log_variance.exp()) + 1.5 * log_variance
        nll = nll * (log_variance.detach() / 2).exp() * unit
        return (squares + self.likelihood * nll.sum(dim=1)).mean()

    def _tell(self, name: str, error: Float[Tensor, "B T N"], states: BallStates) -> None:
        metres = root_mean_square(error)
        self.log(f"{name}_px", metres * PIXELS, batch_size=len(states), add_dataloader_idx=False)
        if "_" not in name:
            self.log(f"{name}_m", metres, batch_size=len(states), add_dataloader_idx=False)

    def _add_noise(self, start: Trajectory, generator: torch.Generator) -> Trajectory:
        size, device = len(start.dt), start.position.device
        draw, chosen = (torch.rand(size, generator=generator, device=device) for _ in range(2))
        spread = self.noise * 30 ** (draw - 1) * (chosen < self.noisy)

        def normal() -> Tensor:
            noise = torch.randn(start.position.shape, generator=generator, device=device)
            return spread[:, None, None, None] * noise

        return replace(
            start, position=start.position + normal(), velocity=start.velocity + _SPEED_NOISE * normal()
        )


BASELINES: tuple[tuple[str, Dynamics], ...] = (
    ("_ballistic", Ballistic()),
    ("_constant_velocity", ConstantVelocity()),
)
"""What learning is held against, by the end of its measures' names."""


@torch.no_grad()
def rollout_error(dynamics: Dynamics, states: BallStates) -> Float[Tensor, "B T N"]:
    """Distance in m from the truth at every frame after frame 1, where it is let go; NaN of no ball."""
    return rollout_residual(dynamics, states)[0].norm(dim=-1)


@torch.no_grad()
def rollout_residual(
    dynamics: Dynamics, states: BallStates
) -> tuple[Float[Tensor, "B T N 3"], Float[Tensor, "B T N"]]:
    """How far in m roll-outs are off at every frame after frame 1, and the deviation that they claim.

    NaN of no ball.
    """
    truth = states.trajectory
    start, steps = frames_of(truth, START, START + 1), truth.position.shape[1] - START - 1
    exact = truth.position.new_zeros(*truth.position[:, 0, :, 0].shape, 2, 2)
    rolled, deviation = dynamics.rollout_with_doubt(start, scenery_of(states), steps, exact)
    there = truth.present[:, START + 1 :]
    residual = (rolled.position - truth.position[:, START:])[:, 1:]
    return torch.where(there[..., None], residual, torch.nan), torch.where(there, deviation[:, 1:], torch.nan)


def root_mean_square(error: Float[Tensor, "B T N"]) -> Float[Tensor, ""]:
    """Over all that are not NaN."""
    return error.square().nanmean().sqrt()


def scenery_of(states: BallStates) -> Scenery:
    """What a graph of these balls is told besides their states."""
    return floor_and_balls(states.trajectory, states.gravity, states.restitution, states.dead_floor)


def frames_of(trajectory: Trajectory, first: int, end: int) -> Trajectory:
    """Frames ``first`` to ``end - 1``, without contacts."""
    states = {
        name: getattr(trajectory, name)[:, first:end]
        for name in ("position", "rotation", "velocity", "spin", "present")
    }
    return replace(trajectory, contacts=None, **states)


def _squares(graph: Data, step: Step, truth: Trajectory) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Squared distances from the truth of every body's place and velocity."""
    body = graph.kind == 2
    row = graph.row[body]
    there, speed = (values[:, 0].flatten(0, 1)[row] for values in (truth.position, truth.velocity))
    place = (step.position[body] - there).square().sum(dim=-1)
    return place, (step.velocity[body] - speed).square().sum(dim=-1)


def _claim(
    graph: Data, step: Step, before: tuple[Tensor, Tensor, Tensor] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """(n) variance of place, covariance with velocity, variance of velocity, as of `rollout_with_doubt`."""
    body = graph.kind == 2
    own, dt = step.log_variance[body].exp(), graph.dt[graph.batch[body]]
    if before is None:
        return own[:, 0], torch.zeros_like(own[:, 0]), own[:, 1]
    place, both, speed = before
    return place + 2 * dt * both + dt**2 * speed + own[:, 0], both + dt * speed, speed + own[:, 1]
