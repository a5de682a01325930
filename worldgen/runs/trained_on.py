"""What a run was trained on: the shape of its clips, and where captions and pictures lie for its encoders."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from worldgen.data.shards.shards import find_shards
from worldgen.data.sources import ClipSource, ShardedClips
from worldgen.files import atomic_path
from worldgen.model import WorldModel
from worldgen.runs.folder import training_folder
from worldgen.types import Clip, to_device

TRAINED_ON_FILE = "trained_on.safetensors"
KEPT = 256
"""Clips of which features are kept: half a megabyte at nano."""
_SHAPE = ("frames", "height", "width", "fps")


@dataclass(frozen=True)
class TrainedOn:
    """Shape of most training clips, and the features of some."""

    frames: int
    height: int
    width: int
    fps: float
    text: Float[Tensor, "N D"] | None = None
    """Of captions, see `text_features`; None where the run reads no text or has not kept them."""
    picture: Float[Tensor, "N D"] | None = None
    """Of first frames, see `picture_features`."""


@torch.no_grad()
def text_features(model: WorldModel, clip: Clip) -> Float[Tensor, "B D"] | None:
    """Mean of the tokens that the run's text encoder makes of prompts; None where it has none."""
    if model.conditioner.text is None:
        return None
    values, mask = model.conditioner.text.encode(clip)
    return (values * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)


@torch.no_grad()
def picture_features(model: WorldModel, clip: Clip) -> Float[Tensor, "B D"]:
    """Mean and spread over the picture of each channel of the codec's latent of the first frame."""
    z = model.codec.encode(Clip(clip.frames[:, :1], clip.fps, clip.prompts)).flatten(3)  # (B, 1, C, h w)
    return torch.cat([z.mean(dim=3), z.std(dim=3, unbiased=False)], dim=2)[:, 0]


def describe_training(model: WorldModel, source: ClipSource, most: int = KEPT) -> TrainedOn:
    """What there is to know of a source of training clips, from ``most`` clips spread over it."""
    chosen = range(0, len(source), max(1, len(source) // most))[:most]
    shapes, texts, pictures = Counter(), [], []
    for index in chosen:
        clip = source[index]
        frames, _, height, width = clip.frames.shape[1:]
        shapes[(frames, height, width, round(float(clip.fps[0]), 6))] += 1
        there = to_device(clip, model.device)
        text = text_features(model, there)
        texts += [] if text is None else [text.cpu()]
        try:
            pictures.append(picture_features(model, there).cpu())
        except ValueError:  # a codec of states needs more than a picture
            continue
    (((frames, height, width, fps), _),) = shapes.most_common(1)
    return TrainedOn(
        frames,
        height,
        width,
        fps,
        torch.cat(texts) if texts else None,
        torch.cat(pictures) if pictures else None,
    )


def save_training(trained: TrainedOn, folder: Path) -> Path:
    """Write it beside a run's weights, in half precision."""
    kept = {"text": trained.text, "picture": trained.picture}
    state = {name: value.half().contiguous() for name, value in kept.items() if value is not None}
    with atomic_path(folder / TRAINED_ON_FILE) as partial:
        save_file(state, partial, metadata={name: repr(getattr(trained, name)) for name in _SHAPE})
    return folder / TRAINED_ON_FILE


def read_training(run: Path) -> TrainedOn | None:
    """What a run says of its training clips, or what its training folder still shows of them; else None.

    Raises:
        ValueError: The file is damaged.
    """
    path = run / TRAINED_ON_FILE
    if path.is_file():
        try:
            with safe_open(path, framework="pt") as file:
                told = file.metadata() or {}
                frames, height, width = (int(told[name]) for name in _SHAPE[:3])
                kept = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 no dict
                return TrainedOn(
                    frames, height, width, float(told["fps"]), kept.get("text"), kept.get("picture")
                )
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path} must be whole, and is not ({error}). Copy the run again.") from error
    folder = training_folder(run)
    if folder is None or not find_shards(folder):
        return None
    source = ShardedClips(folder, skip=("depth", "masks", "scene"))
    ((shape, _),) = Counter(source.shapes).most_common(1)
    clip = source[source.shapes.index(shape)]
    return TrainedOn(*shape, float(clip.fps[0]))
