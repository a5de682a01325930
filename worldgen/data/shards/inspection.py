"""What a folder of shards holds, as tables and a contact sheet."""

from __future__ import annotations

import csv
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table
from safetensors.torch import load as load_tensors

from worldgen.data.shards.shards import ShardEntry, ShardIndex

MOST_READ = 4096
"""Clips whose rate is looked up; of more, so many are taken evenly."""
SHEET_CLIPS = 12
SHEET_MOMENTS = 6
CELL = 96
"""Pixels of the longer side of a picture of the sheet."""
LABEL_WIDTH = 220
GAP = 3


@dataclass(frozen=True)
class ShardSummary:
    """Counts of a folder of shards."""

    folder: Path
    clips: int
    shards: int
    megabytes: float
    """On disk, indices included; 10^6 bytes."""
    captioned: int
    """Clips whose caption is not empty."""
    buckets: tuple[tuple[tuple[int, int, int], int], ...]
    """Frames, rows and columns, and how many clips, the most frequent first."""
    families: tuple[tuple[str, int], ...]
    """Scene families of simulated clips, "" for foreign ones."""
    members: tuple[tuple[str, int], ...]
    """What clips hold, such as ``video`` and ``depth``, and how many do."""
    fps: tuple[float, float, float]
    """Least, median and greatest."""
    clip_seconds: tuple[float, float, float]
    """Least, median and greatest duration."""
    seconds: float
    """Of all clips."""
    read: int
    """Clips that the rates and durations were taken of."""
    dropped: tuple[tuple[str, int], ...]
    """Kinds of reason in ``dropped.csv``, where there is one."""


def summarize_shards(folder: str | Path) -> ShardSummary:
    """Count what a folder of shards holds; reads the index, and of each clip its small state.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No complete shard, or a shard that is damaged.
    """
    folder = Path(folder)
    entries = ShardIndex(folder).entries
    chosen = [entries[number] for number in _evenly(len(entries), MOST_READ)]
    fps = np.array([_read_fps(entry) for entry in chosen])
    seconds = np.array([entry.shape[0] for entry in chosen]) / fps
    shards = sorted({entry.shard for entry in entries})
    size = sum(path.stat().st_size + path.with_suffix(".index.jsonl").stat().st_size for path in shards)
    return ShardSummary(
        folder=folder,
        clips=len(entries),
        shards=len(shards),
        megabytes=size / 1e6,
        captioned=sum(bool(entry.caption) for entry in entries),
        buckets=tuple(Counter(entry.shape for entry in entries).most_common()),
        families=tuple(sorted(Counter(entry.family for entry in entries).items())),
        members=tuple(Counter(name.split(".")[0] for entry in entries for name in entry.members).items()),
        fps=_three(fps),
        clip_seconds=_three(seconds),
        seconds=float(seconds.mean() * len(entries)),
        read=len(chosen),
        dropped=_count_dropped(folder),
    )


def print_summary(summary: ShardSummary, console: Console | None = None) -> None:
    """Print the tables."""
    console = console or Console(markup=False, emoji=False)
    clips = max(summary.clips, 1)
    table = Table(title=str(summary.folder), show_header=False, title_justify="left")
    about = f" (of {summary.read:,} clips, taken evenly)" if summary.read < summary.clips else ""
    table.add_row("clips", f"{summary.clips:,} in {summary.shards:,} shards")
    table.add_row(
        "on disk", f"{summary.megabytes:,.1f} MB, {summary.megabytes * 1000 / clips:,.0f} kB per clip"
    )
    table.add_row("all together", _duration(summary.seconds) + about)
    table.add_row(
        "seconds per clip", "{:.3g} to {:.3g}, median {:.3g}".format(*_spread(summary.clip_seconds)) + about
    )
    table.add_row(
        "frames per second", "{:.4g} to {:.4g}, median {:.4g}".format(*_spread(summary.fps)) + about
    )
    table.add_row("with a caption", f"{summary.captioned:,} ({summary.captioned / clips:.0%})")
    table.add_row("members", ", ".join(name + _share(count, clips) for name, count in summary.members))
    console.print(table)
    names = [" x ".join(map(str, shape)) for shape, _ in summary.buckets]
    _print_bars(console, "frames x rows x columns", names, [count for _, count in summary.buckets])
    if any(family for family, _ in summary.families):
        families = [family or "(not simulated)" for family, _ in summary.families]
        _print_bars(console, "family", families, [count for _, count in summary.families])
    if summary.dropped:
        _print_bars(
            console,
            "left out (dropped.csv)",
            [kind for kind, _ in summary.dropped],
            [count for _, count in summary.dropped],
            "rows",
        )


