"""Two folders of videos beside each other: distances of crowds, whatever the names and counts."""

import json
import os

import numpy as np
import pytest
import torch
from transformers import VJEPA2Model, VJEPA2VideoProcessor

from tests.data.videos import ball, write
from tests.report.pages import holds_summary, read_whole
from tests.tiny import tiny_vjepa2
from worldgen.cli import main as cli
from worldgen.data.videos import read_small
from worldgen.encoders.base import Encoder, Tokens
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.evaluation.foreign import folders as crowds
from worldgen.evaluation.foreign.folders import compare_folders
from worldgen.evaluation.foreign.videos import Beside
from worldgen.metrics.distances import clip_features, frechet, jedi, jedi_floor, split_floor
from worldgen.metrics.surprise import Windows, surprise


@pytest.fixture(scope="module")
def vjepa(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vjepa2")
    torch.manual_seed(0)
    VJEPA2Model(tiny_vjepa2(layers=1)).save_pretrained(folder)
    VJEPA2VideoProcessor(crop_size=32).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Six videos and a broken one, beside five that are darker, of the same names as far as they go."""
    root = tmp_path_factory.mktemp("folders")
    for name, count, light in (("made", 6, 1.0), ("real", 5, 0.6)):
        for number in range(count):
            images = list(ball(4 * (10 + 2 * number), width=96))[:: 2 + number % 3]
            write(root / name / f"v{number}.mp4", [(image * light).astype(np.uint8) for image in images])
    (root / "made" / "broken.mp4").write_bytes(b"not a video" * 100)
    return root / "made", root / "real"


@pytest.fixture(scope="module")
def found(folders, vjepa, tmp_path_factory) -> Beside:
    return compare_folders(*folders, str(vjepa), tmp_path_factory.mktemp("out"))


def features(folder, vjepa):
    encoder = VJEPA2(str(vjepa))
    return clip_features(encoder, [read_small(path) for path in sorted(folder.glob("v*.mp4"))])


def value(beside, name):
    return next(row.value for row in beside.rows if row.name == name)


def test_distances_are_those_of_the_features(folders, vjepa, found):
    x, y = (features(folder, vjepa) for folder in folders)
    assert value(found, "JEDi (fidelity)") == pytest.approx(jedi(x, y), rel=1e-9) and jedi(x, y) > 0
    assert value(found, "Frechet distance (fidelity)") == pytest.approx(frechet(x, y), rel=1e-6)
    note = found.rows[0].note
    halves = split_floor(jedi, y)
    assert "6 generated and 5 real clips of 32 dimensions" in note and "lower is better" in note
    assert (
        f"floor {jedi_floor(y, 6, 5):.4g};" in note and f"limit {halves.high * (1 / 6 + 1 / 5):.4g};" in note
    )
    assert f"halves of 2, {halves.low:.4g} .. {halves.high:.4g}" in note
    assert "blind to features that change their sign" in note
    assert value(found, "videos in the distances") == 6 and value(found, "real videos in the distances") == 5
    assert "cannot be told from files" in found.rows[-1].note and found.rows[-1].name == "judging encoder"


def test_what_cannot_be_read_is_listed_and_counted(folders, found):
    counted = {row.name: row for row in found.rows}["videos in the distances"]
    assert counted.unit == "of 7" and "listed below with the reason" in counted.note
    ((name, reason),) = found.skipped
    assert name == f"{folders[0] / 'broken.mp4'} in the distances" and "cannot be decoded" in reason


def test_a_disk_that_fails_at_one_video_loses_that_one(folders, tmp_path, monkeypatch):
    def read(path):
        if path.name == "v0.mp4":
            raise OSError("Input/output error")
        return read_small(path)

    monkeypatch.setattr(crowds, "read_small", read)
    beside = compare_folders(*folders, f"{__name__}.Brightness:x", tmp_path)
    assert [value(beside, f"{side} in the distances") for side in ("videos", "real videos")] == [5, 4]
    assert [why for name, why in beside.skipped if "v0" in name] == ["Input/output error"] * 2


def test_swapped_folders_are_as_far_apart_and_equal_ones_not_at_all(folders, vjepa, found, tmp_path):
    swapped = compare_folders(folders[1], folders[0], str(vjepa), tmp_path / "a")
    for name in ("JEDi (fidelity)", "Frechet distance (fidelity)"):
        assert value(swapped, name) == pytest.approx(value(found, name), rel=1e-6)
    same = compare_folders(folders[1], folders[1], str(vjepa), tmp_path / "b")
    assert value(same, "JEDi (fidelity)") == 0
    assert abs(value(same, "Frechet distance (fidelity)")) < 1e-6 * value(
        found, "Frechet distance (fidelity)"
    )
    assert "floor 0;" not in same.rows[0].note  # halves of the same folder are apart all the same


def test_surprise_stands_beside_single_videos(folders, vjepa, found):
    measures = dict(found.measures)
    assert sorted(measures) == [f"v{number}.mp4" for number in range(6)]
    clip = read_small(folders[0] / "v4.mp4")
    frames = clip.frames.shape[1]
    average, maximum = measures["v4.mp4"]
    assert average.name.startswith("surprise average of VJEPA2:")
    assert average.name.endswith(" after 4 of 8 frames")
    stride = -(-(frames - 8) // 7)
    own = surprise(VJEPA2(str(vjepa)), clip, Windows(8, (4,), stride))
    assert 1 < own.values.shape[1] <= 8 and stride > 1
    assert average.value == pytest.approx(float(own.average), rel=1e-6)
    assert maximum.value == pytest.approx(float(own.maximum), rel=1e-6) and maximum.value > average.value
    assert any("its chance level is unknown" in note for note in found.notes)


def test_a_second_run_looks_only_at_what_changed(folders, vjepa, found, tmp_path, monkeypatch):
    looked = []

    def look_at(judge, mark, clip):
        looked.append(clip.frames.shape[1])
        return whole(judge, mark, clip)

    whole = crowds.extract_features
    monkeypatch.setattr(crowds, "extract_features", look_at)
    first = compare_folders(*folders, str(vjepa), tmp_path)
    assert len(looked) == 11 and first == found
    (tmp_path / "features" / "videos" / "v1.mp4.safetensors").write_bytes(b"cut o")
    os.utime(folders[1] / "v2.mp4", ns=(1, 1))
    assert compare_folders(*folders, str(vjepa), tmp_path) == found and len(looked) == 13
    torch.manual_seed(1)
    VJEPA2Model(tiny_vjepa2(layers=1)).save_pretrained(tmp_path / "other")
    VJEPA2VideoProcessor(crop_size=32).save_pretrained(tmp_path / "other")
    assert compare_folders(*folders, str(tmp_path / "other"), tmp_path) != found and len(looked) == 24


def test_the_command_reports_checks_and_distances(folders, vjepa, found, tmp_path):
    some = tmp_path / "some"
    some.mkdir()
    for name in ("v0.mp4", "v4.mp4", "broken.mp4"):
        (some / name).symlink_to(folders[0] / name)
    words = ["evaluate", "--videos", some, "--against", folders[1], "--encoder", vjepa]
    cli.main([*map(str, words), "--out", str(tmp_path), "--processes", "1"])
    report = json.loads((tmp_path / "report.json").read_text())
    page = (tmp_path / "report.html").read_text()
    read_whole(page)
    holds_summary(page, report["summary"])
    rows = {row["name"]: row for row in report["summary"]}
    assert rows["videos judged"]["value"] == 2 and rows["videos refused"]["value"] == 1
    assert "2 generated and 5 real clips" in rows["JEDi (fidelity)"]["note"]
    lost = [one["name"] for one in report["skipped"]]
    assert lost == ["broken.mp4", f"{some / 'broken.mp4'} in the distances"]
    assert f"--against {folders[1]} --encoder {vjepa}" in report["command"]
    assert any(
        "no video is paired with another" in note and "JEDi(X, -X) = 0" in note for note in report["notes"]
    )
    for case, name in zip(report["cases"], ("v0.mp4", "v4.mp4"), strict=True):
        expected = [(row.name, row.value) for row in dict(found.measures)[name]]
        assert [(row["name"], row["value"]) for row in case["measures"][-2:]] == expected


class Brightness(Encoder):
    """A token per frame: its mean color. It predicts nothing."""

    dim = 3

    def __init__(self, checkpoint: str) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.freeze()

    def encode(self, clip):
        values = clip.frames.mean(dim=(3, 4))
        return Tokens(values, torch.ones(values.shape[:2], dtype=torch.bool))


class Blind(Brightness):
    """Sees no frames."""

    def encode(self, clip):
        return Tokens(torch.ones(1, 2, 3), torch.ones(1, 2, dtype=torch.bool))


def test_videos_that_no_tracker_can_follow_are_compared_all_the_same(folders, tmp_path):
    for number in range(4):  # stills
        write(tmp_path / "made" / f"{number}.mp4", [next(ball(1))[:, :: 1 + number % 2]] * (8 + number))
    words = ["evaluate", "--videos", tmp_path / "made", "--against", folders[1], "--out", tmp_path / "out"]
    words += ["--encoder", f"{__name__}.Brightness:x", "--processes", "1"]
    cli.main([str(word) for word in words])
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    page = (tmp_path / "out" / "report.html").read_text()
    read_whole(page)
    holds_summary(page, report["summary"])
    assert report["cases"] == [] and len(report["skipped"]) == 4
    assert "of which none can be checked" in page and "4 files are not there or could not be judged" in page
    assert next(row for row in report["summary"] if row["name"] == "JEDi (fidelity)")["value"] > 0
    assert not any("Surprise" in note for note in report["notes"])
    assert (tmp_path / "out" / "missing.csv").read_text().count("\n") == 5


def fails(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", *map(str, words)])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_bad_words_get_one_sentence(folders, vjepa, tmp_path, capsys):
    made, real = folders
    both = ["--videos", made, "--against", real]
    assert "--against FOLDER compares the videos with real ones by --encoder WHICH" in fails(capsys, *both)
    assert "has no option --against; it is of worldgen evaluate videos" in fails(
        capsys, "--tracks", "a.csv", "--against", real, "--encoder", vjepa
    )
    assert "--against FOLDER compares the videos" in fails(capsys, "--videos", made, "--encoder", vjepa)
    with_encoder = ["--encoder", vjepa, "--out", tmp_path / "out"]
    missing = ["--videos", made, "--against", tmp_path / "nowhere"]
    assert f"No folder of videos at {tmp_path}/nowhere" in fails(capsys, *missing, *with_encoder)
    assert "must hold videos" in fails(capsys, "--videos", made, "--against", tmp_path, *with_encoder)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.mp4").write_bytes(b"no video")
    bad = ["--videos", made, "--against", tmp_path / "bad"]
    assert "None of 1 videos in " in fails(capsys, *bad, *with_encoder)
    assert "gives all 11 videos the same features: it does not look at frames" in fails(
        capsys, *both, "--encoder", f"{__name__}.Blind:x", "--out", tmp_path / "out"
    )


def test_too_few_videos_have_no_distance(folders, tmp_path):
    write(tmp_path / "one" / "a.mp4", list(ball(8)))
    beside = compare_folders(tmp_path / "one", folders[1], f"{__name__}.Brightness:x", tmp_path / "out")
    assert value(beside, "JEDi (fidelity)") is None and "it needs four of each" in beside.rows[0].note
