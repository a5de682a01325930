"""Trained parts in folders of their own: `config.json`, and weights as safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from worldgen.files import atomic_folder

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
_Part = TypeVar("_Part", bound=nn.Module)


def save_part(part: nn.Module, config: dict[str, Any], folder: str | Path, half: bool = True) -> None:
    """Write a part so that `load_part` reads it.

    Args:
        part: Whose weights are kept.
        config: What it is made of again, for json.
        folder: Made anew, or replaced as a whole.
        half: In half precision.
    """
    from safetensors.torch import save_file

    weights = {n: (v.half() if half else v).contiguous() for n, v in part.state_dict().items()}
    with atomic_folder(folder) as partial:
        (partial / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
        save_file(weights, partial / WEIGHTS_FILE)


def load_part(
    folder: str | Path, kind: str, trained_by: str, make: Callable[[dict[str, Any]], _Part]
) -> _Part:
    """A part from its folder, in full precision.

    Args:
        folder: As `save_part` writes it.
        kind: What a person calls it, such as "codec".
        trained_by: The command that makes one.
        make: The part without its weights, from its config; raises what it likes where that is of none.

    Raises:
        FileNotFoundError: The folder has no part, or half of one.
        ValueError: The files are damaged, or of something else.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"The folder of a {kind} must hold {name}; {folder} does not. Train one: `{trained_by}`."
            )
    try:
        part = make(json.loads((folder / CONFIG_FILE).read_text()))
        weights = {name: value.float() for name, value in load_file(folder / WEIGHTS_FILE).items()}
    except Exception as error:  # whatever a damaged file leads to
        reason = str(error).split("\n")[0].rstrip(".: ")[:200]
        raise ValueError(
            f"{folder} must hold a whole {kind}; got {type(error).__name__}: {reason}. Copy it again."
        ) from error
    expected = {name: tuple(value.shape) for name, value in part.state_dict().items()}
    if expected != {name: tuple(value.shape) for name, value in weights.items()}:
        raise ValueError(
            f"{folder / WEIGHTS_FILE} must hold the {kind} of its {CONFIG_FILE}; its tensors differ. Copy it "
            "again."
        )
    part.load_state_dict(weights)
    return part
