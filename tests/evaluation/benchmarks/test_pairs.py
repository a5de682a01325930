"""Pair folders in the published layouts, made small, and everything that can miss in them."""

import csv
import json

import pytest
import torch

from tests.evaluation.squares import FRAMES, NEVER, THERE, brightness, walk, write_mp4
from tests.report.pages import read_whole
from worldgen.cli import main as cli
from worldgen.data.videos import read_movie
from worldgen.encoders.base import load_encoder
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.evaluation.benchmarks.pair_layouts import find_likephys
from worldgen.evaluation.benchmarks.pairs import score_videos
from worldgen.metrics.surprise import Windows, fit_windows


def test_what_was_scored_is_not_scored_again(likephys, tmp_path):
    videos = [path for pair in find_likephys(likephys).pairs for path in (pair.possible, pair.impossible)]
    videos = list(dict.fromkeys(videos))
    count = []

    def score(clip):
        count.append(1)
        return brightness(clip)

    folder = tmp_path / "scores"
    first = score_videos(videos, score, 1, folder, "mark")
    assert len(count) == len(videos) == 8
    assert score_videos(videos, score, 1, folder, "mark") == first and len(count) == 8
    count.pop()
    next(folder.iterdir()).write_bytes(b"cut o")
    assert score_videos(videos, score, 1, folder, "mark") == first and len(count) == 8
    score_videos(videos[:2], score, 1, folder, "another mark")
    assert len(count) == 10
    write_mp4(videos[0], THERE, 0.4)
    assert score_videos(videos, score, 1, folder, "mark") != first and len(count) == 11


def evaluate(capsys, *words):
    cli.main(["evaluate", *map(str, words)])
    return capsys.readouterr().out


