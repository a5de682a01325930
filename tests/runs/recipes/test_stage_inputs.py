"""What commands read, told by their words and yaml files."""

import shlex
from pathlib import Path

import pytest

from worldgen.runs.recipes.stage_inputs import find_inputs

OUT = Path("out")


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("data/train", "assets/t5", "runs/a/report", "runs/b", "out/cache"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "base.yaml").write_text(
        "data: {train: data/train, val: data/val}\nmodel: {text: {init_args: {checkpoint: assets/t5}}}\n"
        "trainer: {default_root_dir: runs, logger: {init_args: {save_dir: runs, name: data}}}\n"
    )


def found(line: str, made: str = "", makes: str = "elsewhere") -> tuple[set[str], set[str]]:
    made_paths = [Path(name) for name in made.split()]
    both = find_inputs(shlex.split(line), made_paths, [Path(makes)], OUT)
    return tuple({str(path) for path in paths} for paths in both)  # pyright: ignore


def test_a_fit_reads_its_yaml_files_and_what_they_name():
    inputs, wanted = found("fit -c base.yaml")
    assert inputs == {"base.yaml", "data/train", "assets/t5"}
    assert wanted == {"base.yaml", "data/train", "data/val"}


def test_words_go_over_yaml_and_null_takes_a_part_out():
    inputs, wanted = found(
        "fit -c base.yaml --data.train out/data --data.val null --model.text=null", "out/data"
    )
    assert inputs == {"base.yaml", "out/data"} and wanted == {"base.yaml", "out/data"}


def test_what_is_written_is_no_input_and_nor_is_a_cache_in_the_folder_of_the_recipe():
    assert found("simulate --out data/train")[0] == set()
    inputs, wanted = found("fit -c base.yaml --model.cache out/cache --data.val null")
    assert "out/cache" not in inputs | wanted


def test_what_lies_within_an_output_of_a_stage_is_an_input_and_must_be_made():
    inputs, wanted = found(
        "fit -c base.yaml --model.codec.init_args.checkpoint out/runs/codec/codec", "out/runs/codec"
    )
    assert "out/runs/codec/codec" in inputs & wanted


@pytest.mark.parametrize(
    "line", ["evaluate run runs/a --data data/train", "evaluate runs/a --data data/train"]
)
def test_values_in_front_are_read(line):
    assert found(f"{line} --out runs/x", makes="runs/x")[0] == {"runs/a", "data/train"}
    assert "runs/a" in found(f"{line} --out runs/a/report", makes="runs/a/report")[0], "it holds what is made"
    assert found("compare runs/a runs/b --out c")[1] == {"runs/a", "runs/b"}


def test_names_that_are_no_paths_are_none():
    assert found("simulate --families drop data --out d")[0] == set()
    assert found("fit -c base.yaml --data.val null --model.text.init_args.checkpoint google/t5-small")[1] == {
        "base.yaml",
        "data/train",
    }
