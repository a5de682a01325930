"""Physics at sampling time: the best of n draws by several judges, gradient guidance, and fewer steps.

    OMP_NUM_THREADS=1 python experiments/physics/best_of_n.py outputs/studies/screening/cells/base

Every seed of an arm continues the first two frames of the clips of data/physics/test (`id`), test_gravity and
test_speed 16 times, each time from another noise; `--splits id` takes the first alone. Errors are those of
out_of_distribution.py: distance of places from the simulator's, in pixels of a 64-pixel picture, root mean
square over what is chosen.

Judges of a draw: `random`; `least motion` (the shortest way, the cheat); `laws` (free fall and no overlap);
`dynamics` (one step of the shipped network from every two frames); `roll-out` (of the network from the
known frames); `truth`, the ceiling. Guidance moves the clean estimate of each sampler step along the
gradient of the `dynamics` residual. Written are all numbers, and a table of means over seeds, with
changes against `random`.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from scipy.stats import t as student
from torch import Tensor
from torch.nn.functional import pad

from worldgen.data.batching import stack_clips
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.context import hold
from worldgen.diffusion.denoisers.base import Denoiser, Residuals
from worldgen.diffusion.sampler import Sampler
from worldgen.diffusion.state_codec import StateCodec
from worldgen.encoders.base import Placed
from worldgen.model import WorldModel
from worldgen.physics.ball_forecast import BallForecast
from worldgen.physics.dynamics import load_dynamics
from worldgen.physics.flight import Dynamics
from worldgen.physics.graph import Scenery
from worldgen.physics.regularizer import law_residual, window_residual
from worldgen.runs.folder import open_run
from worldgen.tasks.parts.dynamics import PIXELS
from worldgen.types import Clip, Conditioning, Trajectory

SPLITS = {"id": "test", "gravity": "test_gravity", "speed": "test_speed"}
KNOWN, DRAWS = 2, 16
STEPS = (2, 4, 8, 16)
GUIDED = ((1, 0.5), (5, 0.1))
"""Steps along the gradient for each of the sampler's, and their length: 1 goes where the dynamics say."""
Judge = Callable[[Float[Tensor, "B T N 3"]], Float[Tensor, " B"]]


