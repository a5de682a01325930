"""Speech in two stages, either of which can be swapped: text to a mel spectrogram, and that to samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.audio.voice import Speech, Voice, spread_words, stretch
from worldgen.hub import require_hub

if TYPE_CHECKING:
    from transformers import SpeechT5ForTextToSpeech, SpeechT5HifiGan


@dataclass(frozen=True)
class MelScale:
    """What the numbers of a log-mel spectrogram are: both stages must mean the same.

    SpeechT5's and its HiFi-GAN's: ``log10`` of the magnitude in Slaney's bands.
    """

    rate: int = 16_000
    """Samples per second."""
    bins: int = 80
    length: int = 1024
    """Samples of a window."""
    hop: int = 256
    """Samples from one frame to the next."""
    lowest: float = 80.0
    """Hz."""
    highest: float = 7600.0
    floor: float = 1e-10


class AcousticModel(ABC):
    """Stage one: text to log-mel."""

    scale: MelScale

    @abstractmethod
    def predict(self, text: str, seed: int) -> Float[Tensor, "F mel"]:
        """The log-mel frames of a normalized text."""


class Vocoder(ABC):
    """Stage two: log-mel to samples."""

    scale: MelScale

    @abstractmethod
    def synthesize(self, mel: Float[Tensor, "F mel"]) -> Float[Tensor, " S"]:
        """The sound of log-mel frames, in [-1, 1]."""


@final
class MelVoice(Voice):
    """An acoustic model and a vocoder. Word times are estimates, in proportion to letters.

    Args:
        acoustic: Text to mel.
        vocoder: Mel to samples.
    """

    def __init__(self, acoustic: AcousticModel, vocoder: Vocoder) -> None:
        if (acoustic.scale.rate, acoustic.scale.bins) != (vocoder.scale.rate, vocoder.scale.bins):
            raise ValueError(
                f"An acoustic model and its vocoder must mean the same mel; got {acoustic.scale.bins} bands "
                f"at {acoustic.scale.rate} Hz and {vocoder.scale.bins} at {vocoder.scale.rate}. Change one."
            )
        self.acoustic, self.vocoder, self.rate = acoustic, vocoder, acoustic.scale.rate

    def _say(self, text: str, seed: int, speed: float) -> Speech:
        sound = stretch(self.vocoder.synthesize(self.acoustic.predict(text, seed)), speed).clamp(-1, 1)
        return Speech(sound, self.rate, spread_words(text, len(sound) / self.rate))


@final
class SpeechT5(AcousticModel):
    """SpeechT5 (Ao et al. 2022, 2110.07205), as ``microsoft/speecht5_tts``: text to mel, frame after frame.

    Args:
        checkpoint: Hub id or folder in Hugging Face layout.
        speaker: npy file of an x-vector, whose voice it is; a vector of equal numbers when None.
    """

    model: SpeechT5ForTextToSpeech

    def __init__(self, checkpoint: str, speaker: str | None = None) -> None:
        from transformers import SpeechT5ForTextToSpeech, SpeechT5Tokenizer

        self.tokenizer: Any = _load(SpeechT5Tokenizer, checkpoint, "a SpeechT5 of text to speech")
        self.model = _load(SpeechT5ForTextToSpeech, checkpoint, "a SpeechT5 of text to speech")
        config: Any = self.model.config
        self.scale = MelScale(bins=config.num_mel_bins)
        size = config.speaker_embedding_dim
        vector = np.full(size, size**-0.5, np.float32) if speaker is None else np.load(Path(speaker))
        if vector.size != size or not np.isfinite(vector).all():
            raise ValueError(f"speaker must hold {size} finite numbers; {speaker} has {vector.shape}.")
        self.speaker = torch.from_numpy(vector.astype(np.float32).reshape(1, size))

    @torch.no_grad()
    def predict(self, text: str, seed: int) -> Float[Tensor, "F mel"]:
        """Log-mel frames; its prenet drops out in use too, as published, so they depend on the seed."""
        given = self.tokenizer(text, return_tensors="pt")["input_ids"]
        most = self.model.config.max_text_positions
        if given.shape[1] > most:
            raise ValueError(f"SpeechT5 reads {most} letters at once; got {given.shape[1]}. Cut the text.")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.model.generate_speech(given, self.speaker)  # pyright: ignore[reportReturnType, reportArgumentType]


@final
class HifiGan(Vocoder):
    """HiFi-GAN (Kong et al. 2020, 2010.05646), as ``microsoft/speecht5_hifigan``.

    Args:
        checkpoint: Hub id or folder in Hugging Face layout.
    """

    model: SpeechT5HifiGan

    def __init__(self, checkpoint: str) -> None:
        from transformers import SpeechT5HifiGan

        self.model = _load(SpeechT5HifiGan, checkpoint, "a SpeechT5HifiGan")
        config: Any = self.model.config
        self.scale = MelScale(
            rate=config.sampling_rate, bins=config.model_in_dim, hop=int(np.prod(config.upsample_rates))
        )

    @torch.no_grad()
    def synthesize(self, mel: Float[Tensor, "F mel"]) -> Float[Tensor, " S"]:
        """As many samples a frame as its upsampling says."""
        return self.model(mel)


@final
class GriffinLim(Vocoder):
    """Phases that fit magnitudes, found by turns (Griffin and Lim 1984; momentum of Perraudin et al. 2013).

    No weights: what can be heard of any log-mel, and the floor that a neural vocoder must beat.

    Args:
        steps: Turns.
        scale: What the numbers of its mel are.
    """

    def __init__(self, steps: int = 60, scale: MelScale = MelScale()) -> None:  # noqa: B008 frozen
        self.scale, self.steps = scale, steps

    @torch.no_grad()
    def synthesize(self, mel: Float[Tensor, "F mel"]) -> Float[Tensor, " S"]:
        """``hop`` samples from a frame to the next."""
        from torchaudio.functional import griffinlim

        scale = self.scale
        length = scale.hop * (len(mel) - 1)
        least = scale.length // scale.hop + 1  # frames; a window must fit
        mel = torch.cat([mel, mel[-1:].expand(max(0, least - len(mel)), -1)])
        bands = mel_bands(scale)  # (bins, frequencies)
        # Of all magnitudes that have these bands, the smallest; bands overlap, so it may dip below zero.
        magnitude = (torch.linalg.pinv(bands) @ (10 ** mel.float()).T).clamp(min=0)
        window = torch.hann_window(scale.length)
        sound = griffinlim(
            magnitude, window, scale.length, scale.hop, scale.length, 1.0, self.steps, 0.99, None, False
        )[:length]
        return sound / sound.abs().max().clamp(min=1.0)


def log_mel(sound: Float[Tensor, " S"], scale: MelScale) -> Float[Tensor, "F mel"]:
    """``log10`` of the magnitudes of a sound in bands; frame f is centered at sample ``f hop``."""
    window = torch.hann_window(scale.length)
    spectrum = torch.stft(sound, scale.length, scale.hop, window=window, return_complex=True)
    return (mel_bands(scale) @ spectrum.abs()).clamp(min=scale.floor).log10().T


def mel_bands(scale: MelScale) -> Float[Tensor, "mel frequencies"]:
    """Triangles over Slaney's mel scale, each of area one over its width."""
    from torchaudio.functional import melscale_fbanks

    return melscale_fbanks(
        scale.length // 2 + 1, scale.lowest, scale.highest, scale.bins, scale.rate, "slaney", "slaney"
    ).T


def _load(kind: Any, checkpoint: str, what: str) -> Any:
    require_hub(checkpoint)
    whole = {"output_loading_info": True} if hasattr(kind, "forward") else {}
    try:
        part = kind.from_pretrained(checkpoint, **whole)
    except Exception as error:  # transformers lets through whatever its parts raise
        reason = " ".join(str(error).split()).split(". ")[0][:300]
        raise ValueError(f"{checkpoint!r} must be {what} (id or folder): {reason}") from error
    if not whole:
        return part
    model, found = part
    if found["missing_keys"]:
        raise ValueError(
            f"{checkpoint!r} must hold the whole of {what}; {len(found['missing_keys'])} tensors miss, "
            f"{min(found['missing_keys'])} first."
        )
    return model.eval().requires_grad_(False)
