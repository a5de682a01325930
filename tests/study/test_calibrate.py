"""The command: what it writes, and what it refuses; the generator's own loss as a judge."""

import csv
import json

import pytest
import torch
import yaml
from PIL import Image

from worldgen.cli import main as cli
from worldgen.conditioning import Conditioner
from worldgen.diffusion.dit import DiT
from worldgen.diffusion.process import CleanFlowMatching
from worldgen.diffusion.sampler import Sampler
from worldgen.diffusion.state_codec import StateCodec
from worldgen.metrics.calibration.calibration import ORIGINAL, SECOND_TAKE
from worldgen.metrics.calibration.panel import World, check_states
from worldgen.model import WorldModel
from worldgen.runs.folder import save_weights
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.rendering.render import film_trajectory
from worldgen.simulation.violations.graded import Violation, change_gravity, freeze
from worldgen.study import calibrate as calibrating
from worldgen.types import Check, Clip


def height_at_the_end(clip: Clip, against: World) -> tuple[Check, ...]:
    """A judge as others would add it."""
    gap = float((clip.truth.position - against.truth.truth.position)[0, -1, :, 2].abs().max())
    return (Check("end_height", gap, "m", 0.1, float(gap < 0.1), blind_to=("vanishing",)),)


@pytest.fixture
def few(monkeypatch):
    """Two worlds' worth of clips in a moment: the clip, and two strengths of one violation."""

    def simulate(family, seed, size):
        clip = simulate_clip("drop", seed, size=size)
        shown = [
            Violation(ORIGINAL, 0.0, "", clip, 16),
            Violation(SECOND_TAKE, 0.0, "", simulate_clip("drop", seed, size=size, take=1), 0),
        ]
        for less in (0.5, 1.0):
            shown.append(Violation("weak gravity", less, "of g less", change_gravity(clip, 1 - less), 2))
        return World(clip), shown

    monkeypatch.setattr(calibrating, "_simulate", simulate)


def test_the_command_writes_tables_and_a_picture(few, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(calibrating.JUDGES, "truth", (check_states, height_at_the_end))
    words = ["calibrate", "--out", str(tmp_path), "--families", "drop", "--clips", "6", "--processes", "1"]
    cli.main(words)
    printed = capsys.readouterr().out
    assert "end height sees: weak gravity" in printed and "free fall sees: weak gravity" in printed
    lines = list(csv.DictReader((tmp_path / "calibration-truth.csv").open()))
    fall = [line for line in lines if line["check"] == "free_fall"]
    assert [(line["violation"], line["strength"]) for line in fall] == [
        ("weak gravity", "0.5"),
        ("weak gravity", "1.0"),
    ]
    assert float(fall[1]["auroc"]) == 1.0 and int(fall[1]["clips"]) == 6 and float(fall[1]["low"]) < 1
    found = json.loads((tmp_path / "calibration-truth.json").read_text())
    assert found["worlds"] == 6 and found["short"]["free_fall"] == "free fall sees: weak gravity"
    assert "--families drop --clips 6 --processes 1" in found["command"]
    text = (tmp_path / "calibration-truth.md").read_text()
    assert "| end_height | **" in text and "Noise floor" in text and "n 6 of 6" in text
    assert min(Image.open(tmp_path / "calibration-truth.png").size) > 150
    assert not list(tmp_path.glob(".*"))


def test_a_world_that_cannot_be_judged_is_skipped_and_counted(few, tmp_path, monkeypatch, capsys):
    first = simulate_clip("drop", 0, size=8).truth

    def fussy(clip: Clip, against: World) -> tuple[Check, ...]:
        if torch.equal(against.truth.truth.position, first.position):
            raise ValueError("this one not")
        return check_states(clip, against)

    monkeypatch.setitem(calibrating.JUDGES, "truth", (fussy,))
    found = calibrating.calibrate_checks(tmp_path, ["drop"], 2, "truth", 0, processes=1)
    assert found.clips == 1
    assert json.loads((tmp_path / "calibration-truth.json").read_text())["skipped"] == [
        "drop 0: this one not"
    ]
    assert "1 worlds skipped; the first: drop 0: this one not" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--source", "dreams"], "--source must be truth or readout; got 'dreams'"),
        (["--families", "drop", "spin"], "got spin"),
        (["--clips", "0"], "--clips must be from 1 to 1,000,000,000; got 0"),
        (["--run", "nowhere"], "must hold config.yaml"),
    ],
)
def test_bad_words_get_one_sentence(words, sentence, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["calibrate", "--out", str(tmp_path / "x"), *words])
    assert stop.value.code == 2 and sentence in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """The run of a generator that has learned nothing: it foresees that all stands still."""
    folder = tmp_path_factory.mktemp("run")
    names = {
        "codec": "diffusion.state_codec.StateCodec",
        "conditioner": "conditioning.Conditioner",
        "denoiser": "diffusion.dit.DiT",
        "process": "diffusion.process.CleanFlowMatching",
    }
    words = {
        "codec": {"objects": 2, "renderer": "worldgen.simulation.rendering.render.film_trajectory"},
        "conditioner": {"dim": 16, "queries": 2},
        "denoiser": {"dim": 24, "depth": 1, "heads": 2, "patch": [1, 1, 1]},
        "process": {},
    }
    parts = {part: {"class_path": f"worldgen.{names[part]}", "init_args": words[part]} for part in names}
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": {**parts, "sampler": {"steps": 2}}}))
    torch.manual_seed(0)
    model = WorldModel(
        codec=StateCodec(objects=2, renderer=film_trajectory),
        conditioner=Conditioner(dim=16, queries=2),
        denoiser=lambda *sizes: DiT(*sizes, dim=24, depth=1, heads=2, patch=(1, 1, 1)),
        process=CleanFlowMatching(),
        sampler=Sampler(steps=2),
    )
    save_weights(model, folder)
    return folder


