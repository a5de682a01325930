"""Weights that processes share: the losses of one process, and checkpoints that open on other numbers."""

import shutil

import pytest
import torch
from torch.testing import assert_close

from tests.chains.test_processes_together import fit, shards, words  # noqa: F401
from tests.runs import ranks
from worldgen.runs.folder import HOME

SHARED = ["-c", f"{HOME}/configs/strategies/fsdp.yaml"]


@pytest.fixture(scope="module")
def first(shards, tmp_path_factory):  # noqa: F811
    """A run of two processes, stopped after a checkpoint by its number of steps."""
    folder = tmp_path_factory.mktemp("two")
    given = words(shards, folder, trainer__max_steps=20, trainer__devices=2) + SHARED
    codes, said = ranks.run(2, fit, given, folder, folder=folder)
    assert codes == [0, 0], said
    (checkpoint,) = folder.rglob("last.ckpt")
    return folder, checkpoint


def test_two_processes_that_share_weights_have_the_losses_of_one(shards, tmp_path, first):  # noqa: F811
    folder, checkpoint = first
    assert len(list(checkpoint.glob("*.distcp"))) == 2
    given = words(shards, tmp_path, trainer__max_steps=20, trainer__accumulate_grad_batches=2)
    assert ranks.run(1, fit, given, tmp_path, folder=tmp_path)[0] == [0]
    places = (tmp_path / "kept.0", folder / "kept.0", folder / "kept.1")
    whole, here, there = (torch.load(path) for path in places)
    in_turn = [loss for pair in zip(here["losses"], there["losses"], strict=True) for loss in pair]
    assert in_turn == pytest.approx(whole["losses"], rel=1e-4)


@pytest.mark.parametrize("count", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_checkpoint_of_two_processes_opens_on_another_number(shards, tmp_path, first, count):  # noqa: F811
    folder, checkpoint = first
    given = words(shards, tmp_path, trainer__max_steps=20, trainer__devices=count) + SHARED
    given.append(f"--ckpt_path={checkpoint}")
    codes, said = ranks.run(count, fit, given, tmp_path, folder=tmp_path)
    assert codes == [0] * count, said
    (mine,) = tmp_path.rglob("model.safetensors")
    (theirs,) = folder.rglob("model.safetensors")
    from safetensors.torch import load_file

    assert_close(load_file(mine), load_file(theirs), rtol=0, atol=0)


def test_a_checkpoint_that_is_none_is_one_sentence(shards, tmp_path, first):  # noqa: F811
    _, checkpoint = first
    broken = tmp_path / "broken.ckpt"
    shutil.copytree(checkpoint, broken)
    (broken / "__1_0.distcp").unlink()
    given = words(shards, tmp_path, trainer__max_steps=24, trainer__devices=1) + SHARED
    for path, wrong in ((broken, "must be a whole checkpoint of this model"), (tmp_path, "it is none")):
        codes, said = ranks.run(1, ranks.command, [*given, f"--ckpt_path={path}"], folder=tmp_path)
        assert codes == [2] and wrong in said[0], said
