"""Physics-IQ from folder to table: official names, nothing averaged over gaps, nothing done twice."""

import json
import os

import av
import numpy as np
import pytest
import torch

from tests.evaluation.benchmarks.filmed import RATE, film, make, real_name, rows_of, run, the_pair
from worldgen.cli import main as cli
from worldgen.data.media import video_timing, write_video
from worldgen.evaluation.benchmarks.physics_iq import _read_judged, _Task, compare_pair, resample
from worldgen.evaluation.benchmarks.physics_iq_layout import SCENARIOS, VIEWS, find_pairs
from worldgen.evaluation.kept import Record
from worldgen.metrics.physics_iq.mask_codec import Mpeg4


def test_what_is_missing_is_listed_and_counted(evaluated):
    out = evaluated[2]
    missing = {row["file"]: row["reason"] for row in rows_of(out / "missing.csv")}
    assert missing[f"0004_{VIEWS[0]}_trimmed-{SCENARIOS[1]}.mp4"] == "generated video missing"
    assert "damaged, cut off, or not a video" in missing[f"0008_{VIEWS[1]}_trimmed-{SCENARIOS[2]}.mp4"]
    assert missing["0777_stray.mp4"] == "no real video has the number 0777"
    assert missing[real_name(198 + 10, VIEWS[0], 2, SCENARIOS[3])] == "real video missing"
    # 189 views of 63 scenarios that are not there: two takes and a generated video each.
    assert len(missing) == 3 * 189 + 3
    report = json.loads((out / "report.json").read_text())
    found = {row["name"]: row for row in report["summary"]}
    assert "n = 7 of 198 views" in found["spatiotemporal IoU"]["note"]
    assert "over 1 of 66 scenarios" in found["Physics-IQ score"]["note"]
    assert found["files missing or refused"]["value"] == len(missing)
    assert len(report["views"]) == len(rows_of(out / "views.csv")) == 7


def test_a_second_run_does_only_what_is_missing(evaluated, tmp_path):
    made, real, out = evaluated
    stamps = {path.name: path.stat().st_mtime_ns for path in (out / "pairs").iterdir()}
    assert "0008.safetensors" not in stamps and len(stamps) == 7
    film(made / f"0004_{VIEWS[0]}_trimmed-{SCENARIOS[1]}.mp4", offset=3)
    changed = made / f"0001_{VIEWS[0]}_trimmed-{SCENARIOS[0]}.mp4"
    film(changed, offset=9)
    (out / "pairs" / "0002.safetensors").write_text("{")  # cut off
    run(made, real, out)
    again = {path.name: path.stat().st_mtime_ns for path in (out / "pairs").iterdir()}
    redone = {name for name, stamp in again.items() if stamps.get(name) != stamp}
    assert redone == {"0001.safetensors", "0002.safetensors", "0004.safetensors"}
    assert len(rows_of(out / "model.csv")) == 2


def test_another_rate_is_interpolated_as_the_official_code_does(tmp_path):
    made, real = make(tmp_path, rate=30, views=VIEWS[:1])
    judged = compare_pair(the_pair(made, real))
    assert judged.notes == (f"real video interpolated from 30 to {RATE} frames per second",)
    assert len(judged.view.first.mse) == len(judged.view.variance.mse) == 5 * RATE


def test_interpolation_keeps_the_ends_and_cuts_to_whole_levels():
    frames = [np.full((1, 1, 3), 10 * index, np.uint8) for index in range(7)]  # 7 frames, 2 per second: 3.5 s
    found = [int(frame[0, 0, 0]) for frame in resample(iter(frames), 7, 2.0, 3.0)]
    places = [index * 6 / 9 for index in range(10)]  # int(3.5 * 3) frames from the first to the last
    assert found == [int(np.float32(10 * place)) for place in places] and found[-1] == 60
    long = [np.zeros((1, 1, 3), np.uint8)] * 60
    assert len(list(resample(iter(long), 60, 10.0, 8.0))) == 40  # five seconds, no more