def test_a_generator_that_foresees_stillness_prefers_it_and_swapped_labels_give_the_complement(
    untrained, tmp_path, capsys, monkeypatch
):
    labels = 1

    def worlds(family, seed, size):
        """A right clip and a broken one that moves more (one world) or not at all (two), or the other way."""
        clip = simulate_clip(family, seed, size=size)
        pair = (clip, change_gravity(clip, 2.0) if seed == 5 else freeze(clip))
        right, wrong = pair[::labels]
        shown = [Violation(ORIGINAL, 0.0, "", right, 0), Violation("changed", 1.0, "", wrong, 2)]
        return World(right), shown

    monkeypatch.setattr(calibrating, "_simulate", worlds)
    words = ["--families", "drop", "--clips", "3", "--seed", "5", "--run", str(untrained), "--processes", "1"]
    for labels, expected in ((1, 2 / 3), (-1, 1 / 3)):  # swapped labels give 1 - PPE
        out = tmp_path / str(labels)
        cli.main(["calibrate", "--out", str(out), *words])
        assert f"PPE {expected:.3f} (variation-weighted" in capsys.readouterr().out
        with open(out / "ppe-truth.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["variation"] for row in rows] == ["changed 1", "variation-weighted", "dataset-weighted"]
        assert all((float(row["ppe"]), row["pairs"]) == (pytest.approx(expected), "3") for row in rows)
        assert f"--run {untrained}" in json.loads((out / "calibration-truth.json").read_text())["command"]


def test_a_world_that_the_generator_cannot_encode_is_skipped_as_a_whole(untrained, tmp_path, monkeypatch):
    def worlds(family, seed, size):
        clip = simulate_clip("drop" if seed else "cradle", seed, size=size)  # a cradle has too many balls
        shown = [Violation(ORIGINAL, 0.0, "", clip, 0), Violation("frozen", 1.0, "", freeze(clip), 0)]
        return World(clip), shown

    monkeypatch.setattr(calibrating, "_simulate", worlds)
    found = calibrating.calibrate_checks(tmp_path / "two", ["drop"], 2, "truth", 0, untrained, 1)
    assert found.clips == 1
    with pytest.raises(ValueError, match="None of 1 worlds could be judged; .*StateCodec holds 2 objects"):
        calibrating.calibrate_checks(tmp_path / "one", ["drop"], 1, "truth", 0, untrained, 1)
    assert not (tmp_path / "one").exists()


def test_a_second_take_is_right_and_a_folder_that_is_no_run_gets_one_sentence(
    few, untrained, tmp_path, capsys
):
    command = ["calibrate", "--out", str(tmp_path / "out"), "--families", "drop", "--clips", "1", "--run"]
    cli.main([*command, str(untrained)])
    with open(tmp_path / "out" / "ppe-truth.csv", newline="") as file:
        found = {row["variation"]: (float(row["ppe"]), row["pairs"]) for row in csv.DictReader(file)}
    # Weaker gravity moves less; the clip and its second take are each paired with it.
    assert found["weak gravity 1"] == (1.0, "2") and found["variation-weighted"] == (1.0, "4")
    config = untrained / "config.yaml"
    for name, text, sentence in (
        ("data", None, "must hold config.yaml"),
        ("empty", "trainer: null", "must have a section 'model'; it has none"),
        ("unfinished", config.read_text(), "has no weights yet"),
    ):
        (tmp_path / name).mkdir()
        if text is not None:
            (tmp_path / name / "config.yaml").write_text(text)
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main([*command, str(tmp_path / name), "--out", str(tmp_path / "none")])
        error = capsys.readouterr().err.strip()
        assert stop.value.code == 2 and sentence in error and len(error.splitlines()) == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_processes_change_nothing_but_the_time(tmp_path):
    for count in (1, 2):
        calibrating.calibrate_checks(
            tmp_path / str(count), ["drop", "collide"], 1, "truth", 0, processes=count
        )
    for name in ("calibration-truth.csv", "calibration-truth.json", "calibration-truth.md"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    lines = csv.DictReader((tmp_path / "2" / "calibration-truth.csv").open())
    assert {"recolor", "swell", "reversed"} <= {line["violation"] for line in lines}
