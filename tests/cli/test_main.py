import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from worldgen.cli import main as cli

ROOT = Path(__file__).resolve().parents[2]


def fails(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("worldgen: ")
    return error


def run(*words):
    """What is printed, and which packages beyond Python's own and ours it took."""
    code = (
        "import sys\nbefore = {*sys.modules}\n"
        "from worldgen.cli.main import main\ntry:\n    main(sys.argv[1:])\n"
        "except SystemExit as stop:\n    print(stop.code)\n"
        "taken = {name.partition('.')[0] for name in {*sys.modules} - before} - {'worldgen'}\n"
        "print(*sorted(taken - sys.stdlib_module_names))"
    )
    words = [sys.executable, "-c", code, *words]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    *said, taken = done.stdout.splitlines()
    return said, done.stderr, {*taken.split()}


def test_help_lists_every_command_and_needs_no_package_but_ours():
    """So it runs where a wheel was installed without what it depends on."""
    said, _, taken = run("--help")
    assert not taken
    assert all(any(line.strip().startswith(name + " ") for line in said) for name in cli.COMMANDS)


@pytest.mark.parametrize(
    "words, told",
    [
        (["fti"], "has no command 'fti'. Did you mean fit?"),
        (["fit"], "worldgen fit needs yaml files: worldgen fit -c configs/base.yaml"),
        (["fit", "--typo"], "worldgen fit has no option --typo"),
        (["fit", "-c", "missing.yaml"], "There is no file missing.yaml"),
        (["fit", "-c", "configs/bases.yaml"], "Did you mean configs/base.yaml?"),
        (["fit", "--model.typo", "1"], "model has no key typo; it has codec, conditioner"),
        (["fit", "-c", "configs/base.yaml", "--trainer.max_step", "1"], "Did you mean max_steps?"),
        (["pretrain", "codec", "--model.codek", "1"], "Did you mean codec?"),
        (["cache", "verify", "--smaple", "1"], "Did you mean --sample?"),
        (["generate", "--first-frame", "x"], "Did you mean --first-frames?"),
        (["generate", "x", "--known", "2"], "worldgen generate needs --out"),
        (["evaluate", "run", "x", "--known", "2"], "--known is called --context-frames now"),
        (["probe", "--encodr", "x"], "Did you mean --encoder?"),
        (["simulate", "--clips", "many"], "--clips takes a whole number; got 'many'."),
    ],
)
def test_a_mistake_is_answered_before_anything_heavy_is_imported(words, told):
    said, error, taken = run(*words)
    heavy = {"torch", "lightning", "jsonargparse", "transformers", "numpy", "rich"}
    assert said == ["2"] and not taken & heavy
    assert error.startswith("worldgen: ") and told in error and error.count("\n") == 1


def test_bad_words_get_one_sentence(capsys, tmp_path):
    assert "has no command 'dance'; it has demo, simulate," in fails(capsys, "dance")
    assert "readout, sound, voice, control or super_resolution; got dance." in fails(
        capsys, "pretrain", "dance"
    )
    assert "worldgen data has no command 'shw'. Did you mean show?" in fails(capsys, "data", "shw")


def test_a_part_that_cannot_be_loaded_says_why_and_not_of_which_types_it_is_not(capsys, tmp_path):
    configs = [f"-c={ROOT}/configs/{name}.yaml" for name in ("base", "size/nano", "perception")]
    video = f"--model.conditioner.video.init_args.checkpoint={tmp_path}"
    error = fails(capsys, "fit", *configs, video)
    assert "A V-JEPA 2 folder must hold config.json" in error
    assert "Union" not in error and "Namespace" not in error


@pytest.mark.parametrize(
    "said, told",
    [
        (
            """Parser key "model.lr":\n  Expected a <class 'float'>. Got value: abc""",
            "--model.lr: Expected a float. Got value: abc",
        ),
        (
            """Parser key "model.conditioner": Problem with given class_path """
            """'worldgen.conditioning.Conditioner': """
            """Parser key "text": Problem with given class_path 'worldgen.encoders.t5.T5': Parser key """
            """"length": """
            """Expected a <class 'int'>. Got value: x""",
            "--model.conditioner.text.length: Expected a int. Got value: x",
        ),
        (
            """Parser key "model.measures": - Expected a path but 7 either not accessible or invalid """
            """- Expected a <class 'list'>. Got value: 7""",
            "--model.measures: Expected a list. Got value: 7",
        ),
    ],
)
def test_what_jsonargparse_says_is_said_in_words(said, told):
    assert cli._one_line(ValueError(said)) == told


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_place_that_may_not_be_used_says_what_to_do(code):
    why = os.strerror(code)
    told = f"logs/run must be where you may read and write ({why}). Change its rights, or name another place."
    assert cli._one_line(OSError(code, why, "logs/run")) == told
    assert cli._one_line(FileNotFoundError(errno.ENOENT, "No such file", "a.mp4")) == "No such file: 'a.mp4'"


@pytest.mark.parametrize("words", [["--help"], ["generate", "--help"], ["fit", "--help"], ["--version"]])
def test_who_reads_no_further_is_told_nothing(words):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "worldgen", *words],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_other_processes_of_a_training_are_started_by_the_script_that_was_called(monkeypatch):
    """Lightning starts them by the first word, from whatever folder."""
    seen = []
    monkeypatch.setitem(
        cli.COMMANDS, "runs", cli.Command("", lambda words: seen.append(list(sys.argv)), lambda words: None)
    )
    for program, kept in (("/opt/bin/worldgen", "/opt/bin/worldgen"), ("/usr/bin/pytest", "worldgen")):
        monkeypatch.setattr(sys, "argv", [program, "recipe", "x.yaml"])
        cli.run_command(["runs", "outputs"])
        assert seen.pop() == [kept, "runs", "outputs"]
        assert sys.argv == [program, "recipe", "x.yaml"]
