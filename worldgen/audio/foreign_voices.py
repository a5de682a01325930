"""Voices of other toolkits, which are installed beside: NVIDIA NeMo's and Coqui's."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import torch

from worldgen.audio.voice import Speech, Voice, spread_words, stretch


@final
class NeMoVoice(Voice):
    """NeMo's two stages, such as FastPitch and HiFi-GAN, by the names of its collection or .nemo files.

    Args:
        checkpoint: Acoustic model.
        vocoder: Of the same mel.
    """

    def __init__(self, checkpoint: str = "tts_en_fastpitch", vocoder: str = "tts_en_hifigan") -> None:
        try:
            from nemo.collections.tts.models import FastPitchModel, HifiGanModel  # pyright: ignore
        except ImportError as error:
            raise ValueError(
                "NeMoVoice needs NVIDIA NeMo; it is not installed. Run: pip install 'nemo_toolkit[tts]'."
            ) from error
        self._acoustic: Any = _open_nemo(FastPitchModel, checkpoint).eval()
        self._vocoder: Any = _open_nemo(HifiGanModel, vocoder).eval()
        self.rate = int(self._vocoder.cfg.sample_rate)

    @torch.no_grad()
    def _say(self, text: str, seed: int, speed: float) -> Speech:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            mel = self._acoustic.generate_spectrogram(tokens=self._acoustic.parse(text))
            sound = self._vocoder.convert_spectrogram_to_audio(spec=mel)[0].float().cpu()
        sound = stretch(sound, speed).clamp(-1, 1)
        return Speech(sound, self.rate, spread_words(text, len(sound) / self.rate))


@final
class CoquiVoice(Voice):
    """A voice of Coqui TTS by the name of its catalog.

    Args:
        checkpoint: Name of the model.
    """

    def __init__(self, checkpoint: str = "tts_models/en/ljspeech/vits") -> None:
        try:
            from TTS.api import TTS  # pyright: ignore
        except ImportError as error:
            raise ValueError(
                "CoquiVoice needs Coqui TTS; it is not installed. Run: pip install coqui-tts."
            ) from error
        self._tts: Any = TTS(checkpoint)
        self.rate = int(self._tts.synthesizer.output_sample_rate)

    def _say(self, text: str, seed: int, speed: float) -> Speech:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sound = torch.from_numpy(np.asarray(self._tts.tts(text), np.float32))
        sound = stretch(sound, speed).clamp(-1, 1)
        return Speech(sound, self.rate, spread_words(text, len(sound) / self.rate))


def _open_nemo(kind: Any, name: str) -> Any:
    return kind.restore_from(name) if name.endswith(".nemo") else kind.from_pretrained(name)