def test_frames_are_counted_where_the_header_does_not_say(tmp_path):
    film(tmp_path / "said.mp4")
    assert video_timing(tmp_path / "said.mp4") == (5 * RATE, RATE)
    with av.open(str(tmp_path / "unsaid.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "yuv420p"
        for _ in range(6):
            image = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    assert video_timing(tmp_path / "unsaid.mkv") == (6, pytest.approx(RATE))
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match="damaged, cut off, or not a video"):
        video_timing(tmp_path / "bad.mp4")
    with pytest.raises(FileNotFoundError, match="No video at"):
        video_timing(tmp_path / "nowhere.mp4")


def test_a_folder_at_the_same_rate_is_preferred(tmp_path):
    made, real = make(tmp_path, rate=30, views=VIEWS[:1])
    for take, number in ((1, 1), (2, 199)):
        film(real / f"{RATE}FPS" / real_name(number, VIEWS[0], take, SCENARIOS[0], RATE), 2 * take - 2)
    assert compare_pair(the_pair(made, real)).notes == ()


def test_size_length_black_and_stillness_are_said(tmp_path):
    made, real = make(tmp_path, views=VIEWS[:1])
    generated = next(made.iterdir())
    film(generated, frames=2 * RATE, side=48)
    notes = compare_pair(the_pair(made, real)).notes
    assert notes == (
        "96 x 48 compared at a quarter of the real 96 x 64",
        "only 16 of 40 frames (2.00 of 5 s) compared",
    )
    film(generated, light=0.0)
    black = compare_pair(the_pair(made, real))
    assert black.notes == ("black throughout",) and black.view.first.spatial == 0
    write_video(generated, torch.full((40, 3, 64, 96), 0.5), RATE)
    assert compare_pair(the_pair(made, real)).notes == ("nothing moves",)
    film(generated, frames=1)
    with pytest.raises(ValueError, match="must have two frames or more to compare; got 1"):
        compare_pair(the_pair(made, real))


def test_official_masks_are_used_and_must_fit(tmp_path):
    made, real = make(tmp_path, views=VIEWS[:1])
    own = compare_pair(the_pair(made, real))
    masks = real / "video-masks" / "real" / f"{RATE}FPS"
    for take, number in ((1, 1), (2, 199)):
        path = masks / real_name(number, VIEWS[0], take, SCENARIOS[0], RATE, "video-masks")
        write_video(path, torch.ones(40, 3, 64, 96), RATE)
    full = compare_pair(the_pair(made, real))
    assert full.view.variance.spatial == 1.0 and full.view.first.spatial < own.view.first.spatial
    write_video(path, torch.ones(40, 3, 32, 96), RATE)
    with pytest.raises(ValueError, match="masks of its video's size 96 x 64; got 96 x 32. Delete it"):
        compare_pair(the_pair(made, real))


def test_scenarios_of_ones_own_are_a_benchmark_of_their_own(tmp_path):
    for take, number in ((1, 1), (2, 2)):
        film(tmp_path / "real" / real_name(number, VIEWS[0], take, "my-scene", RATE), take)
    film(tmp_path / "made" / "0001_anything.mp4", 3)
    layout = find_pairs(tmp_path / "made", tmp_path / "real")
    assert len(layout.slots) == 1 and not layout.missing
    assert layout.pairs[0].generated.name == "0001_anything.mp4"


@pytest.mark.parametrize(
    "prepare, sentence",
    [
        (lambda made, real: os.rename(made, made.with_name("x")), "No folder of generated videos at"),
        (lambda made, real: os.rename(real, real.with_name("x")), "No folder of real videos at"),
        (
            lambda made, real: [path.unlink() for path in real.rglob("*.mp4")],
            "must hold real videos named as 0001",
        ),
        (lambda made, real: [path.unlink() for path in made.iterdir()], "must hold videos named as 0001"),
        (
            lambda made, real: [path.write_bytes(b"") for path in made.iterdir()],
            "None of 198 views can be judged; the first: ",
        ),
    ],
)
def test_bad_folders_get_one_sentence(prepare, sentence, tmp_path, capsys):
    made, real = make(tmp_path, views=VIEWS[:1])
    prepare(made, real)
    with pytest.raises(SystemExit) as stop:
        run(made, real, tmp_path / "out")
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and sentence in error and len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--benchmark", "physics"], "Did you mean physics-iq?"),
        (
            ["--benchmark", "physics-iq", "--real", "x"],
            "needs --generated; give it",
        ),
    ],
)
def test_bad_words_get_one_sentence(words, sentence, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", *words])
    assert stop.value.code == 2 and sentence in capsys.readouterr().err


def test_a_file_of_other_inputs_does_not_count(tmp_path):
    made, real = make(tmp_path, views=VIEWS[:1])
    task = _Task(the_pair(made, real), Record(tmp_path / "0001", "print"))
    Record(tmp_path / "0001", "other").write({"error": "x"})
    assert _read_judged(task) is None
    task.record.write({"error": "x"})
    assert _read_judged(task) == "x"


def test_which_five_seconds_of_eight_are_meant_is_not_guessed(tmp_path):
    made, real = make(tmp_path, views=VIEWS[:1])
    generated = next(made.iterdir())
    film(generated, frames=5 * RATE + 1)
    assert compare_pair(the_pair(made, real)).notes == ("the last 1 of 41 frames are not compared",)
    film(generated, frames=8 * RATE)
    with pytest.raises(
        ValueError, match=r"must last 5 s; it lasts 8\.00 s, .* without the 3 s .* -sseof -5 "
    ):
        compare_pair(the_pair(made, real))
    film(generated)
    take = next(real.rglob("*take-2*"))
    film(take, frames=8 * RATE)
    with pytest.raises(ValueError, match=r"take-2.* must last 5 s; it lasts 8\.00 s"):
        compare_pair(the_pair(made, real))


def test_masks_of_a_longer_video_are_refused(tmp_path):
    made, real = make(tmp_path, views=VIEWS[:1])
    path = real / "video-masks" / "real" / real_name(1, VIEWS[0], 1, SCENARIOS[0], RATE, "video-masks")
    write_video(path, torch.ones(8 * RATE, 3, 64, 96), RATE)
    with pytest.raises(ValueError, match="a mask for each of its video's 40 frames; it has 64, and of which"):
        compare_pair(the_pair(made, real))


def test_masks_are_plain_unless_official_ones_are_asked_for(tmp_path):
    made, real = make(tmp_path, views=VIEWS[:1])
    plain, lossy = (compare_pair(the_pair(made, real), codec=codec) for codec in (None, Mpeg4()))
    assert plain.view.first.mse == lossy.view.first.mse, "frames do not pass through it"
    for name in ("spatial", "weighted_spatial", "mean_spatiotemporal"):
        assert getattr(lossy.view.first, name) == pytest.approx(getattr(plain.view.first, name), rel=0.3)
    assert lossy.view.first.weighted_spatial != plain.view.first.weighted_spatial
    run(made, real, tmp_path / "plain")
    words = ["evaluate", "benchmark", "physics-iq", "--generated", str(made), "--real", str(real)]
    cli.main(
        [*words, "--out", str(tmp_path / "plain"), "--masks", "official"]
    )  # kept ones are of the other kind
    report = json.loads((tmp_path / "plain" / "report.json").read_text())
    found = {row["name"]: row["value"] for row in report["summary"]}
    assert found["weighted spatial IoU"] == lossy.view.first.weighted_spatial
    assert any("passed through MPEG-4" in note for note in report["notes"])
    with pytest.raises(SystemExit) as stop:
        cli.main([*words, "--masks", "lossy"])
    assert stop.value.code == 2


def test_official_masks_beside_plain_ones_are_said(tmp_path):
    made, real = make(tmp_path, views=VIEWS[:1])
    for take, number in ((1, 1), (2, 199)):
        path = real / "video-masks" / real_name(number, VIEWS[0], take, SCENARIOS[0], RATE, "video-masks")
        write_video(path, torch.ones(40, 3, 64, 96), RATE)
    [note] = compare_pair(the_pair(made, real)).notes
    assert "beside plain ones: see --masks official" in note
    assert compare_pair(the_pair(made, real), codec=Mpeg4()).notes == ()


def test_folders_of_seeds_are_averaged(tmp_path):
    made, real = make(tmp_path)
    for seed in range(3):
        folder = tmp_path / "seeds" / f"seed-{seed}"
        for path in sorted(made.iterdir()):
            film(folder / path.name, offset=3 + seed)
    next((tmp_path / "seeds" / "seed-2").iterdir()).unlink()
    run(tmp_path / "seeds", real, tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    rows = {row["name"]: row for row in report["summary"]}
    each = [json.loads((tmp_path / "out" / f"seed-{n}" / "report.json").read_text()) for n in range(3)]
    values = [{row["name"]: row["value"] for row in one["summary"]} for one in each]
    overlaps = [one["spatial IoU"] for one in values]
    assert rows["spatial IoU"]["value"] == pytest.approx(np.mean(overlaps))
    said = f"mean of n = 3 of 3 runs; sd {np.std(overlaps, ddof=1):.3g}; seed-0 {overlaps[0]:.4g}"
    assert rows["spatial IoU"]["note"].startswith(said)
    assert rows["Physics-IQ score"]["note"].startswith("mean of n = 2 of 3 runs")  # one lacks a view
    assert len(rows_of(tmp_path / "out" / "seed-1" / "views.csv")) == 3
    assert report["runs"] == ["seed-0", "seed-1", "seed-2"]
