"""The sound of a clip that was made: a text that is spoken, and the blows that are seen in its frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.audio.impact import find_impacts, impact_sound
from worldgen.audio.mux import add_track, mix, write_wav
from worldgen.audio.voice import load_voice, speak_within
from worldgen.data.waves import LOUDNESS, RATE, require_sound
from worldgen.evaluation.foreign.tracker import Tracking
from worldgen.metrics.motions.scale import scale_from_gravity, to_metres
from worldgen.runs.sound import open_sound
from worldgen.simulation.replay.replay import replay
from worldgen.types import GRAVITY, Clip, Trajectory


@dataclass(frozen=True)
class Soundtrack:
    """What a clip is to sound like.

    Args:
        speech: Text that is spoken from the first frame on; ``captions`` for the clip's own; none when None.
        impacts: Whether the blows that are seen are heard, as physics has them.
        generator: Run folder of a generator of sound, which makes of the frames what is heard.
        voice: As `load_voice` takes it.
        seed: Of what the voice and the generator draw.
        lufs: Loudness of the voice.
    """

    speech: str | None = None
    impacts: bool = False
    generator: Path | None = None
    voice: str | None = None
    seed: int = 0
    lufs: float = LOUDNESS


def add_soundtrack(video: Path, clip: Clip, wanted: Soundtrack) -> Float[Tensor, " S"]:
    """Put sound beside the frames of an mp4, and into a wav of the same name; as long as the clip.

    Args:
        video: That was written of the clip.
        clip: B = 1.
        wanted: What it is to sound like.

    Returns:
        At 16 kHz.

    Raises:
        ValueError: Something that was wanted cannot be heard. What can be is in the file all the same, and
            the sentence says what it lacks and why.
    """
    seconds = clip.frames.shape[1] / float(clip.fps[0])
    parts: list[Tensor] = []
    lacks: list[tuple[str, str]] = []
    for name, hear in _asked(clip, wanted, seconds).items():
        try:
            part = hear()
            require_sound(part, f"What is heard of {name}")
        except (ValueError, OSError) as error:
            lacks.append((name, " ".join(str(error).split())))
        else:
            parts.append(part)
    sound = mix(torch.zeros(round(seconds * RATE)), *parts)
    assert sound is not None
    if parts:
        try:
            add_track(video, sound)
            write_wav(video.with_suffix(".wav"), sound)
        except OSError as error:
            raise ValueError(f"{video} is written, and may be silent: {error}") from error
    if lacks:
        state = f"without {' and '.join(name for name, _ in lacks)}" if parts else "silent"
        raise ValueError(f"{video} is written, and is {state}: {' '.join(why for _, why in lacks)}")
    return sound


def _asked(clip: Clip, wanted: Soundtrack, seconds: float) -> dict[str, Callable[[], Tensor]]:
    """What makes each sound that is wanted, by its name."""
    text = clip.prompts[0] if wanted.speech == "captions" else wanted.speech
    run, asked = wanted.generator, {}
    if text is not None:
        asked["speech"] = lambda: (
            speak_within(load_voice(wanted.voice), text, seconds, wanted.seed, wanted.lufs).sound
        )
    if wanted.impacts:
        asked["impacts"] = lambda: hear_impacts(clip)
    if run is not None:
        asked["generated sound"] = lambda: hear_generated(clip, run, wanted.seed)
    return asked


def hear_impacts(clip: Clip) -> Float[Tensor, " S"]:
    """The sound of the blows of a clip (B = 1): of its true contacts, or of those that its frames show.

    Raises:
        ValueError: Nothing can be tracked, has a scale or can be replayed; or nothing strikes anything.
    """
    truth = clip.truth
    if truth is None or truth.contacts is None:
        truth = see_contacts(clip)
    if not find_impacts(truth, 0):
        raise ValueError("No contacts are blows in this clip: nothing strikes anything.")
    return impact_sound(truth, clip.frames.shape[1] / float(clip.fps[0]))[0]


def hear_generated(clip: Clip, run: Path, seed: int = 0) -> Float[Tensor, " S"]:
    """What a generator of sound makes of the frames of a clip (B = 1).

    Args:
        clip: Its truth is not looked at.
        run: Folder of the generator.
        seed: Of the noise.

    Raises:
        FileNotFoundError: No such generator.
        ValueError: Frames that it cannot read; or it hears nothing in them.
    """
    sound = open_sound(run).generate(replace(clip, truth=None), seed)[0]
    if not sound.any():
        raise ValueError("The generator of sound hears nothing in these frames: it sees nothing strike.")
    return sound


def see_contacts(clip: Clip) -> Trajectory:
    """What moves in the frames of a clip (B = 1), replayed in MuJoCo, which tells the contacts.

    Metres are those in which the longest flight falls with g, the floor is as low as anything comes, and
    things are balls of water. What the frames show beyond the first is not asked for.

    Raises:
        ValueError: Nothing can be tracked, there is no flight to take a scale from, or no replay.
    """
    tracked = Tracking().track(replace(clip, truth=None))
    found = scale_from_gravity(tracked.trajectory, GRAVITY, tracked.sigma)
    if found.scale is None:
        raise ValueError(f"No contacts can be told from the frames: {found.note}.")
    tracks = to_metres(tracked.trajectory, found.scale)
    bottom = torch.where(tracks.present, tracks.position[..., 2] - tracks.extent[:, None, :, 2], torch.inf)
    return replay(tracks, floor=float(bottom.min())).trajectory
