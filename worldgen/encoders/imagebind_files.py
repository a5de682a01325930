"""ImageBind on disk: the published ``imagebind_huge.pth``, and a folder of our own for any other size."""

from __future__ import annotations

import json
import pickle
import warnings
from dataclasses import asdict, fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from worldgen.encoders.imagebind_layers import HUGE, MODALITIES, ImageBindConfig, ImageBindModel, Tower
from worldgen.files import atomic_folder
from worldgen.hub import only_sizes

_ARCHITECTURE = "ImageBind"


def save_imagebind(model: ImageBindModel, folder: str | Path, tokenizer: Tokenizer | None = None) -> None:
    """Write ``model.safetensors``, ``tokenizer.json`` (if given) and, last, ``config.json``."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    settings = json.dumps({"architecture": _ARCHITECTURE, **asdict(model.config)}, indent=2)
    with atomic_folder(folder) as partial:
        save_file(state, partial / "model.safetensors")
        if tokenizer is not None:
            tokenizer.save(str(partial / "tokenizer.json"))
        (partial / "config.json").write_text(settings + "\n")


def load_imagebind(path: str | Path) -> ImageBindModel:
    """A model from a file ``*.pth`` of the published size, or a folder that `save_imagebind` wrote.

    Nothing in a file is run: a pickle may hold tensors only. The published weights are licensed CC-BY-NC 4.0.

    Raises:
        FileNotFoundError: If there is no such file or folder, or one of its files is missing.
        ValueError: If it is not the state of such a model, whole and of the sizes that its config says.
    """
    path = Path(path)
    if only_sizes():
        return ImageBindModel(read_config(path) if path.is_dir() else HUGE)
    if path.is_dir():
        config, state = read_config(path), _read_safetensors(path)
    elif path.is_file():
        config, state = HUGE, _read_pickle(path)
    else:
        raise FileNotFoundError(
            f"An ImageBind checkpoint must be imagebind_huge.pth or a folder with config.json; "
            f"{path} is not there."
        )
    with torch.device("meta"):  # no memory, and no drawing of weights that are replaced at once
        model = ImageBindModel(config)
    own = model.state_dict()
    wrong = [name for name in {**own, **state} if _shape(own, name) != _shape(state, name)]
    if wrong:
        raise ValueError(
            f"{path} must hold every tensor of its ImageBind and no other; {len(wrong)} of {len(own)} miss, "
            f"are too many or differ in shape, {min(wrong)} first. It is a checkpoint of another model."
        )
    model.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
    if config == HUGE:
        warnings.warn(
            "The published ImageBind weights are CC-BY-NC 4.0: for non-commercial use only.", stacklevel=2
        )
    return model


def read_config(folder: Path) -> ImageBindConfig:
    """Sizes of the model in a folder; errors as `load_imagebind`."""
    file = _require(folder, "config.json")
    try:
        settings = json.loads(file.read_text())
        if not isinstance(settings, dict) or settings.pop("architecture", None) != _ARCHITECTURE:
            raise ValueError(f'"architecture" is not "{_ARCHITECTURE}"')
        known = {field.name for field in fields(ImageBindConfig)}
        if settings.keys() != known:
            raise ValueError(f"its keys differ in {sorted(settings.keys() ^ known)}")
        towers = {name: Tower(**settings[name]) for name in MODALITIES if settings[name] is not None}
        if "vision" not in towers:
            raise ValueError("vision, which all else is bound to, must not be null")
        return ImageBindConfig(**{**settings, **towers})
    except (ValueError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} must describe an ImageBind: {error}") from error


def _read_safetensors(folder: Path) -> dict[str, Tensor]:
    file = _require(folder, "model.safetensors")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} must be a safetensors file: {error}") from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} must be a pickle of tensors only; it holds other things, or is none, and was not run."
        ) from error
    except (RuntimeError, EOFError, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be a whole torch file; it cannot be read as one.") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} must be a state dict, tensors by name; it holds something else.")
    return state


def _require(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise FileNotFoundError(f"An ImageBind folder must hold {name}; {folder} does not.")
    return folder / name


def _shape(state: dict[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None
