"""A model that puts clips into words.

Long captions make better generators (Betker et al. 2023, DALL-E 3): real video, which comes with short ones
or none, is described anew by a frozen model that sees nothing but the frames.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from worldgen.hub import require_hub
from worldgen.types import Clip


class Captioner:
    """An image-to-text or video-to-text model of transformers, frozen, decoded greedily.

    Captioning models, such as BLIP (Li et al. 2022, 2201.12086) and GIT (Wang et al. 2022, 2205.14100), see
    the clip's middle frame, or the frames that a video GIT was made for. Models that are spoken to, whose
    processor has a chat template, see ``frames`` frames spread over the clip and are asked ``question``.

    Args:
        checkpoint: Hub id or folder in Hugging Face layout, as ``Salesforce/blip-image-captioning-base``.
        frames: Frames that a model with a chat template is shown.
        question: What it is asked.
        length: Most tokens of a caption.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: Not a checkpoint of such a model, or a number that is not positive.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        frames: int = 4,
        question: str = "Describe what happens in these frames of a video, in order.",
        length: int = 64,
    ) -> None:
        for name, value in (("frames", frames), ("length", length)):
            if value < 1:
                raise ValueError(f"Captioner's {name} must be at least 1; got {value}.")
        from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

        name = str(checkpoint)
        if name.startswith((".", "/", "~")) and not (Path(name) / "config.json").is_file():
            raise FileNotFoundError(f"No captioning model (config.json) in {name}. Check the path.")
        require_hub(name)
        try:
            self.model, found = AutoModelForImageTextToText.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
                name, output_loading_info=True, dtype=torch.float32, trust_remote_code=False
            )
            self.images = AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
            self.tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            self.chat = AutoProcessor.from_pretrained(name, trust_remote_code=False)
        except Exception as error:  # transformers lets through whatever its parts raise
            reason = str(error).strip().split("\n")[0]
            raise ValueError(f"{name!r} must be an image-to-text model (id or folder): {reason}") from error
        if found["missing_keys"] or found["mismatched_keys"]:
            raise ValueError(f"{name!r} must hold a whole model; {len(found['missing_keys'])} tensors miss.")
        self.model.requires_grad_(False).eval().to("cuda" if torch.cuda.is_available() else "cpu")
        self.frames, self.question, self.length = frames, question, length

    def describe(self, clip: Clip) -> Clip:
        """The clip with `caption` as its prompts."""
        return replace(clip, prompts=self.caption(clip))

    @torch.no_grad()
    def caption(self, clip: Clip) -> tuple[str, ...]:
        """One caption per clip of the batch; the same clip gets the same words, whatever lies beside it."""
        pixels = (clip.frames * 255).round().to(torch.uint8).cpu()  # (B, T, 3, H, W)
        if getattr(self.chat, "chat_template", None):
            return tuple(self._ask(frames[_spread(len(frames), self.frames)]) for frames in pixels)
        shown = getattr(self.model.config, "num_image_with_embedding", None) or 1
        chosen = pixels[:, _spread(pixels.shape[1], shown)]  # (B, F, 3, H, W)
        captions: list[str] = []
        for part in chosen.split(1):
            inputs = self.images(list(part.flatten(0, 1)), return_tensors="pt")["pixel_values"]
            if shown > 1:
                inputs = inputs.unflatten(0, part.shape[:2])  # (b, F, 3, h, w)
            captions += self._read(self._write(inputs.to(self.model.device)))
        return tuple(captions)

    def _write(self, pixels: Tensor) -> Tensor:
        return self.model.generate(
            pixel_values=pixels, do_sample=False, num_beams=1, max_new_tokens=self.length
        )

    def _ask(self, frames: Tensor) -> str:
        content = [*({"type": "image"} for _ in frames), {"type": "text", "text": self.question}]
        prompt = self.chat.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        inputs = self.chat(images=list(frames), text=prompt, return_tensors="pt").to(self.model.device)
        written = self.model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=self.length)
        return self._read(written[:, inputs["input_ids"].shape[1] :])[0]

    def _read(self, tokens: Tensor) -> list[str]:
        return [
            " ".join(text.split()) for text in self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        ]


@lru_cache(maxsize=1)
def load_captioner(checkpoint: str) -> Captioner:
    """The captioner of a checkpoint, loaded once in a process. Errors as of `Captioner`."""
    return Captioner(checkpoint)


def _spread(count: int, wanted: int) -> list[int]:
    """The middles of ``wanted`` equal parts of ``count`` frames."""
    return [int((part + 0.5) * count / wanted) for part in range(wanted)]
