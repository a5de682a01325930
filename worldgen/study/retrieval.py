"""Does an ImageBind find what belongs together: retrieval between senses, and families named by words."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from rich.console import Console
from rich.table import Table
from torch import Tensor

from worldgen.audio.impact import SoundingClips
from worldgen.data.batching import stack_clips
from worldgen.data.sources import ShardedClips
from worldgen.data.transforms import InertialClips
from worldgen.encoders.imagebind import ImageBind
from worldgen.files import write_atomically
from worldgen.metrics.intervals import exact_interval
from worldgen.report.plots import Bar, plot_intervals
from worldgen.report.provenance import read_provenance
from worldgen.texts import csv_text
from worldgen.types import Clip

RANKS = (1, 5)
FAMILY_PROMPTS: dict[str, tuple[str, ...]] = {
    "drop": ("a ball drops onto the floor and bounces", "two balls are dropped and bounce on the floor"),
    "bounce": (
        "a ball is thrown to the right and bounces on the floor",
        "a ball flies to the left and bounces on the floor",
    ),
    "collide": ("a ball on the left and a ball on the right slide toward each other and collide",),
    "slide": (
        "a box slides to the right along the floor",
        "a box slides to the left along the floor",
        "a box slides to the right down a steep ramp",
        "a box slides to the left down a gentle ramp",
    ),
    "roll": ("a ball rolls down a gentle ramp to the left", "a ball rolls down a steep ramp to the right"),
    "pendulum": (
        "a ball swings on a short rod, starting from the right",
        "a ball swings on a long rod, starting from the left",
    ),
    "projectile": (
        "a box flies through the air to the right",
        "a ball is thrown through the air to the left",
        "a cylinder flies through the air to the right",
    ),
    "topple": (
        "a ball hits a stack of four boxes and knocks it over",
        "a stack of three boxes leans to the left and falls over",
        "a stack of five boxes leans to the right and falls over",
    ),
    "occlude": (
        "a ball passes behind a screen to the left",
        "a ball moves to the right and passes behind a screen",
    ),
    "tumble": ("a box tumbles without gravity", "a capsule floats and turns slowly"),
    "cradle": (
        "a ball swings from the left into a row of three hanging balls",
        "a ball swings from the right into a row of four hanging balls",
    ),
    "dominoes": (
        "a box on the left knocks over a row of five dominoes",
        "a box on the right knocks over a row of four dominoes",
    ),
}
"""What is said of each family when a clip is to be named; no colors, as these do not tell families apart."""


@dataclass(frozen=True)
class RetrievalScore:
    """One number, over the clips that have both senses."""

    query: str
    target: str
    kind: str
    """trained, emergent (never compared in training), or zero-shot."""
    measure: str
    value: float
    low: float
    high: float
    """Ends of the exact 95 % interval of a share of so many queries."""
    chance: float
    family_chance: float
    """Chance of one who knows the family of each clip, and nothing else."""
    queries: int
    candidates: int


def evaluate_retrieval(
    checkpoint: Path, data: Path, out: Path, clips: int | None = None
) -> list[RetrievalScore]:
    """Write retrieval.csv, retrieval.json and retrieval.png, and print the table.

    Where several clips share one caption, words cannot tell them apart: finding the caption, or any clip that
    has it, is right, and each caption stands once among the candidates.

    Args:
        checkpoint: ImageBind, see `ImageBind`.
        data: Folder of simulated shards that it was not trained on.
        out: Folder of the results.
        clips: Only the first so many.

    Raises:
        FileNotFoundError: No such checkpoint or folder.
        ValueError: An encoder of vision alone, or fewer than two clips.
    """
    source, encoder = ShardedClips(data, skip=("masks",)), ImageBind(checkpoint)
    count = min(len(source), len(source) if clips is None else clips)
    if len(encoder.modalities) < 2 or count < 2:
        raise ValueError(
            f"Retrieval needs two modalities and two clips; got {encoder.modalities} and {count} clips."
        )
    entries = source.index.entries[:count]
    vectors = _embed_all(encoder, InertialClips(SoundingClips(source)), count)
    captions, families = [entry.caption for entry in entries], [entry.family for entry in entries]
    findings = [
        finding
        for query, target in permutations(vectors, 2)
        for finding in measure_recall(query, target, vectors, captions, families)
    ]
    if "text" in vectors:
        findings += name_families(encoder, vectors, families)
    _write(findings, Path(out))
    return findings


def measure_recall(
    query: str,
    target: str,
    vectors: dict[str, Float[Tensor, "N D"]],
    captions: Sequence[str],
    families: Sequence[str],
) -> list[RetrievalScore]:
    """Recall at each of `RANKS`: is the clip's own target among the nearest so many?

    Args:
        query: Modality that is given.
        target: Modality that is searched.
        vectors: Unit vectors of N clips by modality; nan for clips that have it not.
        captions: Of the N clips.
        families: Of the N clips.
    """
    both = (~(vectors[query].isnan() | vectors[target].isnan()).any(dim=1)).nonzero().flatten()
    names = [captions[index] for index in both.tolist()]
    gallery, right = both, torch.eye(len(both), dtype=torch.bool)
    if "text" in (query, target):
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        label = torch.tensor([numbers[name] for name in names])
        if target == "text":
            gallery = both[[names.index(name) for name in numbers]]
            right = label[:, None] == torch.arange(len(numbers))
        else:
            right = label[:, None] == label
    if len(gallery) < 2:
        return []
    order = (vectors[query][both] @ vectors[target][gallery].T).argsort(dim=1, descending=True, stable=True)
    ranks = right.gather(1, order).float().argmax(dim=1)
    numbers = {family: number for number, family in enumerate(dict.fromkeys(families))}
    family = torch.tensor([numbers[name] for name in families])
    near = family[both][:, None] == family[gallery]
    kind = "trained" if "vision" in (query, target) else "emergent"
    found = []
    for k in RANKS:
        hits = (ranks < k).double().numpy()
        chance = float(np.mean([_chance(len(gallery), int(row.sum()), k) for row in right]))
        pairs = zip(near, near & right, strict=True)
        known = float(np.mean([_chance(int(own.sum()), int(hit.sum()), k) for own, hit in pairs]))
        low, high = exact_interval(int(hits.sum()), len(hits))
        found.append(
            RetrievalScore(
                query,
                target,
                kind,
                f"recall@{k}",
                float(hits.mean()),
                low,
                high,
                chance,
                known,
                len(both),
                len(gallery),
            )
        )
    return found


def name_families(
    encoder: ImageBind, vectors: dict[str, Float[Tensor, "N D"]], families: Sequence[str]
) -> list[RetrievalScore]:
    """Share of clips whose family's prompts lie nearest: no classifier is trained.

    The vector of a family is the mean of those of its `FAMILY_PROMPTS`. Families of which no clip has the
    sense are no candidates; chance is the share of the commonest one.
    """
    found = []
    for name, values in vectors.items():
        rows = [
            index
            for index, family in enumerate(families)
            if family in FAMILY_PROMPTS and not bool(values[index].isnan().any())
        ]
        known = sorted({families[index] for index in rows})
        if len(known) < 2 or name == "text":
            continue
        means = [encoder.embed_text(FAMILY_PROMPTS[family]).mean(dim=0) for family in known]
        answer = (values[rows] @ F.normalize(torch.stack(means), dim=1).T).argmax(dim=1)
        truth = torch.tensor([known.index(families[index]) for index in rows])
        hits = (answer == truth).double().numpy()
        chance = float(truth.bincount().max()) / len(rows)
        low, high = exact_interval(int(hits.sum()), len(hits))
        found.append(
            RetrievalScore(
                name,
                "family",
                "zero-shot",
                "accuracy",
                float(hits.mean()),
                low,
                high,
                chance,
                1.0,
                len(rows),
                len(known),
            )
        )
    return found


def _chance(candidates: int, right: int, k: int) -> float:
    """Probability that one of ``right`` candidates is among k that are drawn blindly."""
    miss = 1.0
    for drawn in range(k):
        miss *= max(0.0, candidates - right - drawn) / max(1, candidates - drawn)
    return 1 - miss


def _embed_all(encoder: ImageBind, source: InertialClips, count: int) -> dict[str, Float[Tensor, "N D"]]:
    """Unit vectors of every clip by modality, nan where a clip has it not."""
    found: dict[str, list[Tensor]] = {name: [] for name in encoder.modalities}
    for begin in range(0, count, 32):
        clip = stack_clips([source[index] for index in range(begin, min(begin + 32, count))])
        for name, rows in found.items():
            values = torch.full((len(clip), encoder.dim), torch.nan)
            has = _has(clip, name)
            if bool(has.any()):
                values[has] = _embed(encoder, _rows(clip, has), name).cpu()
            rows.append(values)
    vectors = {name: torch.cat(rows) for name, rows in found.items()}
    return {name: rows for name, rows in vectors.items() if not bool(rows.isnan().any(dim=1).all())}


def _has(clip: Clip, name: str) -> Bool[Tensor, " B"]:
    if name == "audio" and clip.sound is not None:
        return clip.sound.abs().amax(dim=1) > 0
    if name == "text":
        return torch.tensor([bool(prompt.strip()) for prompt in clip.prompts])
    sense = {"audio": clip.sound, "depth": clip.depth, "imu": clip.imu}.get(name, clip.frames)
    return torch.full((len(clip),), sense is not None)


def _rows(clip: Clip, keep: Bool[Tensor, " B"]) -> Clip:
    return stack_clips([clip[index] for index in keep.nonzero().flatten().tolist()])


def _embed(encoder: ImageBind, clip: Clip, name: str) -> Float[Tensor, "B D"]:
    if name == "text":
        return encoder.embed_text(clip.prompts)
    embed = {
        "vision": encoder.embed_vision,
        "audio": encoder.embed_audio,
        "depth": encoder.embed_depth,
        "imu": encoder.embed_imu,
    }
    return embed[name](clip)


def _write(findings: Sequence[RetrievalScore], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    command = read_provenance().command
    picture = io.BytesIO()
    lines: list[Iterable[object]] = [asdict(findings[0])]
    table = Table(title=command)
    for column in ("", "kind", "measure", "value", "95 %", "chance", "family", "clips", "candidates"):
        table.add_column(column, justify="left" if column in ("", "kind", "measure") else "right")
    for row in findings:
        values = asdict(row).values()
        lines.append([round(value, 4) if isinstance(value, float) else value for value in values])
        table.add_row(
            f"{row.query} -> {row.target}",
            row.kind,
            row.measure,
            f"{100 * row.value:.1f} %",
            f"{100 * row.low:.1f} .. {100 * row.high:.1f}",
            f"{100 * row.chance:.1f} %",
            f"{100 * row.family_chance:.1f} %",
            str(row.queries),
            str(row.candidates),
        )
    shown = [
        Bar(
            f"{row.query} to {row.target}, {row.kind} (chance {100 * row.chance:.1f})",
            100 * row.value,
            100 * row.low,
            100 * row.high,
        )
        for row in findings
        if row.measure != "recall@1"
    ]
    plot_intervals(shown, "% of clips: recall@5, and families named right").savefig(picture, format="png")
    content = {"command": command, "findings": [asdict(row) for row in findings]}
    write_atomically(out / "retrieval.csv", csv_text(lines).encode())
    write_atomically(out / "retrieval.json", (json.dumps(content, indent=1) + "\n").encode())
    write_atomically(out / "retrieval.png", picture.getvalue())
    Console(width=120, markup=False, emoji=False).print(table)
