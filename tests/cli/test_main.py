import subprocess
import sys
import time
from pathlib import Path

import pytest

from worldgen.cli import main as cli

ROOT = Path(__file__).resolve().parents[1]


def fails(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("worldgen: ")
    return error


def test_help_lists_every_command_and_imports_nothing_heavy():
    code = "import sys; from worldgen.cli.main import main; main(['--help']); print('torch' in sys.modules)"
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    seconds = time.monotonic() - begun
    assert done.stdout.strip().endswith("False")
    assert all(name in done.stdout for name in cli.COMMANDS)
    assert seconds < 5, "generous: this machine may be busy; benchmarks/ holds the real figure"


def test_words_are_spelled_for_jsonargparse():
    spell = cli._spell
    assert spell(["RUN", "--first-frames", "a b.mp4", "--seed=1"], True) == [
        "--run",
        "RUN",
        "--first_frames",
        "a b.mp4",
        "--seed=1",
    ]
    assert spell(["--families", "drop", "bounce", "--clips", "3"], False) == [
        "--families=[drop,bounce]",
        "--clips",
        "3",
    ]
    assert spell(["--from-scratch", "--out", "x"], False) == ["--from_scratch=true", "--out", "x"]


def test_simulate_then_a_second_run_keeps_what_is_there(tmp_path, capsys):
    words = ["simulate", "--families", "drop", "collide", "--clips", "4", "--size", "16", "--frames", "4"]
    words += ["--processes", "1", "--out", str(tmp_path / "clips")]
    cli.main(words)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "clips").glob("*.tar")}
    cli.main(words)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "clips").glob("*.tar")}
    assert "4 clips in" in capsys.readouterr().out


def test_bad_words_get_one_sentence(capsys, tmp_path):
    assert "has no command 'dance'" in fails(capsys, "dance")
    assert "takes codec, t5, vjepa, imagebind or control; got nothing" in fails(capsys, "pretrain")
    assert "got spin" in fails(capsys, "simulate", "--families", "spin", "--out", str(tmp_path))
    assert "either RUN --data FOLDER or --videos FOLDER or --tracks FILE" in fails(capsys, "evaluate")
    assert "must hold config.yaml" in fails(capsys, "evaluate", str(tmp_path), "--data", str(tmp_path))
    assert "No folder of videos" in fails(capsys, "evaluate", "--videos", str(tmp_path / "nowhere"))
    assert "must hold videos" in fails(capsys, "evaluate", "--videos", str(tmp_path))
    assert "--lpips compares with a truth" in fails(capsys, "evaluate", "--videos", "a", "--lpips", "b.pth")
    assert "No AlexNet weights at b.pth" in fails(capsys, "evaluate", "r", "--data", "d", "--lpips", "b.pth")
    assert "unrecognized arguments: --speed" in fails(
        capsys, "simulate", "--out", "x", "--speed", "3"
    ).replace("'", "")


def test_damaged_videos_are_skipped_and_counted_and_alone_they_are_an_error(capsys, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "empty.mp4").touch()
    (folder / "noise.mp4").write_bytes(b"not a video" * 100)
    error = fails(capsys, "evaluate", "--videos", str(folder), "--out", str(tmp_path / "report"))
    assert "None of 2 videos can be judged" in error and "empty.mp4" in error


def test_a_part_that_cannot_be_loaded_says_why_and_not_of_which_types_it_is_not(capsys, tmp_path):
    configs = [
        f"-c={path}" for path in ("configs/base.yaml", "configs/size/nano.yaml", "configs/perception.yaml")
    ]
    video = f"--model.conditioner.video.init_args.checkpoint={tmp_path}"
    error = fails(capsys, "fit", *configs, video)
    assert "A V-JEPA 2 folder must hold config.json" in error
    assert "Union" not in error and "Namespace" not in error
