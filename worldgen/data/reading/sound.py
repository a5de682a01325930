"""The sound of a video, as clips have it: mono, 16 kHz, from a frame's time on."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import torch
from av.container import InputContainer
from av.error import FFmpegError
from jaxtyping import Float
from torch import Tensor

from worldgen.data.reading.decoding import choose_stream, open_container
from worldgen.data.waves import RATE, resample

_EARLIER = 0.25
"""Seconds before the wanted part at which decoding begins: the first frame after a jump is not whole."""


def read_sound(
    url: str, begin: float | None = None, seconds: float | None = None
) -> Float[Tensor, " S"] | None:
    """The sound of a file from a time on, channels averaged; None where it has none.

    Where the file has no sample, as before a sound that begins late, it is silent.

    Args:
        url: What ffmpeg opens: ``file:PATH``.
        begin: Seconds on the file's clock; that of the first frame of its video when None.
        seconds: Length; to the end of the sound when None.

    Raises:
        ValueError: It cannot be decoded, or its samples are no numbers.
    """
    try:
        with open_container(url) as container:
            if not container.streams.audio:
                return None
            if container.streams.audio[0].codec_context is None:
                raise ValueError("it is of a kind that cannot be decoded. Write it as AAC")
            if begin is None:
                begin = _first_frame(container)
            return _decode(container, begin, seconds)
    except FFmpegError as error:
        raise ValueError(
            f"it cannot be decoded ({error.strerror or type(error).__name__}). Write it again"
        ) from error


def read_sound_of(video: Path) -> Float[Tensor, " S"] | None:
    """The whole sound of a video file from its first frame on, as `read_sound`."""
    return read_sound(f"file:{video}")


def _first_frame(container: InputContainer) -> float:
    stream = choose_stream(container)
    if stream is None or stream.start_time is None or stream.time_base is None:
        return 0.0
    return float(stream.start_time * stream.time_base)


def _decode(container: InputContainer, begin: float, seconds: float | None) -> Tensor | None:
    stream = container.streams.audio[0]
    if begin > _EARLIER:
        container.seek(int((begin - _EARLIER) * av.time_base), backward=True)
    convert = None
    parts: list[np.ndarray] = []
    first, rate = 0.0, 0
    for frame in container.decode(stream):
        if convert is None:
            rate = frame.sample_rate
            convert = av.AudioResampler(format="fltp", layout=frame.layout, rate=rate)
        start = 0.0 if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
        if seconds is not None and start > begin + seconds + _EARLIER:
            break
        if start + frame.samples / rate < begin - _EARLIER:
            continue
        if not parts:
            first = start
        parts += [piece.to_ndarray().mean(axis=0) for piece in convert.resample(frame)]
    if not parts:
        return None if seconds is None else torch.zeros(round(seconds * RATE))
    samples = torch.from_numpy(np.concatenate(parts).astype(np.float32))
    end = None if seconds is None else max(0, round((begin + seconds - first) * rate))
    wanted = samples[max(0, round((begin - first) * rate)) : end]
    wrong = int((~wanted.isfinite()).sum())
    if wrong:
        raise ValueError(f"{wrong} of {len(wanted)} samples are NaN or infinite. Write it again")
    sound = resample(samples.nan_to_num().clamp(-1, 1), rate, RATE).clamp(-1, 1)
    late = round((first - begin) * RATE)
    sound = torch.cat([sound.new_zeros(max(late, 0)), sound[max(-late, 0) :]])
    if seconds is None:
        return sound
    length = round(seconds * RATE)
    return torch.cat([sound[:length], sound.new_zeros(max(0, length - len(sound)))])
