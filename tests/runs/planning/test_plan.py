import re
from pathlib import Path

import pytest

from tests.runs.planning.test_batches import folder
from worldgen.cli.main import main
from worldgen.runs.planning import plan as planning
from worldgen.runs.planning.memory import Memory
from worldgen.runs.planning.plan import require_room

ROOT = Path(__file__).resolve().parents[3]
GIB = 2**30


def words(tmp_path, *more):
    yaml = (f"{ROOT}/configs/base.yaml", f"{ROOT}/configs/size/nano.yaml")
    if not (tmp_path / "train").exists():
        folder(tmp_path / "train", {(16, 64): 19})
    return [
        "plan", *(word for name in yaml for word in ("-c", name)), f"--data.train={tmp_path / 'train'}",
        f"--model.codec.init_args.checkpoint={ROOT}/assets/nano/codec", "--trainer.accelerator=cpu",
        f"--model.conditioner.text.init_args.checkpoint={ROOT}/assets/nano/t5",
        f"--model.cache={tmp_path / 'cache'}", f"--trainer.default_root_dir={tmp_path}", "--measure=0", *more,
    ]  # fmt: skip


def test_a_plan_says_what_a_training_costs_and_makes_nothing(tmp_path, capsys):
    main(words(tmp_path, "--dropped", str(tmp_path / "dropped.csv")))
    told = capsys.readouterr().out
    for part in (
        "model.denoiser DiT",
        r"DiT [\d,]{9,} 100%",
        "assets/nano/codec",
        r"19 clips: an epoch has 1 batches for each process, 1 steps, [\d,]+ tokens",
        "The run has 10,000 steps",
        "16 x 64 x 64",
        "no full batch of its shape is left for it",
        "Disk: data",
        "Time: not measured",
    ):
        assert re.search(part, " ".join(told.split())), part
    assert len((tmp_path / "dropped.csv").read_text().splitlines()) == 4
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--data.batch_size=32"], "Lower batch_size or add clips"),
        (["--trainer.limit_train_batches=0"], "at least one batch"),
        (["--measure", "-1"], "--measure must be a number from 0"),
        (["--model.conditioner.text.init_args.checkpoint=./nowhere"], "nowhere"),
        (["--model.lrr=1"], "lrr"),
    ],
)
def test_a_training_that_cannot_run_is_refused_in_a_sentence(tmp_path, capsys, more, said):
    with pytest.raises(SystemExit) as left:
        main(words(tmp_path, *more))
    assert left.value.code == 2 and said in capsys.readouterr().err


def test_a_training_that_does_not_fit_says_what_to_lower(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(planning, "available_bytes", lambda: 10**6)
    with pytest.raises(SystemExit) as left:
        main(words(tmp_path))
    assert left.value.code == 2 and "A training must fit into memory" in capsys.readouterr().err


def test_the_clips_that_fit_are_counted():
    memory = Memory("cpu", GIB, GIB, GIB, 8 * GIB)
    require_room(memory, 1, 15 * GIB, 16)
    with pytest.raises(
        ValueError,
        match=r"has 7.00 GiB. Lower data.batch_size from 16 to 5",
    ):
        require_room(memory, 1, 7 * GIB, 16)
    with pytest.raises(ValueError, match=r"3.00 GiB are there before a clip is: lower the denoiser's dim"):
        require_room(memory, 1, 2 * GIB, 16)
    with pytest.raises(ValueError, match=r"needs 30.00 GiB"):
        require_room(memory, 2, 16 * GIB, 16)


def test_a_large_network_is_planned_from_its_published_sizes_alone(tmp_path, capsys):
    more = "--model.conditioner.text.init_args.checkpoint=google-t5/t5-large"
    main(words(tmp_path, more))
    told = " ".join(capsys.readouterr().out.split())
    assert "T5 334,939,648" in told and "google-t5/t5-large Apache-2.0 no: fetch it first" in told


@pytest.mark.parametrize("part", ["control", "readout"])
def test_a_part_that_learns_beside_a_trained_generator_is_planned_too(tmp_path, capsys, monkeypatch, part):
    monkeypatch.chdir(ROOT)
    folder(tmp_path / "train", {(16, 64): 19})
    more = [
        f"--data.train={tmp_path / 'train'}",
        "--data.val=null",
        "--trainer.accelerator=cpu",
        "--measure=0",
    ]
    main(["plan", "pretrain", part, "-c", f"configs/tasks/{part}.yaml", *more])
    told = " ".join(capsys.readouterr().out.split())
    assert "generator.denoiser DiT 1,326,656" in told and "assets/nano/generator" in told
    assert "not counted for this task" in told and "19 clips: an epoch has 1 batches" in told