class GuidedDenoiser(Denoiser):
    """A denoiser of clean object states, whose estimate is moved to where dynamics see each frame go.

    The gradient of ``r^2 / 2`` with the past detached is r itself: one step of length 1 takes each frame to
    where the two before it lead.

    Args:
        inner: Predicts the clean change.
        model: Whose change it is.
        residual: Of places, to be differentiated.
        steps: Along the gradient.
        length: Of each.
    """

    def __init__(
        self,
        inner: Denoiser,
        model: WorldModel,
        residual: Callable[[Tensor], Tensor],
        steps: int,
        length: float,
    ) -> None:
        super().__init__()
        self.inner, self.residual, self.steps, self.length = inner, residual, steps, length
        self.codec, self.std = model.codec, float(model.latent_std)

    def forward(
        self,
        x: Float[Tensor, "B T C H W"],
        sigma: Float[Tensor, " B"],
        context: Float[Tensor, "B T K H W"],
        condition: Conditioning,
        residuals: Residuals | None = None,
    ) -> Float[Tensor, "B T C H W"]:
        codec = self.codec
        assert isinstance(codec, StateCodec)
        still = context[:, :, : codec.channels]
        z = self.inner(x, sigma, context, condition, residuals) * self.std + still
        states = z[..., 0, 0].unflatten(-1, (codec.objects, codec.features)).clone()
        place = states[..., :3] * codec.length
        for _ in range(self.steps):
            with torch.enable_grad():
                moved = place.detach().requires_grad_()
                (gradient,) = torch.autograd.grad(self.residual(moved).square().sum() / 2, moved)
            gradient[:, :KNOWN] = 0
            place = place - self.length * gradient
        way = place / codec.length - states[..., :3]
        states[..., :3] += way
        # Displacements tell the same story as places, or sampling mixes two.
        states[:, 1:, :, 3:6] += torch.diff(way, dim=1) * codec.velocity_gain
        return (states.flatten(2)[..., None, None] - still) / self.std


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("arm", type=Path, help="Folder of an arm's cells, seed-0, seed-1, ...")
    parser.add_argument("--data", type=Path, default=Path("data/physics"))
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=[*SPLITS])
    parser.add_argument("--dynamics", default="assets/nano/dynamics")
    parser.add_argument("--out", type=Path, default=Path("experiments/physics/best_of_n.csv"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    runs = sorted(options.arm.glob("seed-*"))
    if not runs:
        parser.error(f"{options.arm} must hold cells, seed-0 and on; it has none. Run its study first.")
    dynamics = load_dynamics(options.dynamics).requires_grad_(False).eval()
    rows = []
    for split in options.splits:
        source = ShardedClips(options.data / SPLITS[split])
        clip = stack_clips([source[index] for index in range(len(source))])
        for run in runs:
            for way, error, seconds in measure(open_run(run), dynamics, clip):
                rows.append((split, int(run.name[5:]), way, f"{error:.4f}", f"{seconds:.4f}"))
                print(*rows[-1], flush=True)
    with open(options.out, "w", newline="") as file:
        csv.writer(file).writerows([("split", "seed", "way", "rmse_px", "seconds_a_clip"), *rows])
    print_means(rows)


def measure(model: WorldModel, dynamics: Dynamics, clip: Clip) -> Iterator[tuple[str, float, float]]:
    """Ways to sample: root mean square error in px, and CPU seconds for a clip, its draws included."""
    truth, bodies, scenery, rolled = told(model, dynamics, clip)
    slots = model.encode_condition(clip)
    begun = time.process_time()
    draws = torch.stack([draw(model, clip, slots, seed) for seed in range(DRAWS)], dim=1)  # (B, n, T, N, 3)
    seconds = (time.process_time() - begun) / DRAWS / len(clip)
    there = bodies.present.expand(-1, truth.shape[1], -1).clone()
    there[:, :KNOWN] = False

    def mean(value: Float[Tensor, "B W N"]) -> Float[Tensor, " B"]:
        shown = there[:, -value.shape[1] :]
        return (value * shown).sum(dim=(1, 2)) / shown.sum(dim=(1, 2))

    judges: dict[str, Judge] = {
        "least motion": lambda place: mean(torch.diff(place, dim=1).norm(dim=-1)),
        "laws": lambda place: mean(law_residual(place, bodies, scenery)),
        "dynamics": lambda place: mean(window_residual(dynamics, place, bodies, scenery).square()),
        "roll-out": lambda place: mean((place - rolled).square().sum(dim=-1)),
        "truth": lambda place: mean((place - truth).square().sum(dim=-1)),
    }
    squares = ((draws - truth[:, None]).square().sum(dim=-1) * there[:, None]).sum(dim=(2, 3))  # (B, n)

    def error(chosen: Float[Tensor, " B"]) -> float:
        return float((chosen.sum() / there.sum()).sqrt()) * PIXELS

    yield "random", error(squares.mean(dim=1)), seconds
    for name, judge in judges.items():
        begun = time.process_time()
        with torch.no_grad():
            scores = torch.stack([judge(place) for place in draws.unbind(dim=1)], dim=1)
        judging = (time.process_time() - begun) / DRAWS / len(clip)
        for n in (4, DRAWS):
            best = scores.unflatten(1, (-1, n)).argmin(dim=2, keepdim=True)
            chosen = squares.unflatten(1, (-1, n)).gather(2, best).mean(dim=(1, 2))
            yield f"best of {n} by {name}", error(chosen), n * (seconds + judging)
    yield "the roll-out itself", error(((rolled - truth).square().sum(dim=-1) * there).sum(dim=(1, 2))), 0.0

    inner, sampler = model.denoiser, model.sampler

    def once() -> tuple[float, float]:
        begun = time.process_time()
        place = draw(model, clip, slots, 0)
        spent = (time.process_time() - begun) / len(clip)
        return error(((place - truth).square().sum(dim=-1) * there).sum(dim=(1, 2))), spent

    for steps, length in GUIDED:
        model.denoiser = GuidedDenoiser(
            inner, model, lambda place: window_residual(dynamics, place, bodies, scenery), steps, length
        )
        yield f"guided, {steps} of length {length:g}", *once()
    model.denoiser = inner
    for steps in STEPS:
        model.sampler = Sampler(steps=steps, scheduler=None, guidance=sampler.guidance)
        yield f"{steps} sampler steps", *once()
    model.sampler = sampler


@torch.no_grad()
def told(
    model: WorldModel, dynamics: Dynamics, clip: Clip
) -> tuple[Float[Tensor, "B T N 3"], Trajectory, Scenery, Float[Tensor, "B T N 3"]]:
    """True places, what is known of the bodies, and where dynamics see them go from the known frames."""
    forecast, truth, frames = model.forecast, clip.truth, clip.frames.shape[1]
    assert isinstance(forecast, BallForecast) and truth is not None
    channels = forecast.draw(hold(clip, KNOWN, KNOWN), [KNOWN], frames, 1)
    bodies, scenery = forecast.bodies_of(channels[:, 0, 0, ..., 0, 0])
    # Read once: all draws are of the same clips.
    forecast.draw = lambda *_: channels  # pyright: ignore[reportAttributeAccessIssue]
    own = BallForecast(forecast.materials, dynamics, forecast.reader, forecast.objects)
    rolled, _ = own.foretell(hold(clip, KNOWN, KNOWN), KNOWN, frames)
    spare = (0, 0, 0, forecast.objects - truth.position.shape[2])
    return pad(truth.position, spare).float(), bodies, scenery, pad(rolled.position, spare).float()


@torch.no_grad()
def draw(model: WorldModel, clip: Clip, slots: tuple[Placed, ...], seed: int) -> Float[Tensor, "B T N 3"]:
    """Places in m that are generated."""
    codec = model.codec
    assert isinstance(codec, StateCodec)
    *_, z = model.sample(hold(clip, KNOWN, KNOWN), clip.frames.shape[1], seed, slots)
    return codec.places(z)


def print_means(rows: list[tuple[str, int, str, str, str]]) -> None:
    """Of each way and split the mean over seeds, and the change against `random` with its 95 % interval."""
    splits = list(dict.fromkeys(row[0] for row in rows))
    errors = {(split, way, seed): float(error) for split, seed, way, error, _ in rows}
    seeds = sorted({seed for _, _, seed in errors})
    reach = float(student.ppf(0.975, max(1, len(seeds) - 1))) / len(seeds) ** 0.5
    for way in dict.fromkeys(row[2] for row in rows):
        words = []
        for split in splits:
            own = [errors[split, way, seed] for seed in seeds]
            change = [errors[split, way, seed] - errors[split, "random", seed] for seed in seeds]
            half = reach * statistics.stdev(change) if len(seeds) > 1 else float("nan")
            words.append(f"{statistics.mean(own):.2f} ({statistics.mean(change):+.3f} +- {half:.3f})")
        spent = 1e3 * statistics.mean(float(row[4]) for row in rows if row[2] == way)
        print(f"| {way} | {' | '.join(words)} | {spent:.0f} |")


if __name__ == "__main__":
    main()
