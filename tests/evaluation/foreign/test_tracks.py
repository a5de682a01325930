"""Tracks judged without a video, and exports, as people type them."""

import json

import pytest
import torch

from worldgen.cli import main as cli
from worldgen.data.shards.simulate import simulate_shards
from worldgen.evaluation.foreign import tracks
from worldgen.evaluation.foreign.tracks import draw_tracks, evaluate_tracks
from worldgen.metrics.tracks.files import read_tracks, write_tracks
from worldgen.simulation.clips import simulate_trajectory
from worldgen.simulation.engine import mujoco


def fails(capsys, *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_tracks_are_judged_without_a_video(tmp_path, capsys):
    path = write_tracks(tmp_path / "fall.csv", simulate_trajectory("drop", 3))
    cli.main(["evaluate", "--tracks", str(path), "--out", str(tmp_path / "report")])
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    exhibits = {item["label"]: item for item in report["cases"][0]["exhibits"]}
    assert list(exhibits) == [
        label + suffix
        for label in ("tracks", "frozen (control)", "reversed (control)")
        for suffix in ("", ", replayed")
    ]
    checks = {label: {check["name"]: check for check in item["checks"]} for label, item in exhibits.items()}
    assert {item["source"] for label, item in exhibits.items() if "replayed" in label} == {"replay"}
    assert exhibits["tracks"]["source"] == "readout"
    assert checks["tracks"]["free_fall"]["value"] < 0.05 and checks["tracks"]["permanence"]["value"] == 1
    assert checks["tracks, replayed"]["replay_misfit"]["score"] > 0.9
    assert checks["frozen (control), replayed"]["replay_error"]["score"] < 0.2  # MuJoCo lets it fall
    assert f"--tracks {path}" in report["command"]
    assert "Report:" in capsys.readouterr().out


def test_drawings_show_each_object_where_it_is():
    collision = simulate_trajectory("collide", 1)
    frames = draw_tracks(collision)
    assert frames.shape == (1, 16, 3, 96, 96)
    ink = (frames[0] < 0.9).any(dim=1).float()
    columns = torch.arange(96.0)
    middle = (ink.sum(dim=1) @ columns) / ink.sum(dim=(1, 2))
    weight = collision.extent[0, :, 0].square()
    expected = (collision.position[0, :, :, 0] * weight).sum(dim=1) / weight.sum()
    slope = torch.corrcoef(torch.stack([middle, expected]))[0, 1]
    assert slope > 0.9 and ink.flatten(1).any(dim=1).all()


def test_clips_and_tracks_are_exported(tmp_path, capsys):
    simulate_shards(tmp_path / "data", ("drop", "bounce"), 3, size=16, frames=4, processes=1)
    shard = next((tmp_path / "data").glob("*.tar"))
    path = write_tracks(tmp_path / "throw.csv", simulate_trajectory("bounce", 3))
    out = tmp_path / "out"
    cli.main(["export", str(shard), str(path), "--out", str(out), "--clips", "2"])
    assert "12 files in" in capsys.readouterr().out
    models = sorted(out.glob("*.xml"))
    assert len(models) == 6 and len(list(out.glob("*.py"))) == 3
    for model in models:
        assert mujoco.MjModel.from_xml_path(str(model)).nkey == (16 if "throw" in model.name else 4)
    for script in out.glob("*.py"):
        compile(script.read_text(), script.name, "exec")
    cli.main(["export", str(tmp_path / "data"), "--out", str(tmp_path / "all")])
    assert len(list((tmp_path / "all").iterdir())) == 12
    again = read_tracks(out / "throw.tracks.csv").tracks
    assert torch.equal(again.position, read_tracks(path).tracks.position)


def test_bad_words_are_explained(tmp_path, capsys):
    assert "has no option --videos; it is of worldgen evaluate videos" in fails(
        capsys, "evaluate", "--tracks", "a.csv", "--videos", "b"
    )
    assert "No track file at" in fails(capsys, "evaluate", "--tracks", str(tmp_path / "a.csv"))
    pixels = simulate_trajectory("drop", 3, frames=2)
    path = write_tracks(tmp_path / "two.csv", pixels)
    assert "3 frames or more to be judged; got 2" in fails(capsys, "evaluate", "--tracks", str(path))
    assert "takes a folder of shards" in fails(capsys, "export", str(tmp_path / "no"), "--out", "x")
    assert "No shard at" in fails(capsys, "export", str(tmp_path / "no.tar"), "--out", "x")
    table = tmp_path / "px.csv"
    table.write_text("frame,time,object,x,y,unit\n0,0,1,1,1,px\n1,0.1,1,2,2,px\n")
    assert "an export needs metres; got pixels" in fails(capsys, "export", str(table), "--out", "x")


def test_the_page_shows_replays_apart(tmp_path):
    path = write_tracks(tmp_path / "fall.csv", simulate_trajectory("drop", 3))
    evaluate_tracks(path, tmp_path)
    page = (tmp_path / "report.html").read_text()
    article = page[page.index("<article") : page.index("</article>")]
    tables = article.split("<table")[1:]
    assert article.count("<svg") == len(tables) == 2
    assert "free fall" in tables[0] and "replay" not in tables[0]
    assert "replay error" in tables[1] and "free fall" not in tables[1] and "not run" not in article


def test_long_tracks_are_judged_whole_and_shown_in_part(tmp_path, capsys, monkeypatch):
    path = write_tracks(tmp_path / "long.csv", simulate_trajectory("bounce", 3, frames=50))
    evaluate_tracks(path, tmp_path / "whole")
    assert "Judging 1 objects over 50 frames 6/6 steps" in capsys.readouterr().out
    monkeypatch.setattr(tracks, "_PICTURED", 25)
    evaluate_tracks(path, tmp_path / "thinned")
    whole, thinned = (
        json.loads((tmp_path / name / "report.json").read_text()) for name in ("whole", "thinned")
    )
    assert any("every 2-th frame; all are judged" in note for note in thinned["notes"])
    for one, other in zip(whole["cases"][0]["exhibits"], thinned["cases"][0]["exhibits"], strict=True):
        assert one["checks"] == other["checks"]
        assert (one["frames"], other["frames"]) == (50, 25) and other["fps"] == pytest.approx(one["fps"] / 2)
