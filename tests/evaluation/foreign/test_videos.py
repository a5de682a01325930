"""A folder of anybody's videos: judged in processes of their own, kept, and reported."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.ndimage import gaussian_filter

from tests.data.videos import ball, write
from worldgen.evaluation.foreign import videos
from worldgen.evaluation.foreign.capture import Capture, choose_capture
from worldgen.evaluation.foreign.videos import CAMERA, check_video, evaluate_videos
from worldgen.evaluation.kept import Finding, Record, read_finding, write_finding
from worldgen.report.cases import Exhibit

PICTURED = 3


@pytest.fixture(scope="module", autouse=True)
def fewer():
    """Every page pictures a few videos: drawing them is most of the work."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(videos, "PICTURED", PICTURED)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One more than the page pictures, a broken one and one of a single frame."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(PICTURED + 1):
        write(folder / f"ball{number:02d}.mp4", list(ball(4 * (12 + number), width=128))[::4])
    (folder / "broken.mp4").write_bytes(b"not a video" * 100)
    write(folder / "one.mp4", list(ball(1)))
    return folder


@pytest.fixture(scope="module")
def judged(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    evaluate_videos(folder, out, processes=2)
    return out


def test_every_video_is_judged_or_listed_with_a_reason(judged):
    report = json.loads((judged / "report.json").read_text())
    assert [case["name"] for case in report["cases"]] == [f"ball{n:02d}" for n in range(PICTURED + 1)]
    assert [case["exhibits"][0]["frames"] for case in report["cases"]] == list(range(12, 16))
    assert [row["name"] for row in report["skipped"]] == ["broken.mp4", "one.mp4"]
    assert "at least 6 frames" in report["skipped"][1]["reason"]
    assert report["summary"][0]["value"] == 4 and report["summary"][0]["unit"] == "of 6"
    last = report["cases"][-1]["exhibits"][0]["tracks"]["position"][0]
    columns = [place[0] for place in last if place is not None]
    torch.testing.assert_close(
        torch.tensor(columns).diff(), torch.full((len(columns) - 1,), 4.0), atol=0.3, rtol=0
    )  # the ball goes four pixels a frame


def test_captions_are_shown_counted_and_judge_nothing(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / "in" / f"{name}.mp4", list(ball(48, width=128))[::4])
    (tmp_path / "in" / "captions.csv").write_text("file,caption\na.mp4,a ball rolls\n")
    evaluate_videos(tmp_path / "in", tmp_path / "out", processes=1)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [case["prompt"] for case in report["cases"]] == ["a ball rolls", ""]
    assert "1 of 2 videos have a caption: 1 by captions.csv." in report["notes"]
    (tmp_path / "in" / "captions.csv").write_text("who,what\na.mp4,a ball rolls\n")
    evaluate_videos(tmp_path / "in", tmp_path / "out", processes=1)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [case["prompt"] for case in report["cases"]] == ["", ""]
    assert any(note.startswith("Captions are not shown: Every row of") for note in report["notes"])


def test_the_page_pictures_the_first_and_counts_them_all(judged):
    page = (judged / "report.html").read_text()
    assert page.count("<article") == PICTURED and "4 cases" in page


def test_a_second_run_judges_only_what_changed_and_says_the_same(folder, judged, tmp_path):
    before = json.loads((judged / "report.json").read_text())
    records = {path.name: path.stat().st_mtime_ns for path in (judged / "judged").iterdir()}
    (judged / "judged" / "ball01.mp4.safetensors").write_bytes(b"cut o")
    os.utime(folder / "ball03.mp4", ns=(1, 1))
    evaluate_videos(folder, judged, processes=1)
    again = {path.name: path.stat().st_mtime_ns for path in (judged / "judged").iterdir()}
    anew = sorted(name for name in again if again[name] != records[name])
    assert anew == ["ball01.mp4.safetensors", "ball03.mp4.safetensors"]
    assert json.loads((judged / "report.json").read_text()) == before


def test_a_finding_comes_back_as_it_was_but_for_its_frames(folder, tmp_path):
    case = check_video(folder / "ball02.mp4")
    record = Record(tmp_path / "a" / "x.safetensors", "one")
    write_finding(record, Finding("ball02.mp4", case))
    kept = read_finding(record).case
    assert [item.report for item in kept.exhibits] == [item.report for item in case.exhibits]
    assert [item.is_violation for item in kept.exhibits] == [False, True, True]
    for item, own in zip(kept.exhibits, case.exhibits, strict=True):
        assert item.clip is None and item.frames == own.frames and item.fps == pytest.approx(own.fps)
        torch.testing.assert_close(item.tracks.position, own.tracks.position, atol=0, rtol=0)
    assert read_finding(replace(record, stamp="two")) is None
    assert set(load_file(tmp_path / "a" / "x.safetensors")) >= {"0.position", "2.present"}


def test_an_exhibit_shows_one_clip_or_its_tracks(folder):
    item = check_video(folder / "ball02.mp4").exhibits[0]
    with pytest.raises(ValueError, match="must have a clip, tracks or a timing; got none"):
        Exhibit("video", None, None, item.report)
    with pytest.raises(ValueError, match="must be tracked in each of its 5 frames; got tracks of 14"):
        replace(item, clip=replace(item.clip, frames=item.clip.frames[:, :5]))


def test_no_process_is_one_sentence(folder, tmp_path):
    with pytest.raises(ValueError, match="processes must be at least 1; got 0"):
        evaluate_videos(folder, tmp_path, processes=0)


def test_a_scale_is_of_the_files_own_pixels_and_a_rate_replaces_the_files(tmp_path):
    path = write(tmp_path / "wide.mp4", list(ball(60, width=400))[::4])
    plain = check_video(path).exhibits[0].tracks
    assert not plain.metric
    scaled = check_video(path, how=Capture(scale=0.01, rate=250.0)).exhibits[0]
    assert scaled.tracks.metric and scaled.fps == pytest.approx(250)
    torch.testing.assert_close(scaled.tracks.position, plain.position * 400 / 320 * 0.01)
    steps = scaled.tracks.position[0, :, 0, 0].diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 0.04), atol=0.006, rtol=0)
    assert "what lies before what" in scaled.report["penetration"].note


