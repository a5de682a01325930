"""Recipes that cannot be run are refused in a sentence, before anything is."""

import re
from pathlib import Path

import pytest

from worldgen.cli import main as cli
from worldgen.runs.recipes.stages import read_recipe

ROOT = Path(__file__).resolve().parents[3]
RECIPES = [*(ROOT / "configs" / "recipes").glob("*.yaml")]
RECIPES += [
    path
    for path in (ROOT / "experiments").rglob("*.yaml")
    if path.read_text().startswith("# worldgen recipe")
]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe_is_understood_and_opens_with_its_command(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    stages = read_recipe(path, Path("nowhere"), cli.check_command)
    assert all(stage.minutes for stage in stages)
    assert path.read_text().startswith(f"# worldgen recipe {path.relative_to(ROOT)} --out ")


def test_all_experiments_and_the_demo_have_recipes_and_no_other_list_of_commands():
    assert len(RECIPES) >= 4
    assert not list((ROOT / "experiments").rglob("*.sh"))


def stage(name="one", run="simulate --out {out}/data", makes="'{out}/data'", more=""):
    return f"- name: {name}\n  run: {run}\n  makes: {makes}\n{more}"


BAD = {
    "must be a list of `stages`, and nothing else": "steps: []",
    "must be yaml; it cannot be read from line": "stages: [",
    "stage 1 must have name, run and makes; got 'simulate'": ["- simulate\n"],
    "stage 1 has no makes; a stage has name, minutes, run, makes, needs": ["- name: a\n  run: simulate\n"],
    "stage 1 has outputs; a stage has": [stage(more="  outputs: a\n")],
    "stage 1: minutes must be a number above 0; got -1": [stage(more="  minutes: -1\n")],
    "stage 1: run, makes and needs are text; got 3": [stage(makes="[3]")],
    "stage 1 has {data}; {out} is the only variable": [stage(run="simulate --out {data}/a")],
    "stage 1: run must be a command line; it cannot be parted": [stage(run="simulate --out 'a")],
    "each stage has a name of its own; one came twice": [stage(), stage(makes="b")],
    "/data is made by two stages, one and two": [stage(), stage("two")],
    "stage one: worldgen has no command 'simulat'. Did you mean simulate?": [stage(run="simulat --out a")],
    "stage one: worldgen simulate has no option --clip. Did you mean --clips?": [
        stage(run="simulate --clip 3 --out a")
    ],
    "stage one: worldgen cache has no command 'vid'": [stage(run="cache vid --out a", makes="a")],
    "stage one: worldgen pretrain takes codec, decoder,": [stage(run="pretrain vae -c a.yaml", makes="a")],
    "stage one: There is no file a.yaml for -c": [stage(run="fit -c a.yaml", makes="a")],
    "stage one: --clips must be from 1 to": [stage(run="simulate --clips 0 --out a")],
    "stage one needs data/nowhere, which is not there, and no stage before it makes it": [
        stage(run="evaluate run assets/nano/generator --data data/nowhere --out a", makes="a")
    ],
    "/data, which is not there, and stage two makes it later; put that first": [
        stage(run="evaluate run assets/nano/generator --data {out}/data --out a", makes="a"),
        stage("two"),
    ],
    "/dta, which is not there, and no stage before it makes it": [
        stage(),
        stage("two", "evaluate run assets/nano/generator --data {out}/dta --out a", "a"),
    ],
    "stage one needs data/nowhere, which": [stage(more="  needs: data/nowhere\n")],
    "stage one needs data/nosuchplace, which": [
        stage(run="fit -c configs/data/mujoco.yaml --data.train data/nosuchplace", makes="a")
    ],
}


@pytest.mark.parametrize("told", BAD)
def test_what_cannot_be_run_is_refused_before_anything_is(told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(cli, "run_command", pytest.fail)
    given, file = BAD[told], tmp_path / "bad.yaml"
    file.write_text(given if isinstance(given, str) else "stages:\n" + "".join(given))
    with pytest.raises((ValueError, OSError), match=re.escape(told)) as refused:
        cli.recipe(file, tmp_path / "out")
    assert len(str(refused.value).splitlines()) == 1 and not (tmp_path / "out").exists()


def test_a_recipe_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no recipe .*; those of the project are in configs"):
        read_recipe(tmp_path / "no.yaml", tmp_path, cli.check_command)
