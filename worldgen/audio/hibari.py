"""The voice inside the package hibari-tts: English, 24 kHz, without a model hub."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

import numpy as np
import torch

from worldgen.audio.voice import Speech, Voice, Word

_DURATIONS = b"/CumSum_output_0"
"""Of hibari's network: the step at which each phoneme ends. It is no output of the file as it is."""
_PAUSES = ";:,.!?—…"
"""Phonemes that are silence."""
_FRAMES = 2
"""Frames of the spectrum in a step."""
_MOST = 400
"""Phonemes that the network is given at once, as hibari's own code has it."""
_INSTALL = "HibariVoice needs hibari-tts; it is not installed. Run: pip install 'worldgen[speech]'."


@final
class HibariVoice(Voice):
    """hibari-tts 0.2.1 (Apache-2.0): a student of Kokoro-82M, 8 MB, phonemes to spectra to samples.

    Word times are the network's own durations, exact to its step of 25 ms.

    Args:
        voice: heart, which is inside the package; fenrir, emma, fable and kore are fetched by it once.
    """

    rate = 24_000

    def __init__(self, voice: str = "heart") -> None:
        try:
            from hibari import Hibari
            from hibari.voices import VOICES
        except ImportError as error:
            raise ValueError(_INSTALL) from error
        import onnxruntime

        if voice not in VOICES:
            raise ValueError(f"hibari has the voices {', '.join(VOICES)}; got {voice!r}.")
        try:
            self._hibari: Any = Hibari(voice)
        except RuntimeError as error:  # it cannot be fetched
            raise ValueError(" ".join(str(error).split())) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        with open(self._hibari.model_path, "rb") as file:
            # Two messages of a kind, one behind the other, are one with the fields of both: here an output
            # (field 12 of the graph, which is field 7 of the model) with a name (field 1).
            network = file.read() + _field(7, _field(12, _field(1, _DURATIONS)))
        self._session: Any = onnxruntime.InferenceSession(
            network, options, providers=["CPUExecutionProvider"]
        )

    def _say(self, text: str, seed: int, speed: float) -> Speech:
        from hibari import dsp

        draws = np.random.default_rng(seed)
        pieces: list[np.ndarray] = []
        words: list[Word] = []
        before = 0
        for part in self._parts(text):
            ids, spans = [0], []
            for _, phonemes in part:
                ids += self._hibari.ids(" " if spans else "")[1:-1]
                before_it, pause = len(ids) - 1, len(phonemes) - len(phonemes.rstrip(_PAUSES))
                ids += self._hibari.ids(phonemes)[1:-1]
                spans.append((before_it, len(ids) - 1 - pause))
            given = {"ids": np.array([[*ids, 0]], np.int64), "speed": np.array([speed], np.float32)}
            *spectra, steps = self._session.run(None, given)
            samples = dsp.synth(*(values[0] for values in spectra), draws)  # pyright: ignore
            scale = _FRAMES * dsp.HOP / self.rate
            times = (before / self.rate + steps * scale).tolist()
            words += [Word(word, times[a], times[b]) for (word, _), (a, b) in zip(part, spans, strict=True)]
            pieces.append(samples)
            before += len(samples)
        sound = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
        return Speech(torch.from_numpy(sound).clamp(-1, 1), self.rate, tuple(words))

    def _parts(self, text: str) -> Iterable[list[tuple[str, str]]]:
        """What the network is given at once: a sentence, or as many of its words as it takes."""
        from hibari.g2p.normalize import normalize

        for sentence in self._hibari.split_sentences(text):
            part: list[tuple[str, str]] = []
            word = phonemes = ""
            for token in self._hibari.g2p.phonemize_tokens(self._hibari.g2p.tokenize(normalize(sentence))):
                word, phonemes = word + token.text, phonemes + (token.phonemes or "")
                if not token.whitespace:
                    continue
                part, word, phonemes = [*part, (word, phonemes)], "", ""
                if sum(len(sounds) + 1 for _, sounds in part) > _MOST - 50:
                    yield part
                    part = []
            if word:
                part.append((word, phonemes))
            if part:
                yield part


def _field(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer that holds bytes."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    more, value = value > 127, value
    return bytes([value & 127 | more << 7]) + (_varint(value >> 7) if more else b"")
