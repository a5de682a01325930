"""CLIP: what is in each frame, and how well it fits the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from worldgen.encoders.base import Encoder, Tokens, require_folder
from worldgen.encoders.imagebind_inputs import clean_text
from worldgen.types import Clip

if TYPE_CHECKING:
    from transformers import CLIPModel


class CLIP(Encoder):
    """CLIP of frames and prompt (Radford et al. 2021, 2103.00020): a token for each frame, a unit vector.

    The cosine of each frame and the clip's prompt (CLIPSIM, 2104.14806) says whether the right things are in
    the picture, and nothing about how they move: shuffled frames score the same.

    Args:
        checkpoint: Hub id or folder in Hugging Face layout, e.g. ``openai/clip-vit-base-patch32``.
    """

    model: CLIPModel

    def __init__(self, checkpoint: str) -> None:
        super().__init__()
        from transformers import AutoConfig, CLIPModel, CLIPProcessor

        require_folder(checkpoint, "A CLIP", "Give another path or a hub id.")
        try:
            config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=False)
            if config.model_type != "clip":
                raise ValueError(f"its config.json says {config.model_type!r}")
            self.processor: Any = CLIPProcessor.from_pretrained(
                checkpoint, use_fast=True, trust_remote_code=False
            )
            self.model, found = CLIPModel.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
                checkpoint, output_loading_info=True, dtype=torch.float32
            )
        except Exception as error:  # transformers lets through whatever its parts raise
            reason = " ".join(str(error).split()).split(". ")[0][:300]
            raise ValueError(f"{checkpoint!r} must be a CLIP checkpoint (id or folder): {reason}") from error
        if found["missing_keys"]:
            raise ValueError(
                f"{checkpoint!r} must hold a whole CLIP; {len(found['missing_keys'])} tensors miss, "
                f"{min(found['missing_keys'])} first."
            )
        self.length: int = config.text_config.max_position_embeddings
        self.dim = config.projection_dim
        self.freeze()

    @torch.no_grad()
    def encode(self, clip: Clip) -> Tokens:
        """A token of each frame, in the space that frames and prompts share."""
        pixels = self.processor.image_processor(
            list(clip.frames.flatten(0, 1)), do_rescale=False, return_tensors="pt"
        )["pixel_values"]
        seen = F.normalize(self.model.get_image_features(pixels.to(self.model.device)), dim=-1)
        values = seen.unflatten(0, clip.frames.shape[:2])  # (B, T, D)
        return Tokens(values, torch.ones(values.shape[:2], dtype=torch.bool, device=values.device))

    def positions(self, clip: Clip) -> Float[Tensor, "B L 3"]:
        """When each frame was seen, as (t, y, x): a token has seen the whole picture, so y and x are 1/2."""
        t = torch.arange(clip.frames.shape[1], device=clip.fps.device) / clip.fps[:, None]
        return torch.stack([t, torch.full_like(t, 0.5), torch.full_like(t, 0.5)], dim=-1)

    def match_prompts(self, clip: Clip) -> Float[Tensor, " B"]:
        """Mean over the frames of `score_frames`."""
        return self.score_frames(clip).mean(dim=1)

    @torch.no_grad()
    def score_frames(self, clip: Clip) -> Float[Tensor, "B T"]:
        """Cosine, in [-1, 1], of each frame with the prompt of its clip.

        Raises:
            ValueError: If a prompt is empty or longer than CLIP reads.
        """
        bare = [index for index, prompt in enumerate(clip.prompts) if not prompt.strip()]
        if bare:
            raise ValueError(f"Every clip must have a prompt to be scored; clip {bare[0]} has none.")
        prompts = [clean_text(prompt) for prompt in clip.prompts]
        text = self.processor.tokenizer(prompts, padding=True, return_tensors="pt")
        longest = text["input_ids"].shape[1]
        if longest > self.length:
            raise ValueError(
                f"A prompt must be at most {self.length} CLIP tokens; got {longest}. Shorten it."
            )
        said = F.normalize(self.model.get_text_features(**text.to(self.model.device)), dim=-1)
        return torch.einsum("btd,bd->bt", self.encode(clip).values, said)
