"""A voice without a package: each word is a tone of fixed length."""

import math

import torch

from worldgen.audio.voice import Speech, Voice, Word


class ToneVoice(Voice):
    rate = 8000
    word = 0.25

    def __init__(self, pause: float = 0.0, broken: bool = False) -> None:
        self.pause, self.broken = pause, broken

    def _say(self, text: str, seed: int, speed: float) -> Speech:
        spoken = text.split()
        length, rest = round(self.word * self.rate / speed), torch.zeros(round(self.pause * self.rate))
        tone = 0.5 * torch.sin(2 * math.pi * (300 + seed) * torch.arange(length * len(spoken)) / self.rate)
        start, step = len(rest) / self.rate, length / self.rate
        words = (Word(one, start + i * step, start + (i + 1) * step) for i, one in enumerate(spoken))
        sound = torch.cat([rest, tone, rest])
        if self.broken:
            sound[100] = math.nan
        return Speech(sound, self.rate, tuple(words))
