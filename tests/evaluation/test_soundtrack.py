from dataclasses import replace

import pytest
import torch

from worldgen.audio.impact import find_impacts
from worldgen.data.media import read_video, write_video
from worldgen.data.reading.sound import read_sound_of
from worldgen.data.waves import RATE, loudness
from worldgen.evaluation.soundtrack import Soundtrack, add_soundtrack, hear_impacts, see_contacts
from worldgen.metrics.sound import find_onsets
from worldgen.runs.folder import HOME
from worldgen.simulation.clips import simulate_clip

VOICE = "tests.audio.tones.ToneVoice"
ABSENT = "worldgen.audio.foreign_voices.CoquiVoice"
NANO = HOME / "assets" / "nano" / "sound"


@pytest.fixture(scope="module")
def clip():
    """A ball that drops on the floor."""
    return simulate_clip("drop", 5, size=64, frames=25)


@pytest.fixture
def video(clip, tmp_path):
    write_video(tmp_path / "clip.mp4", clip.frames[0], 25.0)
    return tmp_path / "clip.mp4"


def test_speech_and_impacts_are_in_the_file_and_beside_it(clip, video):
    short = replace(clip, prompts=("a ball",))
    sound = add_soundtrack(video, short, Soundtrack("captions", True, voice=VOICE))
    assert len(sound) == RATE
    assert video.with_suffix(".wav").is_file()
    assert len(read_video(video)[0]) == 25
    alone = add_soundtrack(video, clip, Soundtrack("one", voice=VOICE))
    assert loudness(alone[: RATE // 4], RATE) == pytest.approx(-23, abs=0.5)
    assert not alone[RATE // 2 :].any()  # not longer, and as long as the clip


def test_contacts_seen_in_pixels_come_when_the_true_ones_do():
    seen, errors = 0, []
    for seed in range(6):
        clip = simulate_clip("drop", seed, size=64, frames=25)
        try:
            found = [impact.time for impact in find_impacts(see_contacts(replace(clip, truth=None)), 0)]
        except ValueError:
            continue
        seen += 1
        true = [impact.time for impact in find_impacts(clip.truth, 0)]
        errors.append(min(abs(time - true[0]) for time in found))
    assert seen >= 3 and sorted(errors)[len(errors) // 2] < 0.05


@pytest.mark.parametrize(
    "wanted, sentence",
    [
        (Soundtrack("", voice=VOICE), "is silent: A text must have letters or digits"),
        (Soundtrack("слово", voice=VOICE), "is silent: ToneVoice cannot read 'с'"),
        (Soundtrack("a" * 10_000, voice=VOICE), "is silent: A text must have at most 5,000 characters"),
        (Soundtrack("a b c d e f g h i j", voice=VOICE), "is silent: .* Give a clip of 1.6"),
        (
            Soundtrack("a", voice="worldgen.audio.foreign_voices.CoquiVoice"),
            "is silent: .* pip install coqui-tts",
        ),
        (Soundtrack("", True, voice=VOICE), "is without speech: A text must have letters"),
    ],
)
def test_what_cannot_be_heard_is_said_and_the_video_stays(clip, video, wanted, sentence):
    with pytest.raises(ValueError, match=rf"clip.mp4 is written, and {sentence}"):
        add_soundtrack(video, clip, wanted)
    assert len(read_video(video)[0]) == 25
    assert video.with_suffix(".wav").exists() == wanted.impacts


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_samples_that_are_no_numbers_are_not_written(clip, video, value, monkeypatch):
    monkeypatch.setattr(
        "worldgen.evaluation.soundtrack.hear_impacts", lambda clip: torch.full((16_000,), value)
    )
    with pytest.raises(ValueError, match="is silent: What is heard of impacts .* 16000 of 16000 are NaN"):
        add_soundtrack(video, clip, Soundtrack(impacts=True))
    assert read_sound_of(video) is None and not video.with_suffix(".wav").exists()


def test_a_clip_without_contacts_is_silent_and_says_so(video):
    clip = simulate_clip("tumble", 1, size=32, frames=16)
    with pytest.raises(ValueError, match="is silent: No contacts are blows in this clip"):
        add_soundtrack(video, clip, Soundtrack(impacts=True))
    still = replace(clip, truth=None, frames=torch.full_like(clip.frames, 0.5))
    with pytest.raises(ValueError, match="is silent: "):
        add_soundtrack(video, still, Soundtrack(impacts=True))


def test_true_contacts_are_heard_where_they_are_known(clip):
    first = find_impacts(clip.truth, 0)[0].time
    heard = hear_impacts(clip)
    assert int((heard.abs() > 1e-4).nonzero()[0]) / RATE == pytest.approx(first, abs=0.002)


def test_generated_sound_is_in_the_file_and_follows_the_first_blow(clip, video):
    first = find_impacts(clip.truth, 0)[0].time
    sound = add_soundtrack(video, clip, Soundtrack(generator=NANO))
    kept = read_sound_of(video.with_suffix(".wav"))
    assert len(sound) == len(kept) == RATE
    onsets = find_onsets(sound)
    assert min(abs(onset - first) for onset in onsets) < 0.03
    assert find_onsets(kept) == pytest.approx(onsets, abs=0.001)
    assert len(read_video(video)[0]) == 25


def test_generated_sound_that_cannot_be_is_said_and_the_video_stays(clip, video, tmp_path):
    still = replace(clip, frames=clip.frames[:, :1].expand(-1, 25, -1, -1, -1).contiguous())
    narrow = replace(clip, frames=clip.frames[..., :32], truth=None, masks=None, depth=None)
    for one, run, why in (
        (still, NANO, "sees nothing strike"),
        (narrow, NANO, "reads square frames; got 64 x 32"),
        (clip, tmp_path, "A generator of sound must hold config.yaml"),
    ):
        with pytest.raises(ValueError, match=rf"clip.mp4 is written, and is silent: .*{why}"):
            add_soundtrack(video, one, Soundtrack(generator=run))
        assert not video.with_suffix(".wav").exists() and len(read_video(video)[0]) == 25
