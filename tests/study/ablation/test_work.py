"""What a study's processes say while they work; the work itself is tried in test_ablate.py."""

import logging
import sys

import torch

from worldgen.data.datamodule import ClipDataModule
from worldgen.data.shards.shards import write_shards
from worldgen.study.ablation.work import Trial, _alone, _first_batches, _sentence
from worldgen.types import Clip


def trial(**changes):
    same = {"batches": "a", "noise": "b", "start": (), "trained": "c", "sampled": "d", "measures": ()}
    numbers = {"parameters": 1, "step_seconds": 1, "encode_seconds": 1, "judge_seconds": 1}
    return Trial(**{**same, **numbers, **changes})


def test_an_arm_is_connected_by_its_data_its_training_or_its_samples():
    base = trial()
    assert not base.connected(base) and not trial(noise="x", parameters=2).connected(base)
    for name in ("batches", "trained", "sampled"):
        assert trial(**{name: "x"}).connected(base)


def test_work_runs_on_one_thread_and_its_words_go_to_the_log(tmp_path, capsys):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with open(tmp_path / "log", "w") as log, _alone(log):
            assert torch.get_num_threads() == 1
            print("in the log")
            print("this too", file=sys.stderr)
            logging.getLogger("lightning.pytorch").info("not heard")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert (tmp_path / "log").read_text() == "in the log\nthis too\n"
    assert capsys.readouterr().out == ""


def test_an_error_is_one_line():
    assert _sentence(ValueError("Two\n lines.")) == "Two lines." and _sentence(KeyError()) == "KeyError"


def test_batches_that_are_packed_otherwise_are_other_batches(tmp_path):
    clips = [Clip(torch.rand(1, 4, 3, 8, 8), torch.tensor([25.0]), ("a ball",)) for _ in range(12)]
    write_shards(clips, tmp_path)

    def named(**more):
        return _first_batches(ClipDataModule(train=tmp_path, batch_size=2, **more))

    assert named(packed_tokens=8) == named(packed_tokens=8)
    other = named(packed_tokens=9), named(packed_tokens=8, seed=1)
    every = [named(packed_tokens=8), *other, named(), named(seed=1)]
    assert len({batches for batches, _ in every}) == 5
    assert named()[1] == 2 and named(packed_tokens=8)[1] == 8
