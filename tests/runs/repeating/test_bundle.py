import json

import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from worldgen.runs.repeating.bundle import command_of, environment, hash_folder, read_bundle, write_bundle


@pytest.fixture
def run(tmp_path):
    import inspect

    from worldgen.tasks.parts.dynamics import DynamicsTask

    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").write_bytes(b"one")
    (tmp_path / "weights.pt").write_bytes(b"two")
    model = dict.fromkeys(inspect.signature(DynamicsTask).parameters, 1)
    model["dynamics"] = {"init_args": {"checkpoint": str(tmp_path / "weights.pt")}}
    config = {"seed_everything": 3, "model": model, "data": {"train": str(tmp_path / "clips")}}
    (folder / "config.yaml").write_text(json.dumps(config))
    with SummaryWriter(folder) as writer:
        for step in range(4):
            writer.add_scalar("train/loss", 1 / (1 + step), step, new_style=True)
        writer.add_scalar("val/loss", 0.25, 3, new_style=True)
    return folder


def test_a_bundle_holds_what_a_run_was_made_of_and_what_came_of_it(run, tmp_path):
    made = read_bundle(write_bundle(run, tmp_path / "bundle"))
    assert (made.command, made.seed) == ("pretrain dynamics", 3)
    assert made.data == {"train": hash_folder(tmp_path / "clips")} and len(made.data["train"]) == 16
    assert made.weights == {str(tmp_path / "weights.pt"): hash_folder(tmp_path / "weights.pt")}
    assert made.measures == {"val/loss": 0.25}
    assert [step for step, _ in made.losses] == [0, 1, 2, 3] and made.losses[1][1] == pytest.approx(0.5)
    assert made.environment == environment() and made.environment["torch"] == torch.__version__.split("+")[0]
    assert (tmp_path / "bundle" / "config.yaml").read_text() == (run / "config.yaml").read_text()


def test_a_hash_knows_names_and_contents(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    first = hash_folder(tmp_path / "a")
    (tmp_path / "a" / "x").write_text("2")
    second = hash_folder(tmp_path / "a")
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "y")
    assert len({first, second, hash_folder(tmp_path / "a"), ""}) == 4
    assert hash_folder(tmp_path / "none") == ""


def test_what_is_no_run_or_is_there_is_refused(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="A bundle is made of a run"):
        write_bundle(tmp_path, tmp_path / "b")
    with pytest.raises(ValueError, match="must be a new folder; it is there"):
        write_bundle(run, tmp_path / "clips")
    next(run.glob("events*")).unlink()
    with pytest.raises(ValueError, match="has logged no number. Train it first"):
        write_bundle(run, tmp_path / "b")
    with pytest.raises(ValueError, match="A run's config must have the keys of a training; its model has a"):
        command_of({"model": {"a": 1}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.update(format=7), "another format; this version reads format 1"),
        (lambda content: content.pop("seed"), "missing 1 required positional argument: 'seed'"),
        (lambda content: content.update(more=1), "unexpected keyword argument 'more'"),
        (lambda content: content.update(command="data import x"), "its command must be one of fit, "),
        (lambda content: content.update(code=3), "its code must be a word"),
        (lambda content: content.update(weights=["a"]), "its weights must be a table of words"),
        (lambda content: content.update(data={"train": None}), "its data must be a table of words"),
        (lambda content: content.update(measures={"a": "b"}), "its measures must be a table of numbers"),
        (lambda content: content.update(seed="x"), "its seed and steps must be numbers"),
        (lambda content: content.update(losses=[[1, 2, 3]]), "its losses pairs of them"),
        (lambda content: content.update(losses=4), "its losses pairs of them"),
    ],
)
def test_a_bundle_of_another_version_is_one_sentence(run, tmp_path, change, said):
    file = write_bundle(run, tmp_path / "bundle") / "bundle.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"must be what `worldgen runs bundle` .*{said}"):
        read_bundle(tmp_path / "bundle")


def test_a_bundle_with_a_missing_or_damaged_file_is_one_sentence(run, tmp_path):
    folder = write_bundle(run, tmp_path / "bundle")
    (folder / "bundle.json").write_text("{")
    with pytest.raises(ValueError, match="must be what"):
        read_bundle(folder)
    (folder / "bundle.json").unlink()
    with pytest.raises(FileNotFoundError, match="has no bundle.json. Copy it again"):
        read_bundle(folder)
    folder = write_bundle(run, tmp_path / "again")
    (folder / "config.yaml").unlink()
    with pytest.raises(FileNotFoundError, match="has no config.yaml. Copy it again"):
        read_bundle(folder)
