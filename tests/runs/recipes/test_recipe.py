"""Recipes run: what is done is kept, what changed is made anew, what stopped goes on."""

import re
from contextlib import suppress
from pathlib import Path

import pytest

from worldgen.cli import main as cli
from worldgen.runs.folder import open_run
from worldgen.runs.recipes import recipe as recipes
from worldgen.runs.recipes import stage_records
from worldgen.runs.recipes.recipe import plan_stages, run_recipe
from worldgen.runs.recipes.stages import read_recipe

ROOT = Path(__file__).resolve().parents[3]
RECIPE = """
stages:
  - name: simulate
    minutes: 2
    run: simulate --seed 3 --out {out}/data
    makes: "{out}/data"
  - name: train
    run: fit -c CONFIG --data.train {out}/data --model.cache {out}/cache
    makes: "{out}/runs/one"
  - name: judge
    minutes: 0.5
    run: evaluate run {out}/runs/one --data {out}/data --out {out}/runs/one/report
    makes: "{out}/runs/one/report"
"""


class Kitchen:
    """Commands that write a file, and remember their words."""

    def __init__(self, folder: Path) -> None:
        self.file, self.out, self.ran = folder / "recipe.yaml", folder / "out", []
        (folder / "base.yaml").write_text("model: {lr: 1}\n")
        self.text = RECIPE.replace("CONFIG", str(folder / "base.yaml"))
        self.stopped = ""

    def run(self, words) -> None:
        self.ran.append(list(words))
        makes = {"simulate": "data", "fit": "runs/one", "evaluate": "runs/one/report"}[words[0]]
        made = self.out / makes
        made.mkdir(parents=True, exist_ok=True)
        if words[0] == "fit":
            (self.out / "cache").mkdir(exist_ok=True)
            (self.out / "cache" / f"{len(self.ran)}").touch()
            (made / "checkpoints").mkdir(exist_ok=True)
            (made / "checkpoints" / "last.ckpt").write_text("step 7")
        if words[0] == self.stopped:
            raise SystemExit(143)
        (made / "made").write_text(" ".join(word for word in words if word not in ("--ckpt_path",)))

    def cook(self, dry: bool = False) -> list[str]:
        """The commands that were run."""
        self.file.write_text(self.text)
        self.ran = []
        with suppress(SystemExit):
            run_recipe(self.file, self.out, lambda words: None, self.run, dry)
        return [words[0] for words in self.ran]

    def states(self) -> list[str]:
        self.file.write_text(self.text)
        return [str(state) for state in plan_stages(read_recipe(self.file, self.out, lambda words: None))]


@pytest.fixture
def kitchen(tmp_path):
    return Kitchen(tmp_path)


def test_stages_run_in_order_and_what_is_done_is_kept(kitchen, capsys):
    assert kitchen.states() == ["to do"] * 3
    assert kitchen.cook() == ["simulate", "fit", "evaluate"]
    logger = [word.removeprefix("--trainer.logger.init_args.") for word in kitchen.ran[1] if "logger" in word]
    assert logger == [f"save_dir={kitchen.out}", "name=runs", "version=one"]
    capsys.readouterr()
    assert kitchen.cook() == [] and kitchen.states() == ["done"] * 3
    assert "All 3 stages are done." in capsys.readouterr().out


def test_the_time_of_a_stage_is_said_before_it_starts(kitchen, capsys):
    run = kitchen.run
    kitchen.run = lambda words: (print(f"RUN {words[0]}"), run(words))
    kitchen.cook()
    text = capsys.readouterr().out
    assert re.search(r"1/3 simulate: about 0:02:00 by the recipe .*\nRUN simulate", text)
    assert re.search(r"2/3 train: time not known .*\nRUN fit", text)
    assert "3 of 3 stages are left, about 0:02:30, and 1 of unknown time." in text
    kitchen.text = kitchen.text.replace("--seed 3", "--seed 4")
    assert kitchen.cook(dry=True) == []
    assert re.search(r"simulate +changed: its words +about 0:00:01\n", capsys.readouterr().out)


def test_another_machine_s_time_is_none(kitchen, capsys, monkeypatch):
    kitchen.cook()
    kitchen.text = kitchen.text.replace("--seed 3", "--seed 4")
    monkeypatch.setattr(recipes, "machine", lambda: "another")
    capsys.readouterr()
    kitchen.cook(dry=True)
    assert re.search(r"simulate +changed: its words +about 0:02:00 by the recipe", capsys.readouterr().out)


def test_changed_words_make_a_stage_and_what_rests_on_it_anew_and_keep_what_was_there(kitchen):
    kitchen.cook()
    kitchen.text = kitchen.text.replace("--seed 3", "--seed 4")
    assert kitchen.states() == ["changed: its words"] + [
        f"changed: perhaps, by {n}" for n in ("simulate", "simulate")
    ]
    assert kitchen.cook() == ["simulate", "fit", "evaluate"]
    assert "--ckpt_path" not in kitchen.ran[1], "of other data no checkpoint is gone on from"
    assert "--seed 3" in (kitchen.out / "data.before" / "made").read_text()
    assert kitchen.states() == ["done"] * 3


