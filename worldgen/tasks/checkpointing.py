"""Less memory for more time: what a block computed is not kept for the backward pass, but computed again."""

from __future__ import annotations

from functools import partial

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.checkpoint import checkpoint


class GradientCheckpointing(Callback):
    """Keeps of each of the denoiser's blocks only what it was given (Chen et al. 2016, 1604.06174).

    Loss and gradients are what they are without; a step takes about a third longer.

    Raises:
        ValueError: A denoiser without ``blocks``.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        denoiser = pl_module.model.denoiser  # pyright: ignore[reportAttributeAccessIssue]
        blocks = getattr(denoiser, "blocks", None)
        if not isinstance(blocks, nn.ModuleList):
            raise ValueError(
                f"GradientCheckpointing needs a denoiser with blocks; {type(denoiser).__name__} has none. "
                "Leave it out, or take worldgen.diffusion.dit.DiT."
            )
        for block in blocks:
            if not isinstance(block.forward, partial):  # once, also where a fit is followed by a test
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)
