"""ImageBind: frames, prompts, sound, depth and inertial signals of a clip in one space."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from worldgen.encoders.adapters import Adapter
from worldgen.encoders.base import AdaptableEncoder, Tokens
from worldgen.encoders.imagebind_files import load_imagebind
from worldgen.encoders.imagebind_inputs import (
    RATE,
    WINDOW,
    prepare_audio,
    prepare_depth,
    prepare_imu,
    prepare_text,
    prepare_vision,
    read_tokenizer,
    window_starts,
)
from worldgen.encoders.imagebind_layers import ImageBindModel
from worldgen.hub import only_sizes
from worldgen.types import Clip

_IN_CLIP = ("vision", "text", "audio", "depth", "imu")
"""Modalities that a Clip can hold; thermal pictures it cannot."""


class ImageBind(AdaptableEncoder):
    """Frozen ImageBind (Girdhar et al. 2023, 2305.05665) on everything that a clip holds.

    The published weights are licensed CC-BY-NC 4.0: **non-commercial use only**. They are not part of this
    project; whoever chooses ``imagebind_huge.pth`` gets a warning that says so.

    A token is one unit vector of the shared space. Their places are fixed, whatever a clip holds, and
    ``origins`` names them; with all modalities and ``windows`` of 3:

    ==========  =========  ===========================================================================
    places      modality   made of
    ==========  =========  ===========================================================================
    0, 1, 2     vision     first and last frame of each window of two seconds
    3           text       the prompt
    4, 5, 6     audio      each window of two seconds
    7, 8, 9     depth      frames from the first to the last, evenly spaced
    10          imu        the first five seconds
    ==========  =========  ===========================================================================

    What a clip has not is zeros with ``mask`` False: a sense that is None, a prompt of "", silence, and the
    windows after the first where they would show the same two seconds again.

    Args:
        checkpoint: ``imagebind_huge.pth``, or a folder written by `save_imagebind`, e.g.
            ``assets/nano/imagebind``.
        tokenizer: Of the prompts, see `read_tokenizer`; left out, the folder's own ``tokenizer.json``.
        modalities: What to encode, of vision, text, audio, depth and imu; all that the checkpoint has when
            left out.
        windows: Of vision, audio and depth. The authors take 3 of sound and 5 of video.
        adapter: The part that learns, if any: LoRA, on the feed-forward maps of every tower.
    """

    model: ImageBindModel
    origins: tuple[str, ...]

    def __init__(
        self,
        checkpoint: str | Path,
        tokenizer: str | Path | None = None,
        modalities: tuple[str, ...] | None = None,
        windows: int = 3,
        adapter: Adapter | None = None,
    ) -> None:
        super().__init__()
        if windows < 1:
            raise ValueError(f"windows must be 1 or more; got {windows}.")
        self.model = load_imagebind(checkpoint)
        config = self.model.config
        able = tuple(name for name in _IN_CLIP if name in config.modalities)
        unknown = [name for name in modalities or () if name not in able]
        if unknown or modalities == ():
            raise ValueError(f"modalities must be some of {able} of this ImageBind; got {modalities}.")
        self.modalities = tuple(name for name in able if modalities is None or name in modalities)
        self.tokenizer, self.tokenizer_hash = None, ""
        if "text" in self.modalities and not only_sizes():
            self.tokenizer = read_tokenizer(_find_tokenizer(checkpoint, tokenizer), config.vocabulary)
            self.tokenizer_hash = hashlib.sha256(self.tokenizer.to_str().encode()).hexdigest()[:12]
        self.windows = windows
        self.origins = tuple(
            name for name in self.modalities for _ in range(1 if name in ("text", "imu") else windows)
        )
        """Modality of each token."""
        self.dim: int = config.out_dim
        self.adapt(adapter)
        for name, weight in self.model.named_parameters():
            if name.split(".")[1] not in self.modalities:  # a tower that is not run cannot learn
                weight.requires_grad_(False)

    def inputs(self, clip: Clip) -> Tokens:
        """What the towers are given for each of ``origins``, one after the other in a row per clip.

        The row holds the bits of float32 as int32, and token ids as they are: no way of storing rounds them.

        Raises:
            ValueError: If a prompt is too long.
        """
        mask = torch.zeros(len(clip), len(self.origins), dtype=torch.bool, device=clip.frames.device)
        rows = []
        for name in self.modalities:
            shape, places = self._shape(name), self.origins.count(name)
            row = torch.zeros(len(clip), places, math.prod(shape), dtype=torch.int32, device=mask.device)
            if _holds(clip, name):
                x, real = self._given(clip, name)
                x = x.to(torch.int32) if name == "text" else x.float().contiguous().view(torch.int32)
                row[:, : x.shape[1]] = x.flatten(2)
                first = self.origins.index(name)
                mask[:, first : first + x.shape[1]] = real
            rows.append(row.flatten(1))
        return Tokens(torch.cat(rows, dim=1), mask)

    def read(self, inputs: Tokens) -> Tokens:
        """One token for each of ``origins``; only those that are real are computed."""
        device = next(self.parameters()).device
        rows, mask = inputs.values.to(device), inputs.mask.to(device)
        values = torch.zeros(*mask.shape, self.dim, device=device)
        for name in self.modalities:
            first, places, shape = self.origins.index(name), self.origins.count(name), self._shape(name)
            row, rows = rows.tensor_split([places * math.prod(shape)], dim=1)
            real = torch.zeros_like(mask)
            real[:, first : first + places] = mask[:, first : first + places]
            x = row.unflatten(1, (places, *shape))[real[:, first : first + places]]
            if len(x):
                x = x.long() if name == "text" else x.contiguous().view(torch.float32)
                values[real] = self._embed(x, name)
        return Tokens(values, mask)

    def positions(self, clip: Clip) -> Float[Tensor, "B L 3"]:
        """When the tokens of `encode` were made, as (t, y, x): each has seen the whole picture.

        Returns:
            t is the middle of a token's window in seconds since the first frame, of the prompt that of the
            clip; y and x are 1/2.
        """
        frames = clip.frames.shape[1]
        rows = []
        for fps in clip.fps.tolist():
            seconds = frames / fps
            window = [start + min(seconds, WINDOW) / 2 for start in window_starts(seconds, self.windows)]
            seen = torch.linspace(0, frames - 1, min(self.windows, frames)).round() / fps
            times = {
                "text": [seconds / 2],
                "imu": [min(seconds, 5.0) / 2],
                "depth": [*seen.tolist(), *[seconds / 2] * (self.windows - len(seen))],
            }
            rows.append([t for name in self.modalities for t in times.get(name, window)])
        t = torch.tensor(rows).to(clip.fps)
        return torch.stack([t, torch.full_like(t, 0.5), torch.full_like(t, 0.5)], dim=-1)

    def embed_vision(self, clip: Clip) -> Float[Tensor, "B D"]:
        """Unit vector of the frames of each clip: the mean of its windows, as for all embeddings here."""
        return self._embed_clip(clip, "vision")

    @torch.no_grad()
    def embed_text(self, prompts: tuple[str, ...]) -> Float[Tensor, "B D"]:
        """Unit vector of each prompt.

        Raises:
            ValueError: If the encoder has no text, or a prompt is too long.
        """
        self._require_modality("text")
        return self._embed(self._prepare_text(prompts), "text")

    def match_prompts(self, clip: Clip) -> Float[Tensor, " B"]:
        """Cosine of the frames and the prompt of each clip; ValueError as of `embed_text`."""
        return (self.embed_vision(clip) * self.embed_text(clip.prompts)).sum(dim=1)

    def embed_audio(self, clip: Clip) -> Float[Tensor, "B D"]:
        """Unit vector of the sound of each clip.

        Raises:
            ValueError: If a clip has no sound, or is silent.
        """
        if clip.sound is not None and not bool(_audible(clip).all()):
            silent = (~_audible(clip)).nonzero().flatten().tolist()
            raise ValueError(f"Clips must have something to hear; clips {silent} are silent. Leave them out.")
        return self._embed_clip(clip, "audio")

    def embed_depth(self, clip: Clip) -> Float[Tensor, "B D"]:
        """Unit vector of the depth of each clip; ValueError if there is none."""
        return self._embed_clip(clip, "depth")

    def embed_imu(self, clip: Clip) -> Float[Tensor, "B D"]:
        """Unit vector of the inertial signal of each clip; ValueError if there is none."""
        return self._embed_clip(clip, "imu")

    @torch.no_grad()
    def _embed_clip(self, clip: Clip, modality: str) -> Float[Tensor, "B D"]:
        self._require_modality(modality)
        if not _holds(clip, modality):
            raise ValueError(f"The clip must hold {modality} to be embedded; it has none.")
        x, real = self._given(clip, modality)
        values = self._embed(x.flatten(0, 1), modality).unflatten(0, tuple(x.shape[:2]))
        return F.normalize((values * real.to(values.device)[..., None]).sum(dim=1), dim=-1)

    def _shape(self, modality: str) -> tuple[int, ...]:
        """Of what a tower is given for one token."""
        config = self.model.config
        side = config.image_size
        return {
            "vision": (3, 2, side, side),
            "text": (config.context,),
            "audio": (1, config.mel_bins, config.mel_frames),
            "depth": (1, side, side),
            "imu": (6, config.imu_length),
        }[modality]

    def _given(self, clip: Clip, modality: str) -> tuple[Tensor, Bool[Tensor, "B V"]]:
        """What a tower is given (B V ...) for each window, and which of them say something."""
        config = self.model.config
        if modality == "vision":
            x, real = prepare_vision(clip, self.windows, config.image_size)
        elif modality == "text":
            x = self._prepare_text(clip.prompts)[:, None]
            real = torch.tensor([[bool(prompt.strip())] for prompt in clip.prompts])
        elif modality == "audio":
            assert clip.sound is not None
            distinct = self.windows if clip.sound.shape[1] > 2 * RATE else 1
            x = prepare_audio(clip.sound, distinct, config.mel_bins, config.mel_frames)
            real = _audible(clip)[:, None].expand(-1, distinct)
        elif modality == "depth":
            x = prepare_depth(clip, self.windows, config.image_size)
            real = torch.ones(x.shape[:2], dtype=torch.bool)
        else:
            x = prepare_imu(clip, config.imu_length)[:, None]
            real = torch.ones(x.shape[:2], dtype=torch.bool)
        return x, real.to(clip.frames.device)

    def _embed(self, x: Tensor, modality: str) -> Float[Tensor, "N D"]:
        device = next(self.parameters()).device
        return F.normalize(self.model.embed(modality, x.to(device)), dim=-1)

    def _prepare_text(self, prompts: tuple[str, ...]) -> Tensor:
        assert self.tokenizer is not None
        return prepare_text(prompts, self.tokenizer, self.model.config.context)

    def _require_modality(self, modality: str) -> None:
        if modality not in self.modalities:
            raise ValueError(
                f"This ImageBind must encode {modality} to embed it; it encodes {self.modalities}."
            )


def _holds(clip: Clip, modality: str) -> bool:
    sense = {"audio": clip.sound, "depth": clip.depth, "imu": clip.imu}
    value = sense.get(modality, clip.frames)
    return value is not None and value.numel() > 0


def _audible(clip: Clip) -> Bool[Tensor, " B"]:
    assert clip.sound is not None
    return clip.sound.abs().amax(dim=1) > 0


def _find_tokenizer(checkpoint: str | Path, tokenizer: str | Path | None) -> str | Path:
    own = Path(checkpoint) / "tokenizer.json"
    if tokenizer is None and not own.is_file():
        raise ValueError(
            f"{checkpoint} holds no tokenizer: give tokenizer= the path of CLIP's "
            "bpe_simple_vocab_16e6.txt.gz or the id of a CLIP model, or leave text out of modalities."
        )
    return own if tokenizer is None else tokenizer
