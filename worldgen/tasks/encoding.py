"""What the frozen parts of a model make of the training clips, computed once and kept."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path

import torch

from worldgen.conditioning import SLOTS
from worldgen.data.buckets import Shaped
from worldgen.data.cache.cache import Precomputed, Recipe, precompute
from worldgen.data.cache.precision import Storage
from worldgen.data.datamodule import ClipDataModule
from worldgen.diffusion import context as context_code
from worldgen.diffusion import optical_flow as flow_code
from worldgen.encoders.base import fingerprint
from worldgen.model import WorldModel
from worldgen.physics import forecast as forecast_code
from worldgen.tasks.schedule import draw_step
from worldgen.types import to_device

_CODE = hashlib.sha256("".join(map(inspect.getsource, (context_code, flow_code))).encode()).hexdigest()
"""What was computed once by other code is computed again."""
_HOUSE = Path(inspect.getfile(forecast_code)).parent.parent
"""The package's folder."""


def precompute_latents(model: WorldModel, data: ClipDataModule, cache: Path, storage: Storage) -> Precomputed:
    """The columns of `worldgen.model.Latents` of every training clip."""
    source = data.train_source(unread_members(model))
    return precompute(
        source, lambda clip: model.encode(clip).columns(), cache, encoding_recipe(model), storage
    )


@torch.no_grad()
def try_shapes(model: WorldModel, data: ClipDataModule) -> None:
    """Take the loss of one clip of each shape, so that what cannot be trained on is refused at once.

    Raises:
        ValueError: The codec or the denoiser cannot take clips of some shape.
    """
    source = data.train_source(unread_members(model))
    shapes: list[tuple[int, int, int] | None] = [None]  # videos are all read as one
    if isinstance(source, Shaped):
        shapes = list(source.shapes)
    validated = data.val_source() if data.val is not None else None
    for frames, *_ in dict.fromkeys(validated.shapes) if isinstance(validated, Shaped) else ():
        model.leaving_contexts(model.codec.steps(frames))
    with torch.random.fork_rng():
        for shape in dict.fromkeys(shapes):
            try:
                latents = model.encode(to_device(source[shapes.index(shape)], model.device))
                model.loss(latents, *draw_step(model, latents, torch.Generator(model.device).manual_seed(0)))
            except (ValueError, RuntimeError) as error:
                form = "Videos" if shape is None else "Clips of {} frames of {} x {} pixels".format(*shape)
                raise ValueError(
                    f"{form} in {data.train} cannot be trained on: {error} Import with another --size or "
                    "--multiple, or name the folder of one size."
                ) from error


def unread_members(model: WorldModel) -> tuple[str, ...]:
    """Members of shards that training need not read: depth where no encoder looks at it, scenes likewise."""
    senses = {name for encoder in model.conditioner.encoders if encoder for name in encoder.origins or ()}
    read = {"depth"} & senses | ({"scene"} if model.forecast is not None else set())
    return tuple(name for name in ("depth", "masks", "scene") if name not in read)


def encoding_recipe(model: WorldModel) -> Recipe:
    """What `WorldModel.encode` depends on besides the clip."""
    frozen = (model.codec, *model.conditioner.encoders, model.forecast)
    slots = zip(("codec", *SLOTS, "forecast"), frozen, strict=True)
    weights = {
        f"{type(part).__name__} ({name})": fingerprint(part) for name, part in slots if part is not None
    }
    contexts = " ".join(map(str, model.contexts))
    if model.other_contexts is not None:
        contexts += f" {model.other_contexts.describe()}"
    settings = {"contexts": contexts, "encoding code": _CODE[:12]}
    if model.forecast is not None:
        settings["roll-out code"] = _roll_out_code(_HOUSE)
    return Recipe(weights, settings)


def _roll_out_code(house: Path) -> str:
    """Of all that decides how known frames go on, but for weights."""
    files = [*sorted((house / "physics").glob("*.py")), house / "simulation" / "scenes" / "materials.py"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
