"""What adapters learned while a generator was fitted, in files of their own."""

from __future__ import annotations

from pathlib import Path

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from worldgen.conditioning import SLOTS
from worldgen.encoders.base import AdaptableEncoder
from worldgen.tasks.generator import WorldGenerator


class AdapterSaver(Callback):
    """Writes each adapter that learned, averaged as the weights that ship, to ``adapters/SLOT`` of the run.

    As its library does: peft alone, or AdapterHub's alone, can read it, and so can `SavedLora` and `Saved`.
    """

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raises ValueError if what was fitted is no generator."""
        if not isinstance(pl_module, WorldGenerator):
            raise ValueError(
                f"AdapterSaver is a callback of fits of a WorldGenerator; got {type(pl_module).__name__}."
            )
        if not trainer.is_global_zero or trainer.log_dir is None:
            return
        with pl_module.average.applied():
            for slot, encoder in zip(SLOTS, pl_module.model.conditioner.encoders, strict=True):
                if isinstance(encoder, AdaptableEncoder) and encoder.adapter and encoder.adapter.trains:
                    encoder.adapter.save(encoder.model, Path(trainer.log_dir) / "adapters" / slot)
