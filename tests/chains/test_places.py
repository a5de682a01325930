"""Where nothing can be written a command says so in one sentence, before it computes anything."""

import os
from pathlib import Path

import pytest

from worldgen.cli.main import main

FOLDERS = {
    "simulate": "simulate --out {}",
    "data import": "data import videos --out {}",
    "evaluate run": "evaluate run somewhere --data data --out {}",
    "evaluate videos": "evaluate videos somewhere --out {}",
    "evaluate tracks": "evaluate tracks t.csv --out {}",
    "physics-iq": "evaluate benchmark physics-iq --generated a --real b --out {}",
    "intphys": "evaluate benchmark intphys --pairs a --encoder b --out {}",
    "videophy2": "evaluate benchmark videophy2 --videos a --judge b --out {}",
    "export": "export data --out {}",
    "compare": "compare a b --out {}",
    "calibrate": "calibrate --out {}",
    "demo": "demo --out {}",
    "sensitivity": "sensitivity run --data data --out {}",
    "retrieve": "retrieve weights --data data --out {}",
    "ablate": "ablate study.yaml --out {}",
}
FILES = {
    "data show": "data show shards --out {}",
    "generate": "generate run --prompt x --first-frames y --out {}",
    "runs": "runs . --csv {}",
}


def refusal(words: str, place: Path | str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(words.format(place).split())
    told = capsys.readouterr().err
    assert ended.value.code == 2 and told.count("\n") == 1 and str(place).split("/")[-1] in told
    return told


@pytest.mark.parametrize("name", FOLDERS)
def test_a_file_in_the_way_of_a_folder_is_left_alone(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("mine")
    assert "must be a folder; mine is a file" in refusal(FOLDERS[name], "mine", capsys)
    with pytest.raises(SystemExit):
        main(FOLDERS[name].format("mine/below/it").split())
    assert f"must lie in a folder; {tmp_path}/mine is a file" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"] and (
        tmp_path / "mine"
    ).read_text() == "mine"


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_the_way_of_a_file_is_left_alone(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert "must be a file; mine is a folder" in refusal(FILES[name], "mine", capsys)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


@pytest.mark.parametrize("name", FOLDERS | FILES)
def test_a_place_that_may_not_be_written_is_refused_at_once(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, how: False)  # root may write where others may not
    with pytest.raises(SystemExit) as ended:
        main((FOLDERS | FILES)[name].format("new/mine").split())
    assert ended.value.code == 2
    assert f"must be where you may write; {tmp_path} may not be written" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["evaluate tracks t.csv", "demo", "compare a b"])
def test_the_place_that_is_taken_when_none_is_given_is_looked_at_too(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("report", "outputs", "comparison"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(SystemExit):
        main(words.split())
    assert " is a file. Name another" in capsys.readouterr().err
