"""An encoder from what was typed: a checkpoint, a class with its checkpoint, or a yaml file."""

from __future__ import annotations

from pathlib import Path

import yaml

from worldgen.encoders.base import Encoder

_DEFAULT = "worldgen.encoders.vjepa2.VJEPA2"


def open_encoder(text: str) -> Encoder:
    """The encoder that is meant.

    Args:
        text: ``FILE.yaml`` with class_path and init_args; ``package.module.Class:CHECKPOINT``; or the folder
            or hub id of a V-JEPA 2.

    Raises:
        FileNotFoundError: No such yaml file.
        ValueError: No such class, or one that cannot be built so.
    """
    if text.endswith((".yaml", ".yml")):
        path = Path(text)
        if not path.is_file():
            raise FileNotFoundError(f"No encoder's yaml at {path}. Check the path.")
        try:
            config = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ValueError(f"{path} must be yaml; it cannot be read. Correct it.") from error
        if not isinstance(config, dict) or not isinstance(config.get("class_path"), str):
            raise ValueError(f"{path} must have class_path and init_args of an encoder; it has none.")
    else:
        name, colon, checkpoint = text.partition(":")
        if not colon or "/" in name or "." not in name:
            name, checkpoint = _DEFAULT, text
        config = {"class_path": name, "init_args": {"checkpoint": checkpoint}}
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--encoder", type=Encoder)
    try:
        return parser.instantiate_classes(parser.parse_object({"encoder": config})).encoder
    except (ValueError, OSError):
        raise  # the encoder's own sentence
    except Exception as error:  # jsonargparse's own kinds
        reason = " ".join(str(getattr(error, "message", None) or error).split())[:300]
        raise ValueError(f"{text!r} must name an encoder that can be built: {reason}") from error