def test_an_input_made_again_with_the_same_bytes_changes_nothing(kitchen):
    kitchen.cook()
    (kitchen.out / "data.recipe.json").unlink()
    assert kitchen.cook() == ["simulate"]


@pytest.mark.parametrize(
    "change, told",
    [
        (
            lambda k: (k.out.parent / "base.yaml").write_text("model: {lr: 2}\n"),
            ["done", "changed: BASE", ""],
        ),
        (lambda k: (k.out / "data" / "made").write_text("edited"), ["done", "changed: OUT/data", ""]),
        (lambda k: (k.out / "runs" / "one" / "report" / "made").unlink(), ["done", "done", "done"]),
    ],
)
def test_it_is_said_which_input_changed(kitchen, change, told):
    kitchen.cook()
    change(kitchen)
    names = {"BASE": str(kitchen.out.parent / "base.yaml"), "OUT": str(kitchen.out)}
    for short, name in names.items():
        told = [text.replace(short, name) for text in told]
    assert [state for state, text in zip(kitchen.states(), told, strict=True) if text] == [
        t for t in told if t
    ]


def test_code_of_rooms_that_a_stage_does_not_use_does_not_count(kitchen, monkeypatch):
    kitchen.cook()
    digest = stage_records._digest_code
    for room, states in (
        ("simulation", ["changed: the code of simulation", "changed: perhaps, by simulate"]),
        ("tasks", ["done", "changed: the code of tasks"]),
        ("cli", ["done", "done"]),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(stage_records, "_digest_code", lambda p, r=room: "x" if p.name == r else digest(p))
            assert kitchen.states()[:2] == states


def test_an_output_that_is_gone_is_made_again(kitchen):
    kitchen.cook()
    (kitchen.out / "data" / "made").unlink()
    (kitchen.out / "data").rmdir()
    assert kitchen.states()[0] == f"changed: {kitchen.out / 'data'} is gone"
    assert kitchen.cook() == ["simulate"]


def test_a_stopped_fit_goes_on_from_its_checkpoint(kitchen):
    kitchen.stopped = "fit"
    assert kitchen.cook() == ["simulate", "fit"]
    assert kitchen.states() == ["done", "stopped", "to do"]
    kitchen.stopped = ""
    assert kitchen.cook() == ["fit", "evaluate"]
    assert kitchen.ran[0][-2:] == ["--ckpt_path", str(kitchen.out / "runs/one/checkpoints/last.ckpt")]


def test_a_run_that_no_recipe_made_is_not_written_into(kitchen):
    (kitchen.out / "runs" / "one").mkdir(parents=True)
    with pytest.raises(ValueError, match="which is there and was made by no recipe. Move it away"):
        kitchen.cook()


def test_a_stage_that_does_not_make_what_it_says_is_refused(kitchen):
    kitchen.run = lambda words: None
    with pytest.raises(ValueError, match="Stage simulate must make .*data, and did not"):
        kitchen.cook()


@pytest.mark.parametrize("text", ["", "{}", '{"words": 3}', "[]"])
def test_a_damaged_record_is_none(kitchen, text):
    kitchen.cook()
    (kitchen.out / "data.recipe.json").write_text(text)
    assert kitchen.cook() == ["simulate"]


def test_the_recipe_of_the_nano_weights_is_real(tmp_path, monkeypatch, capsys):
    """With a few clips and steps, by the commands themselves; a second run makes only what is missing."""
    text = (ROOT / "configs" / "recipes" / "nano.yaml").read_text()
    for before, after in (("2048", "64"), ("48 --seed 11", "16 --seed 11")):
        assert before in text
        text = text.replace(before, after)
    text = re.sub(r"max_steps \d+ --trainer.val_check_interval \d+", "max_steps 2", text)
    text = re.sub(r"--data.val \S+", "--data.val null", text)
    (tmp_path / "nano.yaml").write_text(text)
    monkeypatch.chdir(ROOT)
    words = ["recipe", str(tmp_path / "nano.yaml"), "--out", str(tmp_path / "out")]
    cli.main(words)
    run = tmp_path / "out" / "runs" / "generator"
    assert open_run(run).contexts == (1, 2)
    before = (run / "model.safetensors").stat().st_mtime_ns
    (tmp_path / "out" / "runs" / "t5").rename(tmp_path / "away")
    capsys.readouterr()
    cli.main(words)
    text = capsys.readouterr().out
    assert "3/5 train the codec: done before, kept" in text
    assert "5/5 train the generator: done before, kept" in text, "the same text encoder was made again"
    assert (run / "model.safetensors").stat().st_mtime_ns == before
