"""Run folders: what a trained generator is kept as, and how it comes back.

A run folder holds ``config.yaml`` (what was built) and ``model.safetensors`` (the averaged weights of what
was trained); frozen parts are named in the config by id or path. While training goes on,
``checkpoints/last.ckpt`` stands in.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from worldgen.audio.sound_model import SoundModel
from worldgen.diffusion.average import WeightAverage, read_weights, split_averages
from worldgen.files import atomic_path
from worldgen.hub import only_sizes
from worldgen.model import WorldModel
from worldgen.runs.moved import refuse_moved
from worldgen.texts import read_yaml

HOME = Path(__file__).resolve().parents[2]
"""The project's folder."""
CONFIG_FILE, WEIGHTS_FILE = "config.yaml", "model.safetensors"
TRAINING_KEYS = (
    "lr", "warmup", "weight_decay", "average", "seed", "cache", "storage", "sampled", "measures", "start",
    "regularizers", "gradients", "optimizer",
)  # fmt: skip
"""What a config says of training and validation, and what is no part of the model."""

_TRIES = 20
_Model = TypeVar("_Model", WorldModel, SoundModel)


def shipped_weights() -> Path:
    """Folder of the nano weights that come with the project.

    Raises:
        FileNotFoundError: The package was installed without them.
    """
    folder = HOME / "assets" / "nano"
    if not (folder / "generator" / "model.safetensors").is_file():
        raise FileNotFoundError(
            f"The nano weights must lie in {folder}, and do not. Install from a clone of the project."
        )
    return folder


def whole_weights(model: WorldModel | SoundModel) -> dict[str, Tensor]:
    """The trained weights in half precision; where processes share them, all of these must ask."""
    state = {name: value.half() for name, value in model.trained_state().items()}
    whole = {
        name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in state.items()
    }
    return {name: value.contiguous() for name, value in whole.items()}


def save_weights(
    model: WorldModel | SoundModel, folder: Path, state: dict[str, Tensor] | None = None
) -> Path:
    """Write the trained weights, as they are, in half precision.

    Args:
        model: Whose.
        folder: Of the run.
        state: What `whole_weights` gave; asked for here when None.
    """
    state = whole_weights(model) if state is None else state
    with atomic_path(folder / WEIGHTS_FILE) as partial:
        save_file(state, partial, metadata={"frozen": model.frozen_fingerprint()})
    return folder / WEIGHTS_FILE


def open_run(folder: str | Path) -> WorldModel:
    """The generator of a run, with its averaged weights, ready to sample.

    Paths in the config are looked up beside the run first, so that a folder of weights can be moved as a
    whole.

    Raises:
        FileNotFoundError: If the folder is not a run.
        ValueError: If its weights are of another model.
    """
    folder = Path(folder)
    if not (folder / CONFIG_FILE).is_file():
        raise FileNotFoundError(
            f"A run must hold {CONFIG_FILE}; {folder} does not. Train one with `worldgen fit`."
        )
    model = build_model(folder, WorldModel)
    if only_sizes():
        return model.eval()
    weights, checkpoint = folder / WEIGHTS_FILE, folder / "checkpoints" / "last.ckpt"
    if weights.is_file():
        state, frozen = read_weights(weights)
        require_frozen(model, frozen, weights)
        model.load_trained(state, str(weights))
    elif checkpoint.is_file():
        try:
            loaded = torch.load(checkpoint, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, OSError, UnpicklingError) as error:
            raise ValueError(f"{checkpoint} must be a whole checkpoint, and is not. Train on.") from error
        require_frozen(model, loaded.get("frozen"), checkpoint)
        trained, averages = split_averages(loaded["state_dict"])
        model.load_trained(trained, str(checkpoint))
        average = WeightAverage(model.parameters(), decay=0.0)
        average.load_state_dict(averages)
        average.take_over()
    else:
        raise FileNotFoundError(
            f"{folder} has no weights yet. Wait for its first checkpoint, or train it again."
        )
    return model.eval()


@contextmanager
def training_lock(folder: Path) -> Iterator[None]:
    """A lock on a run's config that lasts as long as its training, and no longer than its process."""
    config = folder / CONFIG_FILE
    if not config.is_file():
        yield
        return
    with open(config, "ab") as held:  # a network file system locks what may be written
        for _ in range(_TRIES):  # who lists runs holds it for a moment
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05)
            except OSError:  # a file system without locks
                break
        yield


def training_folder(folder: Path) -> Path | None:
    """The folder that a run was trained on, by its config; None where it names none, or it is gone."""
    config = _read_config(folder)
    data = config.get("data") if isinstance(config, dict) else None
    named = data.get("train") if isinstance(data, dict) else None
    return Path(named) if isinstance(named, str) and Path(named).is_dir() else None


def _read_config(folder: Path) -> Any:
    return read_yaml((folder / CONFIG_FILE).read_text(), str(folder / CONFIG_FILE))


def build_model(folder: Path, kind: type[_Model]) -> _Model:
    """What a run's config says of its model, without weights.

    Args:
        folder: Of the run.
        kind: Class of the model.

    Raises:
        ValueError: The config is of something else.
    """
    from jsonargparse import ArgumentParser

    config = _read_config(folder)
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise ValueError(
            f"{folder / CONFIG_FILE} must have a section 'model'; it has none. Is it a run of `fit`?"
        )
    own = {name: value for name, value in config["model"].items() if name not in TRAINING_KEYS}
    refuse_moved(own, str(folder / CONFIG_FILE))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "model")
    try:
        return parser.instantiate_classes(parser.parse_object({"model": _beside(own, folder)}))["model"]
    except TypeError as error:  # a value that the reader lets pass and a class cannot take, such as null
        said = (str(error).splitlines() or ["a value of another type"])[0]
        raise ValueError(
            f"{folder / CONFIG_FILE} must hold what its classes take; {said}. Copy it again."
        ) from error


def _beside(value: Any, folder: Path) -> Any:
    """The same config, with each ``checkpoint`` that lies beside the run spelled from here."""
    if not isinstance(value, dict):
        return value
    found = {name: _beside(item, folder) for name, item in value.items()}
    if isinstance(found.get("checkpoint"), str) and (folder / found["checkpoint"]).exists():
        found["checkpoint"] = str(folder / found["checkpoint"])
    return found


def require_frozen(model: WorldModel | SoundModel, frozen: str | None, source: Path) -> None:
    """Raise ValueError where weights were trained with other frozen parts than a model has."""
    if frozen != model.frozen_fingerprint():
        raise ValueError(
            f"{source} must be used with the frozen parts of its training, {frozen}; its config.yaml leads "
            f"to {model.frozen_fingerprint()}. Correct the checkpoint paths there."
        )
