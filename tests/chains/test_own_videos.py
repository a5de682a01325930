"""One's own videos and pictures of mixed shapes: one line trains on what `data import` made of them."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.data.videos import ball, write
from worldgen.cli import main as cli
from worldgen.data.media import write_png
from worldgen.runs.listing import list_runs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Three shapes: wide, high (one clip, fewer than a batch) and single pictures."""
    folder = tmp_path_factory.mktemp("own")
    for index, (height, width) in enumerate([(48, 80)] * 3 + [(80, 48)]):
        write(folder / "videos" / f"{index}.mp4", list(ball(7, height, width + 2 * index)))
        (folder / "videos" / f"{index}.txt").write_text("a ball moves to the right")
    for index, image in enumerate(ball(3, 64, 64)):
        write_png(folder / "videos" / f"p{index}.png", torch.tensor(image).permute(2, 0, 1) / 255)
    how = ["--images", "--size", "32", "--frames", "7", "--processes", "1"]
    cli.main(["data", "import", f"{folder}/videos", *how, "--out", f"{folder}/shards"])
    assert len({path.name for path in (folder / "shards").glob("*x*x*")}) == 3
    return folder / "shards"


def words(shards: Path, out: Path, *more: str) -> list[str]:
    configs = [f"-c={ROOT}/configs/{name}.yaml" for name in ("base", "size/nano", "data/folder")]
    small = {"data.train": shards, "model.cache": out / "cache", "trainer.logger.init_args.save_dir": out}
    small |= {"data.batch_size": 2, "trainer.max_steps": 6, "trainer.enable_progress_bar": "false"}
    return ["fit", *configs, *(f"--{key}={value}" for key, value in small.items()), *more]


def test_a_fit_takes_clips_of_all_shapes_and_pictures_and_validates_on_them(shards, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    cli.main(words(shards, tmp_path, f"--data.val={shards}", "--trainer.val_check_interval=3"))
    (row,) = list_runs(tmp_path)
    assert (row.state, row.step) == ("finished", 6)
    assert math.isfinite(row.measures["val/loss"])
    weights = load_file(row.folder / "model.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values())


@pytest.mark.parametrize(
    "more, told",
    [
        (["--data.partial=false"], "set data.partial: true"),
        (
            ["--model.contexts={1: 1.0}"],
            "cannot be trained on: Of 1 frames none is left to make where 1 or more",
        ),
    ],
)
def test_what_cannot_be_learned_of_is_refused_with_what_to_do(
    shards, tmp_path, monkeypatch, capsys, more, told
):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as stop:
        cli.main(words(shards, tmp_path, *more))
    assert stop.value.code == 2 and told in capsys.readouterr().err
