import copy
import json
from pathlib import Path

import pytest
import torch

from worldgen.cli.main import main
from worldgen.runs.repeating.verify_resume import compare_ends, print_verdicts, verify_resume

ROOT = Path(__file__).resolve().parents[3]
END = {
    "epoch": 2,
    "state_dict": {"weight": torch.arange(3.0)},
    "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3), "step": 4}}}],
    "lr_schedulers": [{"last_epoch": 4}],
    "loops": {"progress": {"ready": 5, "completed": 4}},
    "Points": {"place": 7},
    "random_state": [{"torch": torch.tensor([1, 2], dtype=torch.uint8)}],
    "callbacks": {"ModelCheckpoint": {"dirpath": "elsewhere"}},
}


def written(folder, end, losses):
    folder.mkdir()
    torch.save(end, folder / "end.ckpt")
    lines = [json.dumps({"step": step, "loss": loss.hex()}) for step, loss in losses.items()]
    (folder / "losses.jsonl").write_text("\n".join(lines))
    return folder


def changed(change):
    end = copy.deepcopy(END)
    change(end)
    return end


CHANGES = {
    "weights": lambda end: end["state_dict"]["weight"].add_(0.5),
    "optimizer": lambda end: end["optimizer_states"][0]["state"][0].pop("exp_avg"),
    "schedule": lambda end: end["lr_schedulers"][0].update(last_epoch=5),
    "place in the data": lambda end: end["loops"]["progress"].update(completed=3),
    "data": lambda end: end["Points"].update(place=8),
    "random state": lambda end: end["random_state"][0]["torch"].add_(1),
}
PARTS = {
    "weights": "state_dict.weight: largest difference 0.5",
    "optimizer": "optimizer_states.0.state.0.exp_avg is missing",
    "schedule": "lr_schedulers.0.last_epoch: 4, resumed 5",
    "place in the data": "loops.progress.completed: 4, resumed 3",
    "data": "Points.place: 7, resumed 8",
    "random state": "random_state.0.torch: other numbers",
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_state_that_differs_is_named_with_its_first_part(tmp_path, capsys, name):
    losses = {1: 0.5, 2: 0.1, 3: float("nan")}
    whole = written(tmp_path / "whole", END, losses)
    resumed = written(tmp_path / "resumed", changed(CHANGES[name]), {2: 0.1, 3: float("nan")})
    verdicts = compare_ends(whole, resumed)
    assert {one.name: one.differs for one in verdicts if one.differs} == {name: PARTS[name]}
    assert not print_verdicts(verdicts, 0.0) and f"first in its {name}" in capsys.readouterr().out


def test_what_was_begun_and_where_files_are_is_no_difference(tmp_path, capsys):
    def elsewhere(end):
        end["callbacks"]["ModelCheckpoint"]["dirpath"] = "here"
        end["loops"]["progress"]["ready"] = 4

    whole = written(tmp_path / "whole", END, {1: 0.5, 2: 0.1})
    verdicts = compare_ends(whole, written(tmp_path / "resumed", changed(elsewhere), {2: 0.1}))
    assert print_verdicts(verdicts, 0.0) and "to the bit" in capsys.readouterr().out


def test_a_loss_that_differs_in_its_last_bit_is_one_and_a_tolerance_lets_it_pass(tmp_path):
    whole = written(tmp_path / "whole", END, {1: 0.5, 2: 0.1})
    resumed = written(tmp_path / "resumed", END, {2: 0.1 + 2**-56})
    assert compare_ends(whole, resumed)[0].differs.startswith("step 2: 0.1, resumed")
    assert not compare_ends(whole, resumed, 1e-6)[0].differs
    none = written(tmp_path / "none", END, {})
    assert compare_ends(whole, none)[0].differs == "no step of the resumed run has a loss"


def small(folder):
    return [
        "-c", f"{ROOT}/configs/tasks/dynamics.yaml", "--data.count=24", "--data.batch_size=16",
        f"--data.cache={folder / 'cache'}", "--trainer.accelerator=cpu", "--trainer.limit_val_batches=0",
    ]  # fmt: skip


def test_a_training_that_is_killed_and_resumed_is_verified(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    words = ["verify-resume", "pretrain", "dynamics", *small(tmp_path), "--before=3", "--after=2"]
    main([*words, "--out", str(tmp_path / "green")])
    told = capsys.readouterr().out
    assert "The resumed run ends as the straight one, to the bit." in told
    assert not (tmp_path / "green" / "killed" / "end.ckpt").exists()


@pytest.mark.slow
def test_a_training_that_forgets_is_caught(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    words = ["verify-resume", "pretrain", "dynamics", *small(tmp_path), "--before=3", "--after=2"]
    forgets = "--trainer.callbacks+=tests.runs.forgetful.Forgets"
    with pytest.raises(SystemExit) as left:
        main([*words, forgets, "--out", str(tmp_path / "red")])
    assert left.value.code == 1
    assert "differs from the straight one, first in its losses" in capsys.readouterr().out


def test_what_cannot_be_verified_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--before must be at least 1, and --after 2; got 3 and 1"):
        verify_resume(["fit"], tmp_path / "new", 3, 1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(ValueError, match="must be empty or missing"):
        verify_resume(["fit"], tmp_path / "full")
    with pytest.raises(ValueError, match=r"must end with 0; it ended with 2: --data\.count must be from 1"):
        verify_resume(["pretrain", "dynamics", *small(tmp_path), "--data.count=0"], tmp_path / "bad")
