"""The denoiser's tokens held against those of a frozen encoder that sees the clean clip."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldgen.data.cache.cache import EXACT, Precomputed, Recipe, precompute
from worldgen.data.cache.precision import Columns, Storage
from worldgen.data.datamodule import ClipDataModule
from worldgen.diffusion.denoisers.transformer import LatentTransformer
from worldgen.encoders.base import Encoder, fingerprint
from worldgen.model import WorldModel
from worldgen.physics.alignment import feature_distance, on_common_grid, relation_distance
from worldgen.tasks.encoding import unread_members
from worldgen.tasks.regularizers.base import Regularizer, TrainingStep
from worldgen.types import Clip, to_device


class AlignmentRegularizer(Regularizer, ABC):
    """Tokens after a block, through a projection that learns, against those of a frozen encoder.

    The encoder sees the clean clip once, before training; neither it nor the projection is needed to sample.

    Args:
        encoder: Frozen, of frames, such as a `VJEPA2`.
        block: After how many of the denoiser's blocks; after half of them when None.
        coefficient: What the term is multiplied with.

    Raises:
        ValueError: The encoder learns.
    """

    def __init__(self, encoder: Encoder, block: int | None = None, coefficient: float = 0.5) -> None:
        super().__init__(coefficient)
        if encoder.trained():
            raise ValueError(
                f"An encoder that tokens are held against must be frozen; {type(encoder).__name__} has an "
                "adapter that learns. Leave the adapter out."
            )
        self.encoder, self.block = encoder, block
        self.projection: nn.Module | None = None

    def add_weights(self, model: WorldModel) -> nn.Module:
        """Three layers from the denoiser's width to the encoder's, as REPA has them.

        Raises:
            ValueError: The denoiser has no blocks of tokens, or not so many.
        """
        denoiser = _transformer_of(model)
        blocks = len(denoiser.blocks)
        if self.block is not None and not 1 <= self.block <= blocks:
            raise ValueError(f"block must lie in 1 .. {blocks}, the denoiser's blocks; got {self.block}.")
        own, width = denoiser.sites.dim, 4 * denoiser.sites.dim
        layers = nn.Linear(own, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        self.projection = nn.Sequential(*layers, nn.Linear(width, self.encoder.dim))
        return self.projection

    def prepare(self, model: WorldModel, data: ClipDataModule, cache: Path, storage: Storage) -> Precomputed:
        """The encoder's tokens of every training clip.

        Raises:
            ValueError: They lie nowhere in the clip, as those of words.
        """
        source = data.train_source(unread_members(model))
        self.encoder.to(model.device)
        weights = {f"{type(self.encoder).__name__} (whole clips)": fingerprint(self.encoder)}
        features_of = partial(_features_of, self.encoder, model.device)
        return precompute(source, features_of, cache, Recipe(weights, {"laid on": "a grid"}), EXACT)

    def __call__(
        self, model: WorldModel, step: TrainingStep, generator: torch.Generator
    ) -> Float[Tensor, ""]:
        assert self.projection is not None, "add_weights comes first"
        denoiser = _transformer_of(model)
        after = self.block or max(1, len(denoiser.blocks) // 2)
        (features,), latents = step.targets, step.latents.z
        grid = denoiser.embed.grid(latents.shape)
        count = grid[0] * grid[1] * grid[2]
        own = self.projection(step.tokens[after - 1][:, :count]).unflatten(1, grid)  # registers come behind
        return self.distance(*on_common_grid(own, features))

    @abstractmethod
    def distance(
        self, own: Float[Tensor, "B T H W D"], features: Float[Tensor, "B T H W D"]
    ) -> Float[Tensor, ""]:
        """On one grid."""


class RelationRegularizer(AlignmentRegularizer):
    """How tokens relate to each other, in space and over time, as in VideoREPA: `relation_distance`.

    Args:
        encoder: As of `AlignmentRegularizer`.
        block: Likewise.
        margin: Difference of cosines that is no fault.
        coefficient: What the term is multiplied with.
    """

    def __init__(
        self,
        encoder: Encoder,
        block: int | None = None,
        margin: float = 0.1,
        coefficient: float = 0.5,
    ) -> None:
        super().__init__(encoder, block, coefficient)
        self.margin = margin

    def distance(self, own: Tensor, features: Tensor) -> Float[Tensor, ""]:
        return relation_distance(own, features, self.margin)


class FeatureRegularizer(AlignmentRegularizer):
    """The tokens themselves, as in REPA: `feature_distance`."""

    def distance(self, own: Tensor, features: Tensor) -> Float[Tensor, ""]:
        return feature_distance(own, features)


def _transformer_of(model: WorldModel) -> LatentTransformer:
    if not isinstance(model.denoiser, LatentTransformer):
        raise ValueError(
            f"Alignment is of tokens on a grid; {type(model.denoiser).__name__} has none. Take "
            "worldgen.diffusion.dit.DiT."
        )
    return model.denoiser


@torch.no_grad()
def _features_of(encoder: Encoder, device: torch.device, clip: Clip) -> Columns:
    """The encoder's tokens of a whole clip, laid on the grid of their times, rows and columns."""
    clip = to_device(clip, device)
    values, places = encoder.encode(clip).values, encoder.positions(clip)
    grid = None if places is None else [len(axis.unique()) for axis in places[0].unbind(dim=-1)]
    if grid is None or grid[0] * grid[1] * grid[2] != values.shape[1]:
        raise ValueError(
            f"Tokens to align with must lie on a grid of the clip; those of {type(encoder).__name__} do not. "
            "Take an encoder of frames, such as worldgen.encoders.vjepa2.VJEPA2."
        )
    return (values.unflatten(1, grid).float(),)
