"""What an evaluation has generated so far, kept on disk until its report is written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from worldgen.files import code_mark
from worldgen.runs.folder import CONFIG_FILE, WEIGHTS_FILE
from worldgen.tasks.generator import WorldGenerator
from worldgen.types import Clip


@dataclass(frozen=True)
class Unfinished:
    """Generated frames in a folder, batch by batch."""

    folder: Path
    stamp: str
    """Names what generates, and how."""

    def recall(
        self, number: int, truth: Clip, generate: Callable[[], Float[Tensor, "B T 3 H W"]]
    ) -> Float[Tensor, "B T 3 H W"]:
        """The frames of a batch: those that are kept, or new ones, which are kept then.

        Args:
            number: Of the batch.
            truth: The clips that it continues; frames of others are not taken for theirs.
            generate: Makes the frames.
        """
        path = self.folder / f"{number:05d}.safetensors"
        digest = hashlib.sha256(repr((self.stamp, truth.prompts)).encode())
        for name in ("frames", "fps", "depth", "sound", "imu"):  # whatever an encoder may look at
            value = getattr(truth, name)
            digest.update(b"none" if value is None else value.cpu().contiguous().numpy().tobytes())
        frames = _read(path, digest.hexdigest())
        if frames is None:
            frames = generate()
            _write(path, frames, digest.hexdigest())
        return frames


def stamp_run(run: Path, model: WorldGenerator, *how: object) -> str:
    """Names what a run generates with: its files, its frozen parts, the code, the device, how it is asked."""
    digest = hashlib.sha256(repr((*how, code_mark(), model.frozen_fingerprint(), model.device.type)).encode())
    for name in (CONFIG_FILE, WEIGHTS_FILE, "checkpoints/last.ckpt"):
        if (path := run / name).is_file():
            status = path.stat()
            digest.update(repr((name, status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()


def _read(path: Path, stamp: str) -> Tensor | None:
    try:
        with safe_open(path, "pt") as file:
            return file.get_tensor("frames") if (file.metadata() or {}).get("stamp") == stamp else None
    except (OSError, SafetensorError):
        return None


def _write(path: Path, frames: Tensor, stamp: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file({"frames": frames.cpu().contiguous()}, partial, metadata={"stamp": stamp})
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
