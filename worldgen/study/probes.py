"""What can be read off a frozen encoder's tokens by a linear map, and how much of that it has learned."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from worldgen.data.batching import stack_clips
from worldgen.data.sources import ShardedClips
from worldgen.encoders.base import Encoder, Tokens
from worldgen.files import progress_bar, write_atomically
from worldgen.metrics.intervals import Interval, exact_interval, jackknife_interval
from worldgen.metrics.measure import Row
from worldgen.texts import csv_text
from worldgen.types import Clip

BATCH = 16
RUNS = 8
"""Tokens in order of time are averaged in so many runs, which are laid side by side."""
PENALTIES = np.logspace(-2, 6, 17)


@dataclass(frozen=True)
class Answers:
    """What a probe is asked about each of K clips."""

    family: tuple[str, ...]
    count: tuple[int, ...]
    """Objects that are there at some time."""
    speed: Float[np.ndarray, " K"]
    """Mean over objects and frames, m/s."""


@dataclass(frozen=True)
class Readings:
    """What encoders made of K clips: features by the encoder's label and the kind of pooling."""

    features: dict[tuple[str, str], Float[np.ndarray, "K F"]]
    answers: Answers


class Pixels(Encoder):
    """Frames averaged down to ``side`` x ``side``: the floor under every probe."""

    def __init__(self, side: int = 8) -> None:
        super().__init__()
        self.side, self.dim = side, 3 * side**2
        self.freeze()

    def encode(self, clip: Clip) -> Tokens:
        """A token per frame."""
        small = functional.adaptive_avg_pool2d(clip.frames.flatten(0, 1), self.side)
        values = small.flatten(1).unflatten(0, clip.frames.shape[:2])  # (B, T, 3 side^2)
        return Tokens(values, torch.ones(values.shape[:2], dtype=torch.bool, device=values.device))


def probe(
    encoder: Encoder,
    train: Path,
    test: Path,
    out: Path,
    train_clips: int = 3000,
    test_clips: int | None = None,
    seed: int = 0,
) -> None:
    """Probe an encoder: family, number of objects and mean speed by ridge regression on pooled tokens.

    Beside it stand the same architecture with fresh weights, and frames of 8 x 8 pixels. The encoder is any
    of ours: --encoder worldgen.encoders.vjepa2.VJEPA2 --encoder.checkpoint assets/nano/vjepa2. It is given
    whole clips: one that reads captions or sound is probed on those too.

    Args:
        encoder: Its class and arguments.
        train: Folder of simulated shards that the maps are fitted on.
        test: Folder of simulated shards that they are tested on.
        out: Folder of results.csv.
        train_clips: Fit on the first so many.
        test_clips: Test on the first so many; on all when left out.
        seed: Of the fresh weights.
    """
    fresh = untrained(encoder, seed)
    encoders = {"encoder": encoder, "untrained": fresh, "pixels": Pixels()}
    encoders = {label: one for label, one in encoders.items() if one is not None}
    sources = [ShardedClips(folder, skip=("depth", "masks", "scene")) for folder in (train, test)]
    fitted, tested = (
        read_clips(encoders, source, clips)
        for source, clips in zip(sources, (train_clips, test_clips), strict=True)
    )
    rows = measure_readings(fitted, tested)
    _show(rows, out, None if fresh is not None else type(encoder).__name__)


