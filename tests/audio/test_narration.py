from dataclasses import replace

import av
import pytest
import torch

from tests.audio.tones import ToneVoice
from worldgen.audio.narration import PAUSE, SLOWEST, Narrator, narrate_clips
from worldgen.audio.storylines import Line, tell_events
from worldgen.data.media import read_video
from worldgen.data.waves import RATE
from worldgen.simulation.clips import simulate_clip


class Counting(ToneVoice):
    calls = 0

    def _say(self, text, seed, speed):
        self.calls += 1
        return super()._say(text, seed, speed)


def onset(sound: torch.Tensor, after: float) -> float:
    first = round(after * RATE)
    return (first + int((sound[first:].abs() > 0.01).nonzero()[0])) / RATE


def test_a_sentence_is_heard_when_what_it_tells_happens():
    told = Narrator(ToneVoice()).narrate([Line(0.5, "a b"), Line(2.0, "c d")], 3.0)
    assert told.slow == 1 and told.late == 0 and told.seconds == 3
    assert onset(told.sound, 0.0) == pytest.approx(0.5, abs=0.02)
    assert onset(told.sound, 1.5) == pytest.approx(2.0, abs=0.02)
    assert [(cue.start, cue.text) for cue in told.cues] == [(0.5, "a b"), (2.0, "c d")]


def test_the_clip_is_slowed_down_until_sentences_do_not_collide():
    narrator = Narrator(ToneVoice())
    told = narrator.narrate([Line(0.1, "a b c d"), Line(0.4, "e")], 0.64)
    length = narrator.say("a b c d").seconds
    assert told.slow == pytest.approx((length + PAUSE) / 0.3)
    assert told.late == pytest.approx(0, abs=1e-9)
    assert told.cues[1].start == pytest.approx(0.4 * told.slow)
    assert told.cues[0].end <= told.cues[1].start


def test_at_the_slowest_a_sentence_waits_and_none_is_cut():
    narrator = Narrator(ToneVoice())
    told = narrator.narrate([Line(0.10, "a b c d"), Line(0.11, "e f"), Line(0.12, "g h")], 0.2)
    assert told.slow == SLOWEST and told.late > 0.5
    spoken = sum(narrator.say(text).seconds for text in ("a b c d", "e f", "g h"))
    assert sum(cue.end - cue.start for cue in told.cues) == pytest.approx(spoken)
    assert told.seconds >= told.cues[-1].end - 1e-3
    assert narrator.narrate([Line(0.1, "a"), Line(0.11, "b")], 0.2, slow=1.0).slow == 1.0


def test_what_was_said_once_is_not_said_anew():
    voice = Counting()
    narrator = Narrator(voice)
    narrator.narrate([Line(0.0, "a b"), Line(2.0, "a b")], 3.0)
    narrator.narrate([Line(0.0, "a b")], 3.0)
    assert voice.calls == 1


class Clips:
    def __init__(self, *clips):
        self.clips = clips

    def __len__(self):
        return len(self.clips)

    def __getitem__(self, index):
        return self.clips[index]

    def name(self, index):
        return f"clip{index}"


def test_clips_are_written_with_sound_and_subtitles_and_the_silent_ones_said(tmp_path):
    clip = simulate_clip("drop", 3, size=16, frames=16)
    source = Clips(clip, replace(clip, truth=None, scenes=None), clip)
    told = list(narrate_clips(source, Narrator(ToneVoice()), tell_events, tmp_path, most=2))
    assert [one.name for one in told] == ["clip0", "clip1"]
    assert told[1].silent == (
        "clip1.mp4 is silent: the clip has no true contacts to be told; only simulated clips have."
    )
    narration = told[0].narration
    frames, fps = read_video(tmp_path / "clip0.mp4")
    assert fps == pytest.approx(25 / narration.slow, rel=1e-3)
    assert len(frames) / fps >= narration.seconds - 1 / fps
    with av.open(str(tmp_path / "clip0.mp4")) as file:
        assert file.streams.audio[0].rate == RATE
    with av.open(str(tmp_path / "clip1.mp4")) as file:
        assert not file.streams.audio
    assert tell_events(clip)[0].text in (tmp_path / "clip0.srt").read_text()
    assert (tmp_path / "clip0.vtt").read_text().startswith("WEBVTT")
    assert not (tmp_path / "clip1.srt").exists()


def test_a_broken_voice_leaves_the_video_silent(tmp_path):
    (told,) = narrate_clips(
        Clips(simulate_clip("drop", 3, size=16, frames=16)),
        Narrator(ToneVoice(broken=True)),
        tell_events,
        tmp_path,
    )
    assert "clip0.mp4 is silent: What ToneVoice speaks must hold finite samples" in told.silent
    assert len(read_video(tmp_path / "clip0.mp4")[0]) == 16
