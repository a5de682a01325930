"""The command of a report is the one that was given, whoever called."""

import shlex
import sys

import mujoco
import pytest
import torch

import worldgen
from worldgen.cli import main as cli
from worldgen.report.provenance import read_provenance

WORDS = ["evaluate", "--videos", "my clips", "--scale", "g"]


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("/somewhere/bin/worldgen", "worldgen"),
        ("/somewhere/worldgen/__main__.py", "worldgen"),
        ("study/my script.py", "python 'study/my script.py'"),
        ("/somewhere/other/__main__.py", "python /somewhere/other/__main__.py"),
        ("", "python"),
    ],
)
def test_the_command_is_what_a_shell_takes_back(program, command, monkeypatch):
    monkeypatch.setattr(sys, "argv", [program, *WORDS] if program else [""])
    expected = f"{command} {shlex.join(WORDS)}" if program else command
    assert read_provenance().command == expected


def test_words_given_to_main_are_those_of_the_command_line(monkeypatch):
    seen = []
    look = cli.Command("", lambda words: seen.append(read_provenance().command), lambda words: None)
    monkeypatch.setitem(cli.COMMANDS, "evaluate", look)
    monkeypatch.setattr(sys, "argv", ["/bin/worldgen", *WORDS])
    cli.main()
    monkeypatch.setattr(sys, "argv", ["some/script.py", "1"])
    cli.main(WORDS)
    assert seen == ["worldgen evaluate --videos 'my clips' --scale g"] * 2
    assert sys.argv == ["some/script.py", "1"]


def test_versions_are_those_that_computed():
    found = dict(read_provenance().versions)
    assert list(found) == ["worldgen", "torch", "mujoco"]
    assert (found["worldgen"], found["torch"]) == (worldgen.__version__, torch.__version__)
    assert found["mujoco"] == mujoco.__version__
