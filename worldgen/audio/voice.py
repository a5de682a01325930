"""Voices: text becomes speech with the times of its words, fitted into a clip; classes by class path."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.audio.spoken_text import is_latin, require_readable, spell_out
from worldgen.data.waves import LOUDNESS, RATE, require_sound, resample, set_loudness
from worldgen.texts import build_part, read_part

FASTEST = 1.5
"""Times its own pace that a voice is sped up to at most where a clip is short."""
_DEFAULT = "worldgen.audio.hibari.HibariVoice"
_NANO = "worldgen.audio.letters.load_letters"
_SILENT = 0.005
"""Share of the peak below which a sample at either end of a speech is silence."""
_EDGE = 0.01
"""Seconds of it that stay."""


@dataclass(frozen=True)
class Word:
    """A word of a speech, with its punctuation."""

    text: str
    start: float
    """Seconds since the first sample."""
    end: float


@dataclass(frozen=True)
class Speech:
    """A text that was spoken."""

    sound: Float[Tensor, " S"]
    """In [-1, 1], without silence at its ends."""
    rate: int
    """Samples per second."""
    words: tuple[Word, ...]
    """In order, as they were spoken: numbers and units in words."""

    @property
    def seconds(self) -> float:
        return len(self.sound) / self.rate


class Voice(ABC):
    """Speaks texts: same text, seed and speed, same samples."""

    rate: int
    """Samples per second of what it speaks."""

    def speak(self, text: str, seed: int = 0, speed: float = 1.0) -> Speech:
        """A text as speech, without the silence before and after it.

        Args:
            text: Numbers and units are read in words.
            seed: Of what the voice draws.
            speed: Times its own pace.

        Raises:
            ValueError: A text that is empty, too long or in letters that the voice cannot read; a speed that
                is not positive; a voice that gives nothing, or samples that are not finite.
        """
        if not (0 < speed < math.inf):
            raise ValueError(f"A voice must speak at a positive speed; got {speed}.")
        require_readable(text, self.reads, type(self).__name__)
        speech = self._say(self.normalize(text), seed, speed)
        require_sound(speech.sound, f"What {type(self).__name__} speaks")
        return _trim(speech)

    def reads(self, letter: str) -> bool:
        """Whether the voice has a sound for a letter or digit."""
        return is_latin(letter)

    def normalize(self, text: str) -> str:
        """The text as it is read: numbers and units in English words."""
        return spell_out(text)

    @abstractmethod
    def _say(self, text: str, seed: int, speed: float) -> Speech:
        """A normalized text as speech."""


def speak_within(voice: Voice, text: str, seconds: float, seed: int = 0, lufs: float = LOUDNESS) -> Speech:
    """A text spoken within a time, at the rate of clips: faster where it must be, never cut.

    Args:
        voice: That speaks.
        text: To be spoken.
        seconds: It may take.
        seed: Of what the voice draws.
        lufs: Loudness; less where samples would leave [-1, 1].

    Raises:
        ValueError: As `Voice.speak`; or it takes longer even at `FASTEST` times the voice's pace.
    """
    speech, speed = voice.speak(text, seed), 1.0
    least = speech.seconds / FASTEST
    while speech.seconds > seconds:
        if speed == FASTEST:
            raise ValueError(
                f"{text[:60]!r} takes {speech.seconds:.2f} s at {FASTEST:g} times the voice's pace, the most "
                f"that is allowed, and there are {seconds:.2f} s. Give a clip of {_up(speech.seconds)} s "
                "or a shorter text."
            )
        # A voice keeps whole steps of time, so it may miss by a little.
        wanted = 1.02 * speed * speech.seconds / seconds
        speed = FASTEST if least > 1.1 * seconds else min(FASTEST, wanted)
        speech = voice.speak(text, seed, speed)
    sound = set_loudness(resample(speech.sound, speech.rate, RATE), RATE, lufs)
    return replace(speech, sound=sound, rate=RATE)


def spread_words(text: str, seconds: float) -> tuple[Word, ...]:
    """Times of words where a voice does not tell them: in proportion to their letters."""
    words = text.split()
    ends = torch.tensor([len(word) + 1 for word in words]).cumsum(0).double()
    ends = (seconds * ends / ends[-1]).tolist()
    return tuple(map(Word, words, [0.0, *ends[:-1]], ends))


def stretch(sound: Float[Tensor, " S"], speed: float) -> Float[Tensor, " S2"]:
    """The sound ``speed`` times as fast at the same pitch (phase vocoder, Flanagan and Golden 1966)."""
    if speed == 1:
        return sound
    from torchaudio.functional import phase_vocoder

    length, hop = 1024, 256
    window = torch.hann_window(length)
    spectrum = torch.stft(sound, length, hop, window=window, return_complex=True)
    advance = torch.linspace(0, math.pi * hop, length // 2 + 1)[:, None]
    return torch.istft(
        phase_vocoder(spectrum, speed, advance), length, hop, window=window, length=round(len(sound) / speed)
    )


def load_voice(name: str | None = None) -> Voice:
    """The voice that is meant.

    Args:
        name: ``FILE.yaml`` with class_path and init_args; ``package.module.Class:CHECKPOINT``, or without a
            checkpoint where the class needs none; the folder of a nano voice; the folder or hub id of a VITS
            of transformers; the voice inside hibari-tts when None.

    Raises:
        FileNotFoundError: No such yaml file.
        ValueError: No such class, or one that cannot be built so.
    """
    if name is not None and name.endswith((".yaml", ".yml")):
        config = read_part(Path(name), "a voice")
    else:
        kind, _, checkpoint = (name or _DEFAULT).partition(":")
        if "/" in kind or "." not in kind or kind.startswith(".") or Path(kind).exists():
            kind, checkpoint = "worldgen.audio.vits.VITS", name
        config = {"class_path": kind, "init_args": {"checkpoint": checkpoint} if checkpoint else {}}
        if name is not None and _is_nano(Path(name)):
            acoustic = {"class_path": _NANO, "init_args": {"checkpoint": name}}
            parts = {"acoustic": acoustic, "vocoder": {"class_path": "worldgen.audio.mel.GriffinLim"}}
            config = {"class_path": "worldgen.audio.mel.MelVoice", "init_args": parts}
    return build_part(Voice, config, name or _DEFAULT, "a voice")


def _is_nano(folder: Path) -> bool:
    """Whether a folder says that it is a voice that `worldgen pretrain voice` made."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return False
    return isinstance(config, dict) and config.get("model_type") == "letters_to_mel"


def _trim(speech: Speech) -> Speech:
    heard = (speech.sound.abs() > _SILENT * speech.sound.abs().max()).nonzero()[:, 0]
    if not len(heard):
        return speech
    edge = round(_EDGE * speech.rate)
    begin, end = max(int(heard[0]) - edge, 0), min(int(heard[-1]) + 1 + edge, len(speech.sound))
    early, length = begin / speech.rate, (end - begin) / speech.rate
    words = (
        Word(word.text, min(max(word.start - early, 0), length), min(max(word.end - early, 0), length))
        for word in speech.words
    )
    return replace(speech, sound=speech.sound[begin:end].clone(), words=tuple(words))


def _up(seconds: float) -> str:
    return f"{math.ceil(seconds * 100) / 100:.2f}"
