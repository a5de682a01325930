"""Videos that are tracked with a detector and points: through the command, its processes and its page."""

import json
import shutil
from pathlib import Path

import pytest

from tests.data.videos import write
from tests.metrics.tracking.trackers import G, bright_detector, discs, thrown, tiny_clone, tiny_detector
from worldgen.cli import main as cli
from worldgen.evaluation.foreign import tracker as tracking
from worldgen.evaluation.foreign.capture import Capture
from worldgen.evaluation.foreign.tracker import Tracking, choose_tracking
from worldgen.evaluation.foreign.videos import check_video, evaluate_videos
from worldgen.types import GRAVITY, Clip

METRES = GRAVITY / (G * 25**2)


def film(path: Path, clip: Clip) -> Path:
    images = (clip.frames[0].permute(0, 2, 3, 1) * 255).round().byte().numpy()
    return write(path, list(images))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    film(folder / "empty.mp4", discs([None] * 13))
    film(folder / "throw.mp4", discs(thrown()))
    return folder


def fails(capsys, *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_points_judge_a_fall_in_processes_of_their_own_and_are_named(folder, tmp_path):
    clone = tiny_clone(tmp_path / "clone", spread=1.0)
    out = tmp_path / "out"
    words = ["evaluate", "--videos", str(folder), "--out", str(out), "--processes", "1"]
    words += ["--scale", str(METRES)]
    cli.main([*words, "--points", str(clone)])
    report = json.loads((out / "report.json").read_text())
    assert report["command"].endswith(f"--scale {METRES} --points {clone}")
    assert [row["reason"] for row in report["skipped"]] == ["nothing moves"]
    (case,) = report["cases"]
    noise = {row["name"]: row for row in case["measures"]}["tracker noise"]
    assert 0.1 < noise["value"] < 1 and noise["unit"] == "px"
    checks = {check["name"]: check for check in case["exhibits"][0]["checks"]}
    assert checks["free_fall"]["value"] < 0.02
    assert any(f"followed by the point tracker {clone}" in note for note in report["notes"])
    assert any("blobs that differ from a still background" in note for note in report["notes"])
    kept = out / "judged" / "throw.mp4.safetensors"
    before = kept.stat().st_mtime_ns
    cli.main([*words, "--points", str(clone)])
    assert kept.stat().st_mtime_ns == before
    shutil.rmtree(clone)
    tiny_clone(clone, spread=2.0)  # the same path, other weights
    cli.main([*words, "--points", str(clone)])
    assert kept.stat().st_mtime_ns != before
    again = json.loads((out / "report.json").read_text())["cases"][0]
    value = {row["name"]: row["value"] for row in again["measures"]}["tracker noise"]
    assert value == pytest.approx(2 * noise["value"], rel=0.1)


def test_unsure_points_keep_a_video_from_being_judged_by_g(folder, tmp_path):
    unsure = choose_tracking(points=str(tiny_clone(tmp_path / "clone", spread=9.0)))
    surer = choose_tracking(points=str(tiny_clone(tmp_path / "surer", spread=1.0)))
    how = Capture(scale=METRES)
    blobs, sure, kept = (
        check_video(folder / "throw.mp4", how=how, tracking=one).exhibits[0].report["free_fall"]
        for one in (Tracking(), surer, unsure)
    )
    assert blobs.value < 0.02 and sure.value < 0.02 and "noise moves the acceleration by" in kept.note
    by_g = check_video(folder / "throw.mp4", how=Capture(from_gravity=True), tracking=unsure).exhibits[0]
    assert "so it gives no scale" in by_g.report["free_fall"].note and not by_g.tracks.metric


def test_a_detector_that_finds_nothing_is_refused_and_counted(folder, tmp_path, capsys):
    detector = tiny_detector(tmp_path / "detector")  # its weights are random: no score above one half
    words = ["--videos", str(folder), "--detector", str(detector), "--out", str(tmp_path / "out")]
    error = fails(capsys, "evaluate", *words, "--processes", "1")
    assert "None of 2 videos can be judged; empty.mp4: nothing detected" in error


def test_boxes_and_points_on_them_judge_a_video(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "_detector", lambda checkpoint: bright_detector(tmp_path / checkpoint))
    points = str(tiny_clone(tmp_path / "clone"))
    for chosen in (Tracking("boxes"), Tracking("both", points)):
        case = check_video(folder / "throw.mp4", how=Capture(scale=METRES), tracking=chosen)
        assert case.exhibits[0].report["free_fall"].value < 0.02
        assert [row.name for row in case.measures] == ([] if chosen.points is None else ["tracker noise"])
    assert "found by the detector both" in chosen.notes[0]


def test_a_network_is_opened_once_per_process(tmp_path):
    folder = tiny_clone(tmp_path / "clone")
    chosen = choose_tracking(points=str(folder))
    first = chosen.track(discs(thrown()))
    shutil.rmtree(folder)
    assert chosen.track(discs(thrown())).trajectory.position.equal(first.trajectory.position)


def test_a_wrong_checkpoint_stops_the_command_before_any_video_is_read(folder, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["evaluate", "--videos", str(folder), "--out", str(out)]
    told = fails(capsys, *words, "--detector", str(tmp_path / "nowhere"))
    assert told.startswith("worldgen: A detector's folder must hold config.json") and "nowhere does" in told
    told = fails(capsys, *words, "--points", str(tiny_detector(tmp_path / "detector")))
    assert "must be a clone of facebookresearch/co-tracker" in told and "has no hubconf.py" in told
    assert not out.exists()
    told = fails(capsys, "evaluate", "--tracks", "x.csv", "--points", "x")
    assert "has no option --points; it is of worldgen evaluate videos" in told


def test_blobs_alone_say_so_too(folder, tmp_path):
    evaluate_videos(folder, tmp_path / "out", processes=1)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["cases"][0]["measures"] == []
    assert any("takes things that touch for one" in note for note in report["notes"])