def test_other_settings_judge_anew_and_are_said(folder, judged, tmp_path):
    how = choose_capture("0.01", 1.62, 100.0)
    only = tmp_path / "one"
    write(only / "ball.mp4", list(ball(60, width=128))[::4])
    evaluate_videos(only, tmp_path / "out", processes=1)
    kept = tmp_path / "out" / "judged" / "ball.mp4.safetensors"
    before = kept.stat().st_mtime_ns
    evaluate_videos(only, tmp_path / "out", processes=1, how=how)
    assert kept.stat().st_mtime_ns != before
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["notes"][0].startswith("A pixel of these files is 0.01 m, as was given")
    assert report["cases"][0]["exhibits"][0]["tracks"]["unit"] == "m"


def test_without_a_flight_that_falls_there_is_no_scale_from_g(folder):
    case = check_video(folder / "ball02.mp4", how=choose_capture("g", None, None))
    assert not case.exhibits[0].tracks.metric
    assert "gives no scale" in case.exhibits[0].report["free_fall"].note


def panned(path, speed, places):
    """A textured wall seen by a camera that goes ``speed`` pixels a frame; a disc at (x, y) of the wall."""
    wall = gaussian_filter(np.random.default_rng(3).random((96, 384)), 2.5)
    wall = 165 + 75 * np.tanh(3 * (wall - wall.mean()) / wall.std())
    rows, columns = np.mgrid[:96, :128]
    frames = []
    for frame, place in enumerate(places):
        image = wall[:, 128 + speed * frame :][:, :128].copy()
        if place is not None:
            disc = np.hypot(columns + speed * frame - place[0], rows - place[1]) < 6
            image[disc] = 10
        frames.append(np.repeat(image[..., None], 3, axis=2).astype(np.uint8))
    return write(path, frames)


@pytest.mark.parametrize("speed", [2, -2])
def test_what_the_camera_leaves_behind_is_not_missed_and_what_vanishes_before_it_is(tmp_path, speed):
    middle = [(64 + speed * frame + 0.8 * frame, 30 + 1.2 * frame) for frame in range(24)]  # goes along

    def judge(name, places):
        case = check_video(panned(tmp_path / f"{name}.mp4", speed, places))
        assert case.measures[0].name == CAMERA and case.measures[0].value == pytest.approx(46, abs=0.5)
        report = case.exhibits[0].report
        return report["permanence"].value, report["births"].value

    assert judge("stays", middle) == (1, 0)
    away = 46 if speed > 0 else 82
    left = [(away - 0.9 * np.sign(speed) * frame, 30 + 1.2 * frame) for frame in range(24)]
    assert abs(left[15][0] - 15 * speed - 64) > 58  # out of the image in the second half
    assert judge("left behind", left) == (1, 0)
    assert judge("vanishes", [*middle[:12], *[None] * 12]) == (pytest.approx(0.5), 1)
    # What comes in with the camera was there before; what appears in the middle was not.
    ahead = 64 + 30 * speed + (4 if speed > 0 else -4)
    entering = [(ahead - 0.5 * frame, 30 + 1.2 * frame) for frame in range(24)]
    assert judge("comes into view", entering) == (1, 0)
    assert judge("appears", [*[None] * 12, *middle[12:]]) == (0, 1)  # in all frames it was not there


def test_a_video_with_sound_says_what_it_sounds_like(tmp_path):
    from worldgen.audio.impact import impact_sound
    from worldgen.audio.mux import add_track
    from worldgen.data.media import write_video
    from worldgen.evaluation.foreign.videos import check_video
    from worldgen.simulation.clips import simulate_clip

    clip = simulate_clip("drop", 5, size=64, frames=25)
    write_video(tmp_path / "a.mp4", clip.frames[0], 25.0)
    assert not any("sound" in row.name for row in check_video(tmp_path / "a.mp4").measures)
    add_track(tmp_path / "a.mp4", impact_sound(clip.truth, 1.0)[0])
    rows = {row.name: row.value for row in check_video(tmp_path / "a.mp4").measures}
    assert rows["onsets of the sound"] >= 1 and rows["clipped samples"] == 0
    assert -80 < rows["loudness of the sound"] < 0
    assert rows["onsets near contacts"] >= 0.5


def test_a_sound_that_cannot_be_heard_is_said_and_the_frames_are_judged(tmp_path, monkeypatch):
    from worldgen.data.media import write_video
    from worldgen.simulation.clips import simulate_clip

    def broken(path):
        raise ValueError("3 of its 90 samples are NaN or infinite. Write it again")

    monkeypatch.setattr(videos, "read_sound_of", broken)
    write_video(tmp_path / "a.mp4", simulate_clip("drop", 5, size=64, frames=25).frames[0], 25.0)
    case = videos.check_video(tmp_path / "a.mp4")
    (row,) = (row for row in case.measures if "sound" in row.name)
    assert row.value is None and row.note.startswith("it cannot be heard: 3 of its 90 samples")
    (note,) = videos._sound_notes([case])
    assert note.startswith("The sound of a is not judged: it cannot be heard: 3 of its 90 samples")
