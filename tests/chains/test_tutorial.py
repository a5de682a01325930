"""The tutorial is run: every command of its page, in order, at small size, in an empty folder."""

import re
import shlex
from functools import partial
from pathlib import Path

import pytest

from worldgen.cli import main as cli
from worldgen.evaluation import generator
from worldgen.evaluation.generator import Extent

ROOT = Path(__file__).resolve().parents[2]
SMALLER = {
    "--clips 512": "--clips 32",  # a batch of the study
    "--clips 60": "--clips 3",
    "--clips 30": "--clips 1",
    "--trainer.max_steps 600": "--trainer.max_steps 2",
    "{steps: 200}": "{steps: 2}",
    "seeds: [0, 1, 2]": "seeds: [0, 1]",
    "clips: 30}": "clips: 2}",
}
"""What the page says, and what is run instead; everything else is run as it stands."""


def steps_of(page: str) -> list[tuple[str, str]]:
    """What a reader does, in order: a path and its text for a file that is saved, else nothing and a line."""
    steps = []
    for before, kind, block in re.findall(r"([^\n]*)\n\n```(\w+)\n(.*?)```", page, flags=re.DOTALL):
        if kind == "bash":
            steps += [("", line) for line in block.splitlines() if line.strip()]
        else:
            (path,) = re.findall(rf"as `([^`]+\.{kind})`", before)
            steps.append((path, block))
    return steps


def made_by(page: str) -> set[str]:
    """Files and folders that the commands, or the words about them, name below the tutorial's own folders."""
    return set(re.findall(r"(?:data|outputs)/tutorial/[\w/]+(?:\.\w+)?", page))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty one, but for what stands in the repository."""
    for name in ("configs", "assets"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)


def test_every_command_of_the_tutorial_runs_after_the_ones_before_it(folder, capsys, monkeypatch):
    # The linear baseline is fitted on 1500 scenes otherwise: a minute of a core.
    fewer = partial(generator.evaluate_folder, extent=Extent(regression_clips=60))
    monkeypatch.setattr(generator, "evaluate_folder", fewer)
    page = (ROOT / "docs/tutorial.md").read_text()
    for said, small in SMALLER.items():
        assert said in page, f"the tutorial no longer says {said!r}"
        page = page.replace(said, small)
    steps = steps_of(page)
    assert [path for path, _ in steps if path] == ["outputs/tutorial/study.yaml"]
    assert len(steps) - 1 == len(re.findall(r"^worldgen ", page, flags=re.MULTILINE)) > 8
    told = {}
    for path, text in steps:
        if path:
            Path(path).write_text(text)
            continue
        program, *words = shlex.split(text)
        assert program == "worldgen", f"this test runs no {program}: {text}"
        try:
            cli.main(words)
        except SystemExit:
            pytest.fail(f"{text}\n{capsys.readouterr().err}")
        told[text] = capsys.readouterr().out
    assert [name for name in made_by(page) if not Path(name).exists()] == []
    assert Path("outputs/tutorial/again.mp4").read_bytes() == Path("outputs/tutorial/out.mp4").read_bytes()
    (runs,) = (out for text, out in told.items() if text.startswith("worldgen runs"))
    assert re.search(r"generator/version_0\s+finished\s+2\b", runs)
    tried, studied = list(told.values())[-2:]
    assert "4 cells, 2 steps each" in tried and "verdict" not in tried.partition("To run")[0]
    assert re.search(r"no_text .* screening", studied)
    assert Path("outputs/studies/study/study.html").is_file()
