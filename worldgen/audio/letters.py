"""A trainable acoustic model: letters to a log-mel spectrogram, all of it at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from worldgen.audio.mel import AcousticModel, MelScale, log_mel
from worldgen.audio.voice import Speech
from worldgen.data.waves import resample, set_loudness
from worldgen.parts import load_part, save_part

KIND = "letters_to_mel"
"""What the config of such a folder calls itself."""
LETTERS = "_ abcdefghijklmnopqrstuvwxyz'"
"""Tokens: nothing, a pause, letters."""
_SILENCE = -4.0
"""``log10`` magnitude below which nothing is heard, and nothing is learned."""
_MIDDLE, _SPREAD = -2.0, 1.0
"""Of the log-mel of speech."""
_WAVES = 4
"""Sinusoids of a place in a letter and in a word."""
_MOST_FRAMES = 60
"""Of one token, some second."""


@dataclass(frozen=True)
class Aligned:
    """A speech as an example to learn from."""

    tokens: Int[Tensor, " L"]
    ends: Float[Tensor, " L"]
    """Frames at which each token ends."""
    mel: Float[Tensor, "F mel"]


@final
class LettersToMel(AcousticModel, nn.Module):
    """FastSpeech's plan (Ren et al. 2019, 1905.09263) with convolutions: durations, then all frames at once.

    Letters become features, of which each letter's frames are told; each frame reads the letter it is in,
    and where in it and in its word it lies, and frames see each other. The letters of a word share its time
    evenly; what sounds when within it is left to the network. What it has not heard in training it spells as
    best it can.

    Args:
        dim: Width.
        letter_blocks: Over letters.
        frame_blocks: Over frames.
    """

    def __init__(self, dim: int = 96, letter_blocks: int = 3, frame_blocks: int = 4) -> None:
        super().__init__()
        self.scale = MelScale()
        self.sizes = (dim, letter_blocks, frame_blocks)
        self.letters = nn.Embedding(len(LETTERS), dim)
        self.letter_blocks = nn.ModuleList(_Block(dim) for _ in range(letter_blocks))
        self.duration = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 1))
        self.place = nn.Linear(4 * _WAVES, dim)
        self.frame_blocks = nn.ModuleList(_Block(dim) for _ in range(frame_blocks))
        self.mel = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, self.scale.bins))

    def read(self, tokens: Int[Tensor, "B L"]) -> tuple[Float[Tensor, "B L D"], Float[Tensor, "B L"]]:
        """Features of letters, and ``ln(1 + frames)`` of each; token 0 is nothing."""
        real = tokens > 0
        x = self.letters(tokens)
        for block in self.letter_blocks:
            x = block(x, real)
        return x, self.duration(x)[..., 0]

    def speak(
        self,
        features: Float[Tensor, "B L D"],
        tokens: Int[Tensor, "B L"],
        ends: Float[Tensor, "B L"],
        frames: int,
    ) -> Float[Tensor, "B F mel"]:
        """Normalized log-mel frames of letters that end at given frames.

        Args:
            features: As of `read`.
            tokens: The letters.
            ends: Frames at which each ends; of nothing, the last one's.
            frames: F.
        """
        at = torch.arange(frames, device=ends.device) + 0.5
        letter = torch.searchsorted(ends.contiguous(), at.expand(len(ends), -1).contiguous(), right=True)
        letter = letter.clamp(max=ends.shape[1] - 1)  # (B, F)
        begins = torch.cat([torch.zeros_like(ends[:, :1]), ends[:, :-1]], dim=1)
        places = [_share(at, begins, ends, letter), _share(at, *_words(tokens, begins, ends), letter)]
        order = torch.pi * torch.arange(1, _WAVES + 1, device=at.device)
        waves = torch.stack(places, dim=-1)[..., None] * order
        x = features.gather(1, letter[..., None].expand(-1, -1, features.shape[-1]))
        x = x + self.place(torch.cat([waves.cos(), waves.sin()], dim=-1).flatten(2))
        real = at < ends[:, -1:]
        for block in self.frame_blocks:
            x = block(x, real)
        return self.mel(x)

    @torch.no_grad()
    def predict(self, text: str, seed: int) -> Float[Tensor, "F mel"]:
        """Log-mel frames of a text; nothing is drawn."""
        tokens = tokens_of(text)[None]
        features, durations = self.read(tokens)
        frames = (durations.exp() - 1).clamp(0, _MOST_FRAMES)
        frames = torch.where(tokens == 1, frames, frames.clamp(min=0.5))
        ends = frames.cumsum(dim=1)
        mel = self.speak(features, tokens, ends, max(1, int(ends[0, -1].round())))[0]
        return mel * _SPREAD + _MIDDLE

    def loss(
        self, tokens: Int[Tensor, "B L"], ends: Float[Tensor, "B L"], mel: Float[Tensor, "B F mel"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Mean absolute error of normalized log-mel frames, and squared error of ``ln(1 + frames)``.

        Args:
            tokens: 0 behind the last one.
            ends: In frames; behind the last one, its own.
            mel: As `align` has it, anything behind the end.
        """
        features, durations = self.read(tokens)
        wanted = ((mel.clamp(min=_SILENCE)) - _MIDDLE) / _SPREAD
        real = (torch.arange(mel.shape[1], device=mel.device) + 0.5 < ends[:, -1:])[..., None]
        away = (self.speak(features, tokens, ends, mel.shape[1]) - wanted).abs() * real
        frames = torch.diff(ends, dim=1, prepend=torch.zeros_like(ends[:, :1]))
        told = tokens > 0
        off = (durations - frames.log1p()).square() * told
        return away.sum() / real.sum() / mel.shape[-1], off.sum() / told.sum()

    def save(self, folder: str | Path) -> None:
        """Write `config.json` and, in half precision, `model.safetensors`."""
        sizes = dict(zip(_SIZES, self.sizes, strict=True))
        save_part(self, {"model_type": KIND, "name": "nano voice", **sizes}, folder)


