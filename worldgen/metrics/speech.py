"""Speech as a metric: is it heard as what was said, how good does it sound, and is there any."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.data.waves import RATE
from worldgen.hub import require_hub
from worldgen.metrics.intervals import ratio_interval
from worldgen.metrics.measure import Row

_INSTALL = "{} needs the package {}; it is not installed. Run: pip install 'worldgen[hearing]'."


@dataclass(frozen=True)
class Errors:
    """Edits that turn what was heard into what was said."""

    words: int
    of_words: int
    letters: int
    of_letters: int


def count_errors(said: str, heard: str) -> Errors:
    """Word and letter edits (Levenshtein) of two texts, without case, marks and hyphens.

    Args:
        said: Numbers in words, as a voice normalizes them.
        heard: By a recognizer.

    Raises:
        ValueError: Nothing was said.
    """
    from torchaudio.functional import edit_distance

    truth, found = _plain(said), _plain(heard)
    if not truth:
        raise ValueError(f"A text must have words to count errors in; got {said[:40]!r}.")
    letters, own = " ".join(truth), " ".join(found)
    return Errors(edit_distance(truth, found), len(truth), edit_distance(letters, own), len(letters))


def error_rows(errors: Sequence[Errors]) -> tuple[Row, ...]:
    """Word and character error rate over texts, with intervals over them; above 1 where much is invented."""
    rows = []
    for name, wrong, of in (
        ("word error rate", [one.words for one in errors], [one.of_words for one in errors]),
        ("character error rate", [one.letters for one in errors], [one.of_letters for one in errors]),
    ):
        low, high = ratio_interval(np.array(wrong, float), np.array(of, float))
        rows.append(
            Row(
                name,
                sum(wrong) / sum(of),
                None if low is None else max(low, 0.0),
                high,
                note=f"{sum(wrong)} of {sum(of)} in {len(errors)} texts",
            )
        )
    return tuple(rows)


class Recognizer(ABC):
    """Speech to text."""

    @abstractmethod
    def hear(self, sound: Float[Tensor, " S"]) -> str:
        """What is said in 16 kHz mono; "" where nothing is heard."""


@final
class PocketSphinx(Recognizer):
    """pocketsphinx 5.1.1 with the English model in its wheel: light, and worse than a person by far."""

    def __init__(self) -> None:
        try:
            from pocketsphinx import Decoder
        except ImportError as error:
            raise ValueError(_INSTALL.format("PocketSphinx", "pocketsphinx")) from error
        self._decoder: Any = Decoder(samprate=RATE, loglevel="FATAL")

    def hear(self, sound: Float[Tensor, " S"]) -> str:
        """One pass over the whole sound."""
        numbers = (sound.detach().float().clamp(-1, 1) * 32767).round().to(torch.int16).numpy()
        if not len(numbers):
            return ""
        self._decoder.start_utt()
        self._decoder.process_raw(numbers.astype("<i2").tobytes(), full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return "" if found is None else found.hypstr


@final
class Whisper(Recognizer):
    """Whisper of transformers (Radford et al. 2022, 2212.04356), as ``openai/whisper-tiny.en``; 30 s at most.

    Args:
        checkpoint: Hub id or folder in Hugging Face layout.
    """

    def __init__(self, checkpoint: str) -> None:
        require_hub(checkpoint)
        from transformers import WhisperForConditionalGeneration, WhisperProcessor

        try:
            self.processor: Any = WhisperProcessor.from_pretrained(checkpoint)
            self.model: Any = WhisperForConditionalGeneration.from_pretrained(checkpoint)
        except Exception as error:  # transformers lets through whatever its parts raise
            reason = " ".join(str(error).split()).split(". ")[0][:300]
            raise ValueError(
                f"{checkpoint!r} must be a Whisper checkpoint (id or folder): {reason}"
            ) from error
        self.model.eval().requires_grad_(False)

    @torch.no_grad()
    def hear(self, sound: Float[Tensor, " S"]) -> str:
        """The likeliest words, greedily."""
        if len(sound) > 30 * RATE:
            raise ValueError(f"Whisper hears 30 s at once; got {len(sound) / RATE:.1f} s. Cut the sound.")
        given = self.processor(sound.float().numpy(), sampling_rate=RATE, return_tensors="pt").input_features
        found = self.model.generate(given, do_sample=False)
        return self.processor.batch_decode(found, skip_special_tokens=True)[0].strip()


def distill_mos(sound: Float[Tensor, " S"]) -> float:
    """Mean opinion, 1 to 5, by DistillMOS (Stahl and Gamper 2025, 2502.05356; its weights are inside it)."""
    with torch.no_grad():
        return float(_distill_mos()(sound.float()[None])[0, 0])


def dns_mos(sound: Float[Tensor, " S"]) -> float:
    """Overall quality, 1 to 5, by DNSMOS P.835 (Reddy et al. 2022, 2110.01763), the sound repeated to 9 s."""
    try:
        from speechmos import dnsmos  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(_INSTALL.format("DNSMOS", "speechmos")) from error
    if not len(sound):
        raise ValueError("DNSMOS needs a sound of one sample or more; got none.")
    return float(dnsmos.run(sound.float().clamp(-1, 1).numpy(), RATE)["ovrl_mos"])


def speech_share(sound: Float[Tensor, " S"]) -> float:
    """Share of the time in which Silero VAD hears speech; it takes speech played backward for speech."""
    try:
        from silero_vad import get_speech_timestamps  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(_INSTALL.format("Silero VAD", "silero-vad")) from error
    found = get_speech_timestamps(sound.float(), _silero(), sampling_rate=RATE)
    return sum(part["end"] - part["start"] for part in found) / len(sound)


@cache
def _distill_mos() -> Any:
    try:
        from distillmos import ConvTransformerSQAModel  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(_INSTALL.format("DistillMOS", "distillmos")) from error
    return ConvTransformerSQAModel().eval()


@cache
def _silero() -> Any:
    from silero_vad import load_silero_vad  # pyright: ignore[reportMissingImports]

    return load_silero_vad()


def _plain(text: str) -> list[str]:
    return re.sub(r"[^\w\s]", "", re.sub(r"[-–—]", " ", text.lower())).split()
