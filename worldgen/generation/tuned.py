"""A LoRA that was made of one clip: opened, refused for another generator, and at work while clips are made.

The files are peft's own; beside them lies what says which generator they were made for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from worldgen.encoders.base import fingerprint
from worldgen.encoders.lora import SavedLora
from worldgen.model import WorldModel

TUNED_FILE = "tuned.json"


@dataclass(frozen=True)
class Tuned:
    """A LoRA that was made of one clip.

    Args:
        folder: In peft's layout, with `TUNED_FILE`.
        trained_with: Fingerprint of the denoiser that it changes.
        told: What there is to know of it.
    """

    folder: Path
    trained_with: str
    told: dict[str, object]


def open_tuned(folder: Path | None, model: WorldModel) -> Tuned | None:
    """What `tune` made of a clip, for this generator; None where nothing is named.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: It is damaged, or of another generator.
    """
    if folder is None:
        return None
    path = folder / TUNED_FILE
    if not path.is_file():
        raise FileNotFoundError(f"--tuned must be a folder of `worldgen tune`; {folder} has no {TUNED_FILE}.")
    try:
        told = dict(json.loads(path.read_text()))
        trained_with = str(told["trained_with"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must be whole, and is not ({error}). Tune again.") from error
    own = fingerprint(model.denoiser)
    if trained_with != own:
        raise ValueError(
            f"{folder} must be tuned from this generator, {own}; it was from {trained_with}. Use it with "
            "that one, or tune again."
        )
    return Tuned(folder, trained_with, told)


@contextmanager
def acting(tuned: Tuned | None, model: WorldModel) -> Iterator[None]:
    """A tuned LoRA acts on a model, which is bit for bit what it was afterwards.

    Raises:
        ValueError: Its files are damaged.
    """
    if tuned is None:
        yield
        return
    lora = SavedLora(name="tuned", start=str(tuned.folder))
    with torch.random.fork_rng():  # peft draws weights before it loads those of the file
        lora.attach(model.denoiser)
    try:
        yield
    finally:
        lora.eject(model.denoiser)
