"""What the README tells people to type is understood, and what it points at is there."""

import os
import re
import shlex
from pathlib import Path

import pytest

from worldgen.cli import main as cli
from worldgen.cli import options, train

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
LINES = [
    line.strip()
    for block in re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]


class Understood(Exception):
    """Raised in place of what a command does."""


def stop(*_, **__):
    raise Understood


def test_the_first_two_commands_are_scripts_that_can_be_run():
    assert LINES[:2] == ["scripts/demo", "scripts/test"]
    assert all(os.access(ROOT / line, os.X_OK) for line in LINES[:2])


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("worldgen ")])
def test_commands_are_understood(line, monkeypatch):
    """The words are checked, and nothing is run."""
    monkeypatch.chdir(ROOT)
    read = options.read_words

    def read_and_stop(*arguments):
        read(*arguments)
        raise Understood

    monkeypatch.setattr(cli, "read_words", read_and_stop)
    check = train.Training.answers

    def check_and_stop(*arguments):
        check(*arguments)
        raise Understood

    monkeypatch.setattr(train.Training, "answers", check_and_stop)
    with pytest.raises(Understood):
        cli.main(shlex.split(line)[1:])


def test_what_is_linked_is_there():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    missing = [target for target in targets if "://" not in target and not (ROOT / target).exists()]
    assert not missing


def test_files_named_in_commands_are_there():
    named = [word for line in LINES for word in shlex.split(line) if word.startswith("assets/")]
    assert named and all((ROOT / word).exists() for word in named)


def test_no_placeholder_is_left():
    assert "RESULTS_TABLE" not in README