def fails(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", *map(str, words)])
    assert stop.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize("benchmark", ["intphys", "intphys2", "likephys"])
def test_the_command_judges_an_encoder(benchmark, vjepa, tmp_path, capsys, request):
    root = request.getfixturevalue(benchmark)
    words = ["--benchmark", benchmark, "--pairs", root, "--encoder", vjepa, "--out", tmp_path / "out"]
    windows = ["--window", FRAMES, "--contexts", 2, 4]
    said = evaluate(capsys, *words, *windows)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    names = [measure["name"] for measure in report["measures"]]
    assert "mean surprise after 4 of 8 frames: pairs won" in names
    assert "largest surprise after 2 of 8 frames: AUROC" in names
    assert "standstill's surprise after 2 of 8 frames: pairs won" in names
    assert "GeoPhys curvature: pairs won" in names or "GeoPhys curvature" in names
    assert report["pairs"]["judged"] == report["pairs"]["expected"] and report["missing"] == []
    assert "--window 8 --contexts 2 4" in report["command"] and "report.html" in said
    page = (tmp_path / "out" / "report.html").read_text()
    kinds = {name.partition("pairs won, ")[2] for name in names} - {""}
    assert read_whole(page).tags.count("svg") == 2 and len(kinds) == 2
    drawn = page[page.index("Condition by condition") : page.index("What is missing")]
    assert all(f"{kind}; mean surprise after 2 of 8 frames" in drawn for kind in kinds)
    own = report["measures"][0]
    assert (
        own["claim"] == "physics" and 0 <= own["low"] <= own["value"] <= own["high"] <= 1 and own["blind_to"]
    )


def test_what_cannot_be_judged_is_counted_and_not_averaged(vjepa, likephys, tmp_path, capsys):
    first, second = (likephys / "ball_drop_videos" / f"subgroup_00{scene}" for scene in (0, 1))
    write_mp4(first / "teleport_00.mp4", NEVER)  # one color
    write_mp4(first / "over_bounce_00.mp4", [0])  # one frame
    (second / "valid_00.mp4").write_bytes(b"not a video")
    (second / "teleport_00.mp4").write_bytes((second / "valid_01.mp4").read_bytes())
    out = tmp_path / "out"
    evaluate(
        capsys,
        "--benchmark",
        "likephys",
        "--pairs",
        likephys,
        "--encoder",
        vjepa,
        "--out",
        out,
        "--window",
        8,
    )
    report = json.loads((out / "report.json").read_text())
    assert report["pairs"] == {"judged": 1, "expected": 8} and report["measures"][0]["n"] == 1
    with open(out / "missing.csv") as file:
        reasons = {row["file"].split("/")[-2:][0] + "/" + row["file"].split("/")[-1]: row["reason"]
                   for row in csv.DictReader(file)}  # fmt: skip
    assert "shows one flat color throughout" in reasons["subgroup_000/teleport_00.mp4"]
    assert "must have 8 frames for a window" in reasons["subgroup_000/over_bounce_00.mp4"]
    assert "cannot be decoded" in reasons["subgroup_001/valid_00.mp4"]
    assert "shows the same frames as" in reasons["subgroup_001/teleport_00.mp4"] and len(reasons) == 4


def test_bad_words_get_one_sentence(vjepa, likephys, tmp_path, capsys):
    assert "needs --pairs and --encoder; give them" in fails(capsys, "--benchmark", "likephys")
    whole = ["--pairs", likephys, "--encoder", vjepa, "--out", tmp_path / "out"]
    assert "evaluate benchmark has no '--pairs' in front; it has physics-iq" in fails(capsys, *whole)
    assert "--against FOLDER compares the videos" in fails(capsys, "--videos", likephys, "--encoder", vjepa)
    assert "has no 'dance' in front; it has physics-iq" in fails(capsys, "--benchmark", "dance", *whole)
    assert "--contexts and --skip go with --window" in fails(
        capsys, "--benchmark", "likephys", *whole, "--skip", 2
    )
    assert "must hold scenes such as O1/01" in fails(capsys, "--benchmark", "intphys", *whole)
    assert "must hold metadata.csv, Main/metadata.csv or" in fails(capsys, "--benchmark", "intphys2", *whole)
    (likephys / "metadata.csv").write_text("file_name,type\n")
    assert "SceneIndex, condition miss" in fails(capsys, "--benchmark", "intphys2", *whole)
    assert "at most the encoder's 8 frames; got 16" in fails(
        capsys, "--benchmark", "likephys", *whole, "--window", 16
    )
    whole[1] = tmp_path / "nowhere"
    assert "No folder of pairs at" in fails(capsys, "--benchmark", "likephys", *whole)
    whole[1] = vjepa
    assert "must hold videos such as ball_drop_videos" in fails(capsys, "--benchmark", "likephys", *whole)


def test_an_encoder_is_opened_by_path_class_or_yaml(vjepa, tmp_path):
    for text in (str(vjepa), f"worldgen.encoders.vjepa2.VJEPA2:{vjepa}"):
        assert isinstance(load_encoder(text), VJEPA2)
    yaml = tmp_path / "encoder.yaml"
    yaml.write_text(
        f"class_path: worldgen.encoders.vjepa2.VJEPA2\ninit_args: {{checkpoint: {vjepa}, frames: 4}}"
    )
    assert load_encoder(str(yaml)).frames == 4
    with pytest.raises(FileNotFoundError, match="No yaml of an encoder at .*nowhere.yaml"):
        load_encoder(str(tmp_path / "nowhere.yaml"))
    yaml.write_text("a: [")
    with pytest.raises(ValueError, match="must be yaml; it cannot be read"):
        load_encoder(str(yaml))
    yaml.write_text("a: 1")
    with pytest.raises(ValueError, match="must have class_path and init_args of an encoder"):
        load_encoder(str(yaml))
    with pytest.raises(ValueError, match="must name an encoder that can be built: "):
        load_encoder("worldgen.encoders.nothing.Nobody:x")
    with pytest.raises(FileNotFoundError, match="A V-JEPA 2 folder must hold config.json"):
        load_encoder(str(tmp_path))


def test_official_windows_are_shortened_in_proportion(vjepa):
    encoder = VJEPA2(str(vjepa))
    assert fit_windows(encoder, Windows(16, (4, 8, 12), 2, 2)) == Windows(8, (2, 4, 6), 2, 2)
    assert fit_windows(encoder, Windows(8, (2,))) == Windows(8, (2,))
    assert fit_windows(encoder, Windows(48, (2, 46), 2, 10)) == Windows(8, (2, 6), 2, 10)


def test_movies_are_read_with_every_so_many_frames(intphys, likephys):
    frames = read_movie(intphys / "O1" / "01" / "1" / "scene", skip=2)
    assert frames.frames.shape == (1, 4, 3, 32, 32) and float(frames.fps) == 7.5
    torch.testing.assert_close(frames.frames[0], walk(THERE)[::2], atol=1 / 255, rtol=0)
    video = read_movie(likephys / "ball_drop_videos" / "subgroup_000" / "valid_00.mp4", skip=3)
    assert video.frames.shape[1] == 3 and float(video.fps) == pytest.approx(8 / 3, rel=1e-3)
