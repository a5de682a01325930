"""A narrator: sentences are spoken when what they tell happens, in clips slow enough for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.audio.impact import impact_sound
from worldgen.audio.mux import add_track, mix
from worldgen.audio.storylines import Line
from worldgen.audio.subtitles import Cue, to_srt, to_vtt
from worldgen.audio.voice import Speech, Voice
from worldgen.data.media import write_video
from worldgen.data.sources import ClipSource
from worldgen.data.waves import LOUDNESS, RATE, resample, set_loudness
from worldgen.files import write_atomically
from worldgen.types import Clip

SLOWEST = 8.0
"""Times slower than life that a clip is shown at most; sentences that still collide wait for each other."""
PAUSE = 0.15
"""Seconds between two sentences."""
_UNDER = 0.5
"""Amplitude that the clip's own sound keeps under a voice."""


@dataclass(frozen=True)
class Narration:
    """Speech on the timeline of a clip."""

    sound: Float[Tensor, " S"]
    """16 kHz, from the first frame on, at least as long as the clip."""
    cues: tuple[Cue, ...]
    slow: float
    """Times slower than life."""
    late: float
    """Seconds by which the latest sentence comes after what it tells."""

    @property
    def seconds(self) -> float:
        return len(self.sound) / RATE


@dataclass(frozen=True)
class Told:
    """A clip that was narrated, or why it is silent."""

    name: str
    narration: Narration | None
    silent: str = ""


class Narrator:
    """Speaks lines at their times; what it has said once it need not say anew.

    Args:
        voice: That speaks.
        seed: Of what it draws.
        lufs: Loudness of each sentence.
    """

    def __init__(self, voice: Voice, seed: int = 0, lufs: float = LOUDNESS) -> None:
        self.voice, self.seed, self.lufs = voice, seed, lufs
        self._spoken: dict[str, Speech] = {}

    def say(self, text: str) -> Speech:
        """A sentence at the rate of clips."""
        if text not in self._spoken:
            speech = self.voice.speak(text, self.seed)
            sound = set_loudness(resample(speech.sound, speech.rate, RATE), RATE, self.lufs)
            self._spoken[text] = Speech(sound, RATE, speech.words)
        return self._spoken[text]

    def narrate(self, lines: Sequence[Line], seconds: float, slow: float | None = None) -> Narration:
        """Sentences from the moments on at which what they tell happens; none is cut.

        Args:
            lines: In order of time.
            seconds: Of the clip.
            slow: Times slower than life that the clip is shown; when None, from 1 to `SLOWEST`, as much as
                lets every sentence end before the next begins.

        Raises:
            ValueError: A text that the voice cannot read.
        """
        spoken = [self.say(line.text) for line in lines]
        if slow is None:
            slow = 1.0
            for speech, line, later in zip(spoken, lines, lines[1:], strict=False):
                slow = max(slow, (speech.seconds + PAUSE) / max(later.time - line.time, 1e-9))
            slow = min(slow, SLOWEST)
        cues, late, free = [], 0.0, 0.0
        total = torch.zeros(math.ceil(seconds * slow * RATE))
        for speech, line in zip(spoken, lines, strict=True):
            start = max(free, slow * line.time)
            late = max(late, start - slow * line.time)
            first = round(start * RATE)
            free = start + speech.seconds + PAUSE
            total = torch.cat([total, total.new_zeros(max(0, first + len(speech.sound) - len(total)))])
            total[first : first + len(speech.sound)] += speech.sound
            cues.append(Cue(start, start + speech.seconds, line.text))
        return Narration(total, tuple(cues), slow, late)


def narrate_clips(
    source: ClipSource,
    narrator: Narrator,
    tell: Callable[[Clip], tuple[Line, ...]],
    out: Path,
    slow: float | None = None,
    most: int | None = None,
    upscale: int = 4,
) -> Iterator[Told]:
    """Write each clip of a source as NAME.mp4 with its narration, NAME.srt and NAME.vtt.

    Under the voice is the sound of the contacts, where they are known. The last frame is held until the last
    word. A clip of which nothing can be told, or not by this voice, is written silent.

    Args:
        source: Of the clips.
        narrator: With its voice.
        tell: What is said of a clip.
        out: Folder of the files.
        slow: As in `Narrator.narrate`.
        most: Clips, the first ones; all when None.
        upscale: Pixels become squares of so many.
    """
    for index in range(len(source) if most is None else min(most, len(source))):
        clip, name = source[index], source.name(index)
        fps, frames = float(clip.fps[0]), clip.frames[0]
        try:
            narration = narrator.narrate(tell(clip), len(frames) / fps, slow)
        except ValueError as error:
            write_video(out / f"{name}.mp4", frames, fps, upscale)
            yield Told(name, None, f"{name}.mp4 is silent: {str(error).rstrip('.')}.")
            continue
        rate = fps / narration.slow
        held = max(0, math.ceil(narration.seconds * rate - 1e-6) - len(frames))
        shown = torch.cat([frames, frames[-1:].expand(held, -1, -1, -1)])
        write_video(out / f"{name}.mp4", shown, rate, upscale)
        sound = mix(narration.sound, _contact_sound(clip, narration))
        assert sound is not None
        add_track(out / f"{name}.mp4", sound)
        write_atomically(out / f"{name}.srt", to_srt(narration.cues).encode())
        write_atomically(out / f"{name}.vtt", to_vtt(narration.cues).encode())
        yield Told(name, narration)


def _contact_sound(clip: Clip, narration: Narration) -> Tensor | None:
    truth = clip.truth
    if truth is None or truth.contacts is None or not truth.metric:
        return None
    return _UNDER * impact_sound(truth, narration.seconds, narration.slow)[0]