_SIZES = ("dim", "letter_blocks", "frame_blocks")


def load_letters(checkpoint: str) -> LettersToMel:
    """A trained model from its folder, frozen.

    Args:
        checkpoint: Folder with `config.json` and `model.safetensors`, as `worldgen pretrain voice` writes it.

    Raises:
        FileNotFoundError: The folder has no such model, or half of one.
        ValueError: The files are of something else.
    """
    model = load_part(checkpoint, "nano voice", "worldgen pretrain voice", _make_letters)
    return model.requires_grad_(False).eval()


def _make_letters(config: dict[str, Any]) -> LettersToMel:
    if config["model_type"] != KIND:
        raise ValueError(f"model_type {config['model_type']!r}")
    return LettersToMel(*(config[name] for name in _SIZES))


def tokens_of(text: str) -> Int[Tensor, " L"]:
    """The letters of a normalized text, a pause around each word; marks are part of the pause behind them."""
    words = [known for word in text.split() if (known := _plain(word))]
    return _tokens(words)


def align(speech: Speech, scale: MelScale) -> Aligned:
    """A speech as its letters, when they end, and its mel.

    Raises:
        ValueError: A speech without words.
    """
    words = [(known, word) for word in speech.words if (known := _plain(word.text))]
    if not words:
        raise ValueError("A speech must have words with letters to be learned from; got none.")
    sound = set_loudness(resample(speech.sound, speech.rate, scale.rate), scale.rate)
    mel = log_mel(sound, scale)
    frames, ends, last = scale.rate / scale.hop, [], 0.0
    for known, word in words:
        begin, end = max(word.start * frames, last), max(word.end * frames, last)
        ends.append(begin)  # the pause before it
        ends += [begin + (end - begin) * (n + 1) / len(known) for n in range(len(known))]
        last = end
    ends.append(max(float(len(mel)), last))
    return Aligned(_tokens([known for known, _ in words]), torch.tensor(ends), mel)


def _tokens(words: list[str]) -> Int[Tensor, " L"]:
    return torch.tensor([LETTERS.index(letter) for letter in " ".join(["", *words, ""])])


def _plain(word: str) -> str:
    """What of a word there are tokens for, without accents."""
    import unicodedata

    plain = unicodedata.normalize("NFKD", word.lower()).replace("’", "'")
    return "".join(letter for letter in plain if letter in LETTERS[2:])


def _words(
    tokens: Int[Tensor, "B L"], begins: Float[Tensor, "B L"], ends: Float[Tensor, "B L"]
) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B L"]]:
    """When the word of each token begins and ends; a pause is a word of its own."""
    pause = tokens <= 1
    first = pause | torch.cat([torch.ones_like(pause[:, :1]), pause[:, :-1]], dim=1)
    last = torch.cat([first[:, 1:], torch.ones_like(pause[:, :1])], dim=1)
    place = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    start = torch.where(first, place, 0).cummax(dim=1).values
    stop = torch.where(last, place, tokens.shape[1]).flip(1).cummin(dim=1).values.flip(1)
    return begins.gather(1, start), ends.gather(1, stop)


def _share(at: Tensor, begins: Tensor, ends: Tensor, letter: Tensor) -> Float[Tensor, "B F"]:
    """How much of the span that it is in has passed at each frame."""
    begin, end = begins.gather(1, letter), ends.gather(1, letter)
    return ((at - begin) / (end - begin).clamp(min=1e-3)).clamp(0, 1)


class _Block(nn.Module):
    """A convolution along each channel, two layers across them, a skip (Liu et al. 2022, 2201.03545)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.along = nn.Conv1d(dim, dim, 7, padding=3, groups=dim)
        self.across = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)
        )

    def forward(self, x: Float[Tensor, "B L D"], real: Bool[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        x = x * real[..., None]
        return x + self.across(self.along(x.transpose(1, 2)).transpose(1, 2))
