"""What the README tells people to type is understood, and what it points at is there."""

import os
import re
import shlex
from pathlib import Path

import pytest

from worldgen.cli import main as cli
from worldgen.cli.words import keys, options

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
COMMAND_PAGES = sorted((ROOT / "docs" / "commands").glob("*.md"))
PAGES = [*COMMAND_PAGES, *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "how").glob("*.md"))]


def lines_of(text: str) -> list[str]:
    """What a page tells people to type."""
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


LINES = lines_of(README)
ALL_LINES = dict.fromkeys(
    line for text in (README, *(page.read_text() for page in PAGES)) for line in lines_of(text)
)


class Understood(Exception):
    """Raised in place of what a command does."""


def stop(*_, **__):
    raise Understood


def test_the_first_two_commands_are_scripts_that_can_be_run():
    assert LINES[:2] == ["scripts/demo", "scripts/test"]
    assert all(os.access(ROOT / line, os.X_OK) for line in LINES[:2])


@pytest.mark.parametrize("line", [line for line in ALL_LINES if line.startswith("worldgen ")])
def test_commands_are_understood(line, monkeypatch):
    """The words are checked, and nothing is run."""
    monkeypatch.chdir(ROOT)
    read = options.read_words

    def read_and_stop(*arguments):
        read(*arguments)
        raise Understood

    monkeypatch.setattr(cli, "read_words", read_and_stop)
    check = keys.Keys.check_words

    def check_and_stop(*arguments):
        check(*arguments)
        raise Understood

    monkeypatch.setattr(keys.Keys, "check_words", check_and_stop)
    with pytest.raises(Understood):
        cli.main(shlex.split(line)[1:])


@pytest.mark.parametrize(
    "page",
    [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")] + PAGES,
)
def test_what_is_linked_is_there(page):
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing, f"{page.name} links to what is not there: {', '.join(missing)}"


def test_the_readme_is_read_at_a_glance_and_every_command_has_its_page():
    assert len(README.splitlines()) <= 80
    table = (ROOT / "docs" / "commands" / "README.md").read_text()
    linked = {target for target in re.findall(r"\]\(([^)#]+)\)", table)}
    assert linked == {page.name for page in COMMAND_PAGES} - {"README.md"}
    assert all(re.search(rf"\b{command}\b", table) for command in cli.COMMANDS)


def test_files_named_in_commands_are_there():
    named = [word for line in LINES for word in shlex.split(line) if word.startswith("assets/")]
    assert named and all((ROOT / word).exists() for word in named)


def test_no_placeholder_is_left():
    assert "RESULTS_TABLE" not in README