def untrained(encoder: Encoder, seed: int) -> Encoder | None:
    """The same architecture with fresh weights; None where it cannot be made of its network's ``config``."""
    network = getattr(encoder, "model", None)
    config = getattr(network, "config", None)
    if config is None or isinstance(config, dict):
        return None
    fresh = copy.deepcopy(encoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        assert isinstance(network, nn.Module)
        fresh.model = type(network)(copy.deepcopy(config))
    fresh.freeze()
    return fresh


@torch.no_grad()
def read_clips(encoders: dict[str, Encoder], source: ShardedClips, clips: int | None = None) -> Readings:
    """Pool what each encoder makes of the first clips of a source.

    Raises:
        ValueError: Clips that were not simulated: nobody knows the answers.
    """
    total = len(source) if clips is None else min(clips, len(source))
    found: dict[tuple[str, str], list[Tensor]] = {}
    counts, speeds = [], []
    with progress_bar("batches") as bar:
        for begin in bar.track(range(0, total, BATCH), description="Encoding"):
            clip = stack_clips([source[index] for index in range(begin, min(begin + BATCH, total))])
            if clip.truth is None:
                raise ValueError(
                    f"Probes need simulated clips, whose truth is known; {source.index.folder} has others."
                )
            there = clip.truth.present
            counts.append(there.any(dim=1).sum(dim=1))
            speed = clip.truth.velocity.norm(dim=-1) * there
            speeds.append(speed.sum(dim=(1, 2)) / there.sum(dim=(1, 2)).clamp(min=1))
            for label, encoder in encoders.items():
                tokens = encoder.encode(clip)
                found.setdefault((label, "mean"), []).append(pool(tokens, 1))
                found.setdefault((label, "timed"), []).append(pool(tokens, RUNS))
    families = tuple(entry.family for entry in source.index.entries[:total])
    answers = Answers(families, tuple(torch.cat(counts).tolist()), torch.cat(speeds).double().numpy())
    return Readings({key: torch.cat(parts).double().numpy() for key, parts in found.items()}, answers)


def pool(tokens: Tokens, runs: int) -> Float[Tensor, "B F"]:
    """The means of ``runs`` equal runs of tokens, or of each token where there are fewer, side by side."""
    real = tokens.mask.to(tokens.values)[..., None]
    runs = min(runs, tokens.values.shape[1])
    total, weight = (
        functional.adaptive_avg_pool1d(part.transpose(1, 2), runs)  # (B, D or 1, runs)
        for part in (tokens.values * real, real)
    )
    return (total / weight.clamp(min=1e-12)).flatten(1).cpu()


def measure_readings(fitted: Readings, tested: Readings) -> list[Row]:
    """The lines of the table: each question, pooling and encoder, and the encoder's lead over the others.

    Raises:
        ValueError: A family to test on that the maps were not fitted on.
    """
    unseen = sorted(set(tested.answers.family) - set(fitted.answers.family))
    if unseen:
        raise ValueError(f"Families to test on must be among those to fit on; {', '.join(unseen)} is not.")
    ridges = {key: Ridge(x) for key, x in fitted.features.items()}
    rows = []
    for name in ("family", "count"):
        asked, truth = getattr(fitted.answers, name), getattr(tested.answers, name)
        kinds = sorted(set(asked))
        chance = max(truth.count(kind) for kind in kinds) / len(truth)
        rows.append(Row(f"{name}: chance", chance, unit="right", note=f"the most frequent of {len(kinds)}"))
        one_hot = np.array([[float(kind == answer) for kind in kinds] for answer in asked])
        right = np.array([kinds.index(answer) if answer in kinds else -1 for answer in truth])
        chosen = {
            key: np.stack([ridge.fit(one_hot)(tested.features[key]).argmax(axis=1), right], axis=1)
            for key, ridge in ridges.items()
        }
        rows += _compare(name, chosen, _accuracy, _accuracy_interval, "right")
    asked, truth = fitted.answers.speed[:, None], tested.answers.speed
    made = {
        key: np.stack([ridge.fit(asked)(tested.features[key])[:, 0], truth], axis=1)
        for key, ridge in ridges.items()
    }
    return rows + _compare("speed", made, _r2, _r2_interval, "R2")


class Ridge:
    """Ridge regression on standardized features, its penalty chosen by leaving one clip out, in closed form.

    The error at a clip left out is ``r / (1 - h)``, of its residual and leverage (Golub et al. 1979).

    Args:
        x: Features.
    """

    def __init__(self, x: Float[np.ndarray, "K F"]) -> None:
        self.center, self.scale = x.mean(axis=0), x.std(axis=0) + 1e-8
        self.left, self.singular, self.right = np.linalg.svd(
            (x - self.center) / self.scale, full_matrices=False
        )

    def fit(
        self, y: Float[np.ndarray, "K O"]
    ) -> Callable[[Float[np.ndarray, "M F"]], Float[np.ndarray, "M O"]]:
        """The map from features to ``y``."""
        level = y.mean(axis=0)
        seen = self.left.T @ (y - level)  # (R, O)
        errors = []
        for penalty in PENALTIES:
            kept = self.singular**2 / (self.singular**2 + penalty)
            leverage = self.left**2 @ kept + 1 / len(y)
            residual = y - level - self.left @ (kept[:, None] * seen)
            errors.append(((residual / (1 - leverage).clip(1e-6)[:, None]) ** 2).sum())
        penalty = PENALTIES[int(np.argmin(errors))]
        weights = self.right.T @ ((self.singular / (self.singular**2 + penalty))[:, None] * seen)
        return lambda test: (test - self.center) / self.scale @ weights + level


def _compare(
    question: str,
    answers: dict[tuple[str, str], Float[np.ndarray, "M 2"]],
    statistic: Callable[[np.ndarray], float],
    interval: Callable[[np.ndarray], Interval],
    unit: str,
) -> list[Row]:
    """Each way of reading, then the encoder's lead; ``answers`` are what was said beside what is true."""
    rows = []
    for pooling in ("mean", "timed"):
        tables = {label: table for (label, kind), table in answers.items() if kind == pooling}
        for label, table in tables.items():
            low, high = interval(table)
            rows.append(Row(f"{question}, {pooling}: {label}", statistic(table), low, high, unit))
        for other in [label for label in tables if label != "encoder"]:
            lead = _lead(tables["encoder"], tables[other], statistic)
            rows.append(Row(f"{question}, {pooling}: encoder - {other}", *lead, unit, "on the same clips"))
    return rows


def _lead(
    encoder: Float[np.ndarray, "M 2"],
    other: Float[np.ndarray, "M 2"],
    statistic: Callable[[np.ndarray], float],
) -> tuple[float, float | None, float | None]:
    """How much better the encoder is than another on the same clips, and the interval of that."""
    both = np.concatenate([encoder, other], axis=1)  # (M, 4)

    def difference(drawn: np.ndarray) -> float:
        return statistic(drawn[:, :2]) - statistic(drawn[:, 2:])

    low, high = jackknife_interval(both, difference)
    return difference(both), low, high


def _accuracy(drawn: Float[np.ndarray, "M 2"]) -> float:
    answered, true = drawn.T
    return float((answered == true).mean())


def _accuracy_interval(drawn: Float[np.ndarray, "M 2"]) -> Interval:
    answered, true = drawn.T
    return exact_interval(int((answered == true).sum()), len(drawn))


def _r2(drawn: Float[np.ndarray, "M 2"]) -> float:
    answered, true = drawn.T
    return 1 - float(((answered - true) ** 2).sum() / ((true - true.mean()) ** 2).sum().clip(1e-12))


def _r2_interval(drawn: Float[np.ndarray, "M 2"]) -> Interval:
    return jackknife_interval(drawn, _r2)


def _show(rows: Sequence[Row], out: Path, bare: str | None) -> None:
    lines = [asdict(rows[0]).keys(), *(asdict(row).values() for row in rows)]
    write_atomically(out / "results.csv", csv_text(lines).encode())
    table = Table()
    for column in ("", "value", "95 % interval", "unit", "note"):
        table.add_column(column)
    for row in rows:
        interval = f"{row.low:.3f} .. {row.high:.3f}" if row.low is not None else ""
        table.add_row(row.name, f"{row.value:.3f}", interval, row.unit, row.note)
    Console(markup=False, emoji=False).print(table)
    if bare is not None:
        print(f"No fresh weights beside it: the network of {bare} has no config to be made anew from.")
    print(f"{out / 'results.csv'}")
