"""Sound beside frames: one mp4 with AAC, and wav."""

from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.error import FFmpegError
from jaxtyping import Float
from torch import Tensor

from worldgen.data.waves import RATE, require_sound
from worldgen.files import atomic_path

AAC_RATES = (
    96_000,
    88_200,
    64_000,
    48_000,
    44_100,
    32_000,
    24_000,
    22_050,
    16_000,
    12_000,
    11_025,
    8000,
    7350,
)
"""Samples per second that AAC has."""
FRAME = 1024
"""Samples that AAC codes together."""
_BITS = 6
"""Bits a sample: with fewer, tones grow quieter."""


def add_track(video: Path, sound: Float[Tensor, " S"], rate: int = RATE) -> None:
    """Give an mp4 a sound, in place of the one it has; its frames stay bit for bit.

    The encoder begins with a frame of its own making (its priming delay). Stamps begin that much before 0,
    which the file's edit list tells players to leave out: sample n is heard at ``n / rate`` seconds.

    Args:
        video: The file, which becomes the new one, whole or not at all.
        sound: Mono, in [-1, 1]; its first sample is at the first frame.
        rate: Of the sound.

    Raises:
        ValueError: No such sound, a rate that AAC has not, or a file without a video.
    """
    require_audible(sound, rate)
    try:
        with (
            atomic_path(video) as partial,
            av.open(f"file:{video}") as old,
            av.open(str(partial), "w", format="mp4", options={"movflags": "faststart"}) as new,
        ):
            if not old.streams.video:
                raise ValueError(f"{video} must hold a video to get a sound; it holds none.")
            shown = old.streams.video[0]
            frames = new.add_stream_from_template(shown)
            heard = new.add_stream("aac", rate=rate, layout="mono")
            heard.bit_rate = _BITS * rate
            for packet in old.demux(shown):
                if packet.dts is not None:
                    packet.stream = frames
                    new.mux(packet)
            for frame in _audio_frames(sound, rate):
                new.mux(heard.encode(frame))
            new.mux(heard.encode())
    except FFmpegError as error:
        raise ValueError(
            f"{video} cannot get a sound ({error.strerror or error}). Write it again."
        ) from error


def write_wav(path: Path, sound: Float[Tensor, " S"], rate: int = RATE) -> None:
    """Write a mono sound in [-1, 1] as 16-bit wav; it appears whole or not at all."""
    require_sound(sound, "Sound")
    numbers = (sound.detach().float().clamp(-1, 1) * 32767).round().to(torch.int16).cpu().numpy()
    with atomic_path(path) as partial, wave.open(str(partial), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(numbers.astype("<i2").tobytes())


def require_audible(sound: Tensor, rate: int) -> None:
    """Refuse what cannot be put beside frames.

    Raises:
        ValueError: Several channels, samples that are not finite or leave [-1, 1], a rate that AAC has not.
    """
    require_sound(sound, "Sound")
    if (peak := float(sound.abs().max())) > 1:
        raise ValueError(f"Sound must lie in [-1, 1]; got a peak of {peak:.4g}. Turn it down.")
    if rate not in AAC_RATES:
        rates = ", ".join(map(str, AAC_RATES))
        raise ValueError(f"AAC has {rates} samples per second; got {rate}. Resample the sound.")


def mix(*sounds: Float[Tensor, " S"] | None) -> Float[Tensor, " S"] | None:
    """The sum of sounds that begin together, turned down as a whole where it would leave [-1, 1].

    The longest says how long it is. None where all are None.
    """
    given = [sound for sound in sounds if sound is not None]
    if not given:
        return None
    total = torch.zeros(max(map(len, given)))
    for sound in given:
        total[: len(sound)] += sound
    return total / total.abs().max().clamp(min=1.0)


def _audio_frames(sound: Tensor, rate: int) -> list[av.AudioFrame]:
    samples = sound.detach().float().cpu().numpy()[None]
    frames = []
    for start in range(0, samples.shape[1], FRAME):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[:, start : start + FRAME]), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        frames.append(frame)
    return frames
