"""T5 text tokens, from any checkpoint that transformers loads.

T5 v1.0 and v1.1, Flan-T5, mT5, umT5 and byT5 by hub id or folder, a GGUF file, and this project's nano one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from worldgen.encoders.adapters import Adapter
from worldgen.encoders.base import AdaptableEncoder, Tokens, require_folder
from worldgen.hub import PUBLISHED, is_here, only_sizes, require_hub
from worldgen.types import Clip

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_KINDS = ("t5", "mt5", "umt5")
"""Model types; byT5's is t5."""


class T5(AdaptableEncoder):
    """Frozen T5 encoder (Raffel et al. 2020, 1910.10683) on the clip's prompts.

    Args:
        checkpoint: Hub id or folder in Hugging Face layout, e.g. ``google/flan-t5-small`` or
            ``assets/nano/t5``; or a file ``.gguf`` in one, of v1.1 or later, read back to float32.
        length: Longest prompt in tokens; byT5's tokens are bytes.
        adapter: The trained part, if any: LoRA, or AdapterHub's.
    """

    model: PreTrainedModel

    def __init__(self, checkpoint: str, length: int = 64, adapter: Adapter | None = None) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModelForTextEncoding, AutoTokenizer

        self.length = length
        if only_sizes() and not checkpoint.endswith(".gguf"):
            self.model = AutoModelForTextEncoding.from_config(_settings(checkpoint))
            self.dim = self.model.config.d_model
            self.adapt(adapter)
            return
        place, file = _split_checkpoint(checkpoint)
        try:
            config = AutoConfig.from_pretrained(place, gguf_file=file, trust_remote_code=False)
            if config.model_type not in _KINDS:
                raise ValueError(f"it is of type {config.model_type!r}, not one of {', '.join(_KINDS)}")
            if file is not None:
                # transformers reads every GGUF T5 as gated, but by ReLU; v1.1 and later are gated by GELU.
                config.dense_act_fn = "gelu_new"
            self.tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=file, trust_remote_code=False)
            self.model, found = AutoModelForTextEncoding.from_pretrained(
                place,
                config=config,
                gguf_file=file,
                output_loading_info=True,
                dtype=torch.float32,
                trust_remote_code=False,
            )
        except Exception as error:  # transformers lets through whatever its parts raise
            reason = str(error).strip().split("\n")[0]
            raise ValueError(f"{checkpoint!r} must be a T5 checkpoint (id or folder): {reason}") from error
        if found["missing_keys"] or found["mismatched_keys"]:
            raise ValueError(
                f"{checkpoint!r} must hold a whole T5 encoder; {len(found['missing_keys'])} tensors miss."
            )
        self.dim: int = config.d_model
        self.adapt(adapter)

    def fits(self, prompt: str) -> bool:
        """Whether a prompt is short enough to be read."""
        return len(self.tokenizer(prompt)["input_ids"]) <= self.length

    def inputs(self, clip: Clip) -> Tokens:
        """One token per sentence piece (byT5: byte) of the prompt, as numbers of the vocabulary.

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
        return Tokens(batch["input_ids"].to(device), batch["attention_mask"].to(device).bool())

    def read(self, inputs: Tokens) -> Tokens:
        """The last layer's tokens."""
        ids, mask = inputs
        return Tokens(self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state, mask)


def _settings(checkpoint: str) -> PretrainedConfig:
    """Those of its folder, or those that are known of a published one that is not here."""
    from transformers import AutoConfig, T5Config

    if not is_here(checkpoint) and checkpoint in PUBLISHED:
        return T5Config(**PUBLISHED[checkpoint].config)
    require_folder(checkpoint, "A T5", "Train it: `worldgen pretrain t5`.")
    return AutoConfig.from_pretrained(checkpoint, trust_remote_code=False)


def _split_checkpoint(checkpoint: str) -> tuple[str, str | None]:
    """Folder or hub id, and the file in it where one is named."""
    if not checkpoint.endswith(".gguf"):
        require_folder(checkpoint, "A T5", "Train it: `worldgen pretrain t5`.")
        return checkpoint, None
    place, _, file = checkpoint.rpartition("/")
    if not Path(checkpoint).is_file() and (Path(place).is_dir() or place.count("/") != 1):
        raise FileNotFoundError(f"A GGUF checkpoint must be a file that exists; {checkpoint} does not.")
    if place:
        require_hub(place)
    from transformers.utils.import_utils import is_gguf_available

    if not is_gguf_available():
        raise ValueError(
            f"{checkpoint} is GGUF, which needs the package gguf; it is not installed. Run: pip install gguf."
        )
    return place or ".", file
