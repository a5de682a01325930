"""The how-to pages are tried: classes are loaded by path, configs opened, scripts parsed."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from worldgen.cli import main as cli
from worldgen.runs.folder import open_run
from worldgen.runs.listing import list_runs
from worldgen.study.ablation.experiment import read_experiment

ROOT = Path(__file__).resolve().parents[2]
PAGES = {page.stem: page.read_text() for page in sorted((ROOT / "docs/how").glob("*.md"))}


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", page, flags=re.DOTALL)


LINES = [line for page in PAGES.values() for block in blocks(page, "bash") for line in block.splitlines()]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with what the pages on an own encoder and an own metric let people save, on the path."""
    for name in ("encoder", "metric"):
        (code,), (yaml,) = blocks(PAGES[name], "python"), blocks(PAGES[name], "yaml")
        assert f"Save this as `my_{name}.py`" in PAGES[name]
        (tmp_path / f"my_{name}.py").write_text(code)
        (tmp_path / f"my_{name}.yaml").write_text(yaml)
        monkeypatch.delitem(sys.modules, f"my_{name}", raising=False)
    for name in ("configs", "assets"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("my_encoder", "my_metric"):
        sys.modules.pop(name, None)


def test_an_own_encoder_and_an_own_metric_are_trained_with_by_their_class_paths(own):
    few = "--families drop --clips 4 --frames 7 --processes 1 --out data/clips"
    cli.main(["simulate", *few.split()])
    configs = ("configs/base", "configs/size/nano", "configs/data/mujoco", "my_encoder", "my_metric")
    small = "--data.train data/clips --data.val data/clips --data.batch_size 2 --trainer.max_steps 2"
    small += " --trainer.val_check_interval 2 --model.sampled 2 --trainer.enable_progress_bar false"
    cli.main(["fit", *(f"-c={name}.yaml" for name in configs), *small.split()])
    (run,) = list_runs(Path("outputs"))
    assert run.state == "finished"
    assert run.measures["val/brightness_difference/n"] == 2
    assert 0 != run.measures["val/brightness_difference"] < 1
    encoder = open_run(run.folder).conditioner.video
    assert (type(encoder).__module__, type(encoder).__name__) == ("my_encoder", "MeanColor")
    assert encoder.gain == 2.0  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("worldgen fit")])
def test_the_configs_of_a_training_are_opened_together(line, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    _, *words = shlex.split(line)
    with pytest.raises(SystemExit) as stop:
        cli.main([*words, "--print_config"])
    printed = capsys.readouterr().out
    assert stop.value.code == 0 and "class_path: worldgen.diffusion.dit.DiT" in printed
    for name, logger in (("wandb", "WandbLogger"), ("mlflow", "MLFlowLogger"), ("folder", "partial: true")):
        assert (f"/{name}.yaml" in line) == (logger in printed)


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("worldgen ablate")])
def test_the_study_of_a_page_is_one(line):
    _, _, path, *_ = shlex.split(line)
    assert read_experiment(ROOT / path).arms


def test_the_script_for_slurm_asks_for_the_processes_that_its_training_has():
    page = (ROOT / "docs/commands/scale.md").read_text()
    (script,) = (block for block in blocks(page, "bash") if block.startswith("#!/bin/bash\n"))
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    (line,) = (line for line in script.replace("\\\n", " ").splitlines() if line.startswith("srun "))
    _, program, *words = shlex.split(line)
    assert program == "worldgen"
    cli.check_command(words)
    asked = dict(re.findall(r"--([\w-]+)=(\S+)", script))
    assert asked["nodes"] == words[words.index("--trainer.num_nodes") + 1]
    assert asked["ntasks-per-node"] == words[words.index("--trainer.devices") + 1]
    assert asked["signal"] in PAGES["slurm"]


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_names_by_the_way_is_there(name):
    """Extras, and commands within its sentences."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    page = re.sub(r"```.*?```", "", PAGES[name], flags=re.DOTALL)
    assert set(re.findall(r"worldgen\[(\w+)\]", page)) <= set(extras)
    groups = {"evaluate": cli.EVALUATE, "data": cli.DATA, "runs": {}, "cache": cli.CACHE}
    for command, member in re.findall(r"`worldgen (\w+)(?: (\w+))?", page):
        assert command in cli.COMMANDS
        assert not groups.get(command) or member in groups[command]
