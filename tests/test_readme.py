"""What the README tells people to type is understood, and what it points at is there."""

import os
import re
import shlex
from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from worldgen.cli import main as cli
from worldgen.cli import make as commands
from worldgen.cli import study as verdicts
from worldgen.cli.evaluate import evaluate, evaluate_benchmark

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
LINES = [
    line.strip()
    for block in re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
PLAIN = {
    "simulate": commands.simulate,
    "generate": commands.generate,
    "evaluate": evaluate,
    "demo": commands.demo,
    "export": commands.export,
    "compare": verdicts.compare,
    "calibrate": verdicts.calibrate,
    "sensitivity": verdicts.sensitivity,
}


def test_the_first_two_commands_are_scripts_that_can_be_run():
    assert LINES[:2] == ["scripts/demo", "scripts/test"]
    assert all(os.access(ROOT / line, os.X_OK) for line in LINES[:2])


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("worldgen ")])
def test_commands_are_understood(line):
    command, *words = shlex.split(line)[1:]
    assert command in cli.COMMANDS
    if command in PLAIN:
        parser = ArgumentParser(exit_on_error=False)
        benchmark = command == "evaluate" and "--benchmark" in words
        parser.add_function_arguments(evaluate_benchmark if benchmark else PLAIN[command])
        bare = {"compare": ["--reports"], "export": ["--clip"]}.get(command, [])
        runs = command in ("generate", "evaluate", "sensitivity")
        parser.parse_args(cli._spell(bare + words, with_run=runs))
    configs = [word for word in words if word.endswith(".yaml")]
    assert all((ROOT / config).is_file() for config in configs)


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
