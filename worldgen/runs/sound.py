"""Run folders of `worldgen pretrain sound`: ``config.yaml`` and ``model.safetensors``."""

from __future__ import annotations

from pathlib import Path

from worldgen.audio.sound_model import SoundModel
from worldgen.diffusion.average import read_weights
from worldgen.runs.folder import CONFIG_FILE, WEIGHTS_FILE, build_model, require_frozen


def open_sound(folder: str | Path) -> SoundModel:
    """The generator of sound of a run, with its averaged weights, ready to be asked.

    Raises:
        FileNotFoundError: The folder is not such a run, or has no weights yet.
        ValueError: Its weights are of another model.
    """
    folder = Path(folder)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"A generator of sound must hold {name}; {folder} does not. Train one with `worldgen "
                "pretrain sound`."
            )
    model = build_model(folder, SoundModel)
    state, frozen = read_weights(folder / WEIGHTS_FILE)
    require_frozen(model, frozen, folder / WEIGHTS_FILE)
    model.load_trained(state, str(folder / WEIGHTS_FILE))
    return model.eval()
