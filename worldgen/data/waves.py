"""Waveforms: one function that resamples, one that measures loudness, and what must hold of a sound."""

from __future__ import annotations

import math
from math import gcd

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

RATE = 16_000
"""Samples per second of ``Clip.sound``."""
LOUDNESS = -23.0
"""LUFS of speech, as broadcasters have it (EBU R 128)."""
_BLOCK, _HOP = 0.4, 0.1
"""Seconds of a block of loudness, and from one to the next."""
_ABSOLUTE, _RELATIVE = -70.0, -10.0
"""Gates: blocks below so many LUFS, or so far below the mean of the others, do not count."""
_REACH, _PASSED = 48, 0.95
"""Periods of the lower rate on each side that a sample is made of, and the share of the band that passes."""
_FULL = 10 ** (-1 / 20)
"""Largest sample of a sound that was made louder, -1 dB: what codecs add does not clip."""


def require_sound(sound: Tensor, name: str) -> None:
    """Refuse what is no mono waveform of finite samples.

    Raises:
        ValueError: Several channels, no sample, whole numbers, or a sample that is not finite.
    """
    if sound.ndim != 1 or not len(sound):
        raise ValueError(
            f"{name} must be mono, (S) samples; got shape {tuple(sound.shape)}. Take its channels' mean."
        )
    if not sound.is_floating_point():
        raise ValueError(f"{name} must be floating point in [-1, 1]; got {sound.dtype}. Divide first.")
    wrong = int((~torch.isfinite(sound)).sum())
    if wrong:
        raise ValueError(f"{name} must hold finite samples; {wrong} of {len(sound)} are NaN or infinite.")


def resample(sound: Float[Tensor, "*B S"], rate: int, to: int) -> Float[Tensor, "*B S2"]:
    """The same sound at another rate, by a windowed sinc; what the lower rate cannot carry is left out.

    Args:
        sound: At ``rate`` samples per second.
        rate: Of the sound, in Hz.
        to: Wanted, in Hz.

    Returns:
        ``ceil(S to / rate)`` samples; an overshoot beyond [-1, 1] is the caller's to turn down.

    Raises:
        ValueError: A rate that is not positive.
    """
    if min(rate, to) < 1:
        raise ValueError(f"A sound must have a positive number of samples per second; got {min(rate, to)}.")
    if rate == to or not sound.shape[-1]:
        return sound
    from scipy.signal import firwin, resample_poly

    up, down = to // gcd(rate, to), rate // gcd(rate, to)
    sinc = firwin(2 * _REACH * max(up, down) + 1, _PASSED / max(up, down), window=("kaiser", 9.0))  # pyright: ignore
    again = resample_poly(sound.detach().cpu().double().numpy(), up, down, axis=-1, window=sinc)
    return torch.from_numpy(again).to(sound)


def loudness(sound: Float[Tensor, " S"], rate: int) -> float:
    """Integrated loudness of a mono sound in LUFS: ``-0.691 + 10 log10`` of the gated mean square.

    ITU-R BS.1770-5: K-weighting (a shelf and a high pass), blocks of 400 ms that overlap by three quarters,
    an absolute gate at -70 LUFS and a relative one 10 below the mean of what passes it. A sound shorter than
    a block is one block. A sine of 997 Hz and amplitude 1 has -3.01.

    Returns:
        Minus infinity of silence.

    Raises:
        ValueError: Not a mono sound of finite samples.
    """
    require_sound(sound, "A sound whose loudness is measured")
    weighted = _weigh(sound.double().numpy(), rate)
    length, hop = min(round(_BLOCK * rate), len(weighted)), max(1, round(_HOP * rate))
    total = np.concatenate([[0.0], np.cumsum(weighted**2)])
    starts = np.arange(0, len(weighted) - length + 1, hop)
    power = (total[starts + length] - total[starts]) / length
    power = power[_lufs(power) > _ABSOLUTE]
    if not len(power):
        return -math.inf
    return float(_lufs(power[_lufs(power) > _lufs(power.mean()) + _RELATIVE].mean()))


def set_loudness(sound: Float[Tensor, " S"], rate: int, lufs: float = LOUDNESS) -> Float[Tensor, " S"]:
    """The sound at a loudness, or as near to it as a peak of -1 dB allows; silence stays silence."""
    now = loudness(sound, rate)
    if now == -math.inf:
        return sound
    gain = 10 ** ((lufs - now) / 20)
    peak = float(sound.abs().max())
    return sound * min(gain, max(_FULL / peak, 1.0) if gain > 1 else _FULL / peak)


def _lufs(power: np.ndarray) -> np.ndarray:
    return -0.691 + 10 * np.log10(np.maximum(power, 1e-30))


def _weigh(samples: np.ndarray, rate: int) -> np.ndarray:
    """K-weighting at any rate: the analog filters of which BS.1770 tables the coefficients at 48 kHz."""
    from scipy.signal import lfilter

    # Brecht De Man 2018, "Evaluation of implementations of the EBU R128 loudness measurement", AES e-Brief.
    k, q = math.tan(math.pi * 1681.974450955533 / rate), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    shelf = np.array([high + band * k / q + k * k, 2 * (k * k - high), high - band * k / q + k * k])
    poles = np.array([1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k])
    sound = lfilter(shelf / poles[0], poles / poles[0], samples)
    k, q = math.tan(math.pi * 38.13547087602444 / rate), 0.5003270373238773
    poles = np.array([1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k])
    return np.asarray(lfilter([1.0, -2.0, 1.0], poles / poles[0], np.asarray(sound)))
