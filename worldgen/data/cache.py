"""What the frozen parts make of each clip, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Dataset

from worldgen.data.batching import stack_clips
from worldgen.data.progress import progress_bar
from worldgen.types import Clip

Columns = tuple[Tensor, ...]
"""Tensors of a batch of clips, batch axis first; what each is, the caller knows."""


class Precomputed(Dataset):
    """Columns of tensors in one safetensors file; rows are read at random without loading the rest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = safe_open(path, framework="pt")
        count = len(self._file.keys())
        self._columns = [self._file.get_slice(str(number)) for number in range(count)]

    def __len__(self) -> int:
        return self._columns[0].get_shape()[0]

    def __getitem__(self, index: int) -> Columns:
        return tuple(column[index : index + 1] for column in self._columns)


def precompute(
    source: Sequence[Clip], encode: Callable[[Clip], Columns], folder: Path, key: str, batch: int = 16
) -> Precomputed:
    """Run ``encode`` over every clip of a source, or find the result of an earlier run.

    Args:
        source: Map-style dataset of clips.
        encode: The frozen part; pure.
        folder: Where results are kept.
        key: Names weights, settings and clips: whatever the result depends on.
        batch: Clips encoded together.
    """
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.safetensors"
    if not path.exists():
        rows = []
        with progress_bar() as progress:
            task = progress.add_task("Encoding once", total=len(source))
            for begin in range(0, len(source), batch):
                clips = [source[index] for index in range(begin, min(begin + batch, len(source)))]
                rows.append(encode(stack_clips(clips)))
                progress.advance(task, len(clips))
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        save_file(
            {str(number): part.contiguous() for number, part in enumerate(stack_columns(rows))}, partial
        )
        os.replace(partial, path)
    return Precomputed(path)


def stack_columns(rows: Sequence[Columns]) -> Columns:
    """A batch of rows."""
    return tuple(torch.cat(parts) for parts in zip(*rows, strict=True))


def identify_folder(folder: str | Path) -> str:
    """Names the contents of a folder of clips: file names, sizes, and the checksums of shard indices."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).iterdir()):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        if path.name.endswith(".index.jsonl"):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