def contact_sheet(folder: str | Path, clips: int = SHEET_CLIPS, moments: int = SHEET_MOMENTS) -> Image.Image:
    """Some clips of a folder of shards, evenly chosen, a row for each: what it is, and frames of it.

    Args:
        folder: The shards.
        clips: Rows at most.
        moments: Frames per row at most, evenly chosen, the first and the last among them.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No complete shard, or a shard that is damaged.
    """
    index = ShardIndex(folder, skip=("depth", "masks", "scene"))
    font, rows = ImageFont.load_default(size=11), []
    for number in _evenly(len(index), clips):
        entry, clip = index.entries[number], index.read(number)
        frames = (clip.frames[0] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()  # (T, H, W, 3)
        scale = CELL / max(entry.shape[1:])
        size = (round(entry.shape[2] * scale), round(entry.shape[1] * scale))
        how = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.BICUBIC
        pictures = [
            Image.fromarray(frames[moment]).resize(size, how) for moment in _evenly(len(frames), moments)
        ]
        label = (
            f"{entry.id}\n{'x'.join(map(str, entry.shape))} at {float(clip.fps[0]):.4g} fps\n{entry.caption}"
        )
        rows.append((label, pictures))
    width = LABEL_WIDTH + max(sum(picture.width + GAP for picture in pictures) for _, pictures in rows)
    height = sum(max(picture.height for picture in pictures) + GAP for _, pictures in rows)
    sheet = Image.new("RGB", (width, height), "white")
    draw, top = ImageDraw.Draw(sheet), 0
    for label, pictures in rows:
        draw.multiline_text((3, top + 1), _wrap(label, draw, font), fill="black", font=font, spacing=2)
        left = LABEL_WIDTH
        sheet.paste("white", (left, top, width, min(top + CELL, height)))  # over a label that is too long
        for picture in pictures:
            sheet.paste(picture, (left, top))
            left += picture.width + GAP
        top += max(picture.height for picture in pictures) + GAP
        sheet.paste("white", (0, top - GAP, width, min(top + CELL, height)))
    return sheet


def _evenly(count: int, most: int) -> list[int]:
    """At most so many of the numbers below ``count``, evenly, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(number * (count - 1) / max(most - 1, 1)) for number in range(most)]


def _read_fps(entry: ShardEntry) -> float:
    offset, size, _ = entry.members["state.safetensors"]
    with open(entry.shard, "rb") as file:
        data = os.pread(file.fileno(), size, offset)
    try:
        return float(load_tensors(data)["fps"][0])
    except Exception as error:  # safetensors has errors of its own
        raise ValueError(
            f"Clip {entry.id!r} of {entry.shard} is damaged in state.safetensors. "
            f"Delete {entry.shard.name} and its index, and write the shard again."
        ) from error


def _count_dropped(folder: Path) -> tuple[tuple[str, int], ...]:
    path = folder / "dropped.csv"
    if not path.is_file():
        return ()
    with open(path, encoding="utf-8", newline="") as file:
        return tuple(Counter(row["reason"].partition(":")[0] for row in csv.DictReader(file)).most_common())


def _print_bars(
    console: Console, title: str, names: list[str], counts: list[int], what: str = "clips"
) -> None:
    table = Table(title_justify="left")
    table.add_column(title)
    table.add_column(what, justify="right")
    table.add_column("")
    for name, count in zip(names, counts, strict=True):
        table.add_row(name, f"{count:,}", "█" * max(round(30 * count / max(counts)), 1))
    console.print(table)


def _three(values: np.ndarray) -> tuple[float, float, float]:
    return float(values.min()), float(np.median(values)), float(values.max())


def _spread(three: tuple[float, float, float]) -> tuple[float, float, float]:
    return three[0], three[2], three[1]


def _share(count: int, clips: int) -> str:
    return "" if count == clips else f" ({count / clips:.0%})"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _wrap(text: str, draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """Lines that fit the label's width."""
    lines = []
    for paragraph in text.splitlines():
        line = ""
        for word in (
            paragraph.replace("-", "-\u200b").replace("_", "_\u200b").replace(" ", " \u200b").split("\u200b")
        ):
            if line and draw.textlength(line + word.rstrip(), font=font) > LABEL_WIDTH - 8:
                lines.append(line)
                line = ""
            line += word
        lines.append(line)
    return "\n".join(lines)
