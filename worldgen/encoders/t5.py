"""T5 text tokens, from any checkpoint that transformers loads: v1.0, v1.1, Flan, this project's nano one."""

from __future__ import annotations

from pathlib import Path

import torch

from worldgen.encoders.base import Encoder, Tokens
from worldgen.types import Clip


class T5(Encoder):
    """Frozen T5 encoder (Raffel et al. 2020, 1910.10683) on the clip's prompts.

    Args:
        checkpoint: Hub id or folder in Hugging Face layout, e.g. ``google/flan-t5-small`` or
            ``assets/nano/t5``.
        length: Longest prompt in tokens.
    """

    def __init__(self, checkpoint: str, length: int = 64) -> None:
        super().__init__()
        from transformers import AutoTokenizer, T5EncoderModel

        _require_checkpoint(checkpoint)
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
            self.model, found = T5EncoderModel.from_pretrained(
                checkpoint, output_loading_info=True, dtype=torch.float32
            )
        except Exception as error:  # transformers lets through whatever its parts raise
            reason = str(error).strip().split("\n")[0]
            raise ValueError(f"{checkpoint!r} must be a T5 checkpoint (id or folder): {reason}") from error
        if found["missing_keys"] or found["mismatched_keys"]:
            raise ValueError(
                f"{checkpoint!r} must hold a whole T5 encoder; {len(found['missing_keys'])} tensors miss."
            )
        self.length = length
        self.dim: int = self.model.config.d_model
        self.freeze()

    @torch.no_grad()
    def encode(self, clip: Clip) -> Tokens:
        """One token per sentence piece of the prompt.

        Raises:
            ValueError: If a prompt is longer than ``length`` tokens.
        """
        batch = self.tokenizer(
            list(clip.prompts), padding="max_length", max_length=self.length, return_tensors="pt"
        )
        longest = int(batch["attention_mask"].sum(dim=1).max())
        if longest > self.length:
            raise ValueError(f"A prompt must be at most {self.length} tokens; got {longest}. Shorten it.")
        device = self.model.device
        mask = batch["attention_mask"].to(device)
        values = self.model(input_ids=batch["input_ids"].to(device), attention_mask=mask).last_hidden_state
        return Tokens(values, mask.bool())


def _require_checkpoint(checkpoint: str) -> None:
    """A path that is meant as a folder gets a sentence, instead of a look-up on the hub."""
    looks_like_path = checkpoint.startswith((".", "/", "~")) or checkpoint.count("/") > 1
    if looks_like_path and not (Path(checkpoint) / "config.json").is_file():
        raise FileNotFoundError(
            f"A T5 folder must hold config.json; {checkpoint} does not. Train it: `worldgen pretrain t5`."
        )
