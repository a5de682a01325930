import pytest
import torch
from lightning.pytorch import Trainer

from worldgen.data.datamodule import ClipDataModule
from worldgen.data.shards.shards import ShardWriter
from worldgen.runs.planning.batches import plan_epochs
from worldgen.types import Clip


def folder(path, counts):
    """Clips of (frames, size), as many as each count says; seeds are their numbers."""
    number = 0
    with ShardWriter(path, 0) as writer:
        for (frames, size), count in counts.items():
            for _ in range(count):
                clip = Clip(torch.zeros(1, frames, 3, size, size), torch.full((1,), 25.0), ("a ball",))
                writer.add(clip, f"drop-{number:03d}", "drop", number)
                number += 1
    return path


def trainer(**more):
    given = {"logger": False, "enable_checkpointing": False, "accelerator": "cpu", **more}
    return Trainer(**given)


def test_an_epoch_is_counted_and_each_clip_left_out_is_named_with_why(tmp_path):
    path = folder(tmp_path / "train", {(3, 16): 11, (1, 16): 4})
    data = ClipDataModule(path, batch_size=4)
    found = plan_epochs(data, trainer(max_steps=10, accumulate_grad_batches=2))
    assert (found.clips, found.batches, found.steps, found.total) == (15, 3, 2, 10)
    buckets = [(one.shape, one.clips, one.batches) for one in found.buckets]
    assert buckets == [((3, 16, 16), 11, 2), ((1, 16, 16), 4, 1)]
    given = {number for batch in data.train_dataloader().order_of(0) for number in batch}
    assert {name for name, _ in found.dropped} == {f"drop-{n:03d}" for n in range(15) if n not in given}
    assert len(found.dropped) == 3 and all("no full batch of its shape" in why for _, why in found.dropped)


def test_batches_that_do_not_go_round_and_clips_behind_the_first_are_named(tmp_path):
    path = folder(tmp_path / "train", {(3, 16): 9})
    (tmp_path / "train" / "shard-000007.tar").touch()
    data = ClipDataModule(path, batch_size=2, clips=6)
    with pytest.warns(UserWarning, match="no index"):
        found = plan_epochs(data, trainer(devices=2, max_epochs=5))
    assert (found.batches, found.total) == (1, 5)
    reasons = [why for _, why in found.dropped]
    assert sum("does not go round 2 processes" in why for why in reasons) == 2
    behind = [name for name, why in found.dropped if "data.clips" in why]
    assert behind == ["drop-006", "drop-007", "drop-008"]
    assert ("all clips of shard-000007", "it has no index") in found.dropped


def test_scenes_that_are_both_trained_and_measured_on_are_said(tmp_path):
    train, val = folder(tmp_path / "a", {(3, 16): 4}), folder(tmp_path / "b", {(5, 16): 2})
    said = plan_epochs(ClipDataModule(train, val=val, test=train, batch_size=2), trainer(max_steps=1)).shared
    assert said[0] == "2 of 2 clips of data.val show scenes that are trained on: simulate others."
    assert said[1].startswith("4 of 4 clips of data.test")


def test_packed_clips_are_counted_in_tokens(tmp_path):
    data = ClipDataModule(folder(tmp_path / "a", {(3, 16): 3}), packed_tokens=10)
    data.train_on_latents(data.train_source(), [6, 4, 6])
    found = plan_epochs(data, trainer(max_steps=4), [6, 4, 6])
    assert found.batches == 2 and found.tokens == 16 and not found.dropped


@pytest.mark.parametrize(
    ("more", "words"),
    [({"devices": 4}, "4 processes"), ({"limit_train_batches": 0}, "limit_train_batches is 0")],
)
def test_a_training_without_a_batch_is_refused(tmp_path, more, words):
    data = ClipDataModule(folder(tmp_path / "a", {(3, 16): 6}), batch_size=2)
    with pytest.raises(ValueError, match=f"at least one batch.*{words}.*Lower data.batch_size"):
        plan_epochs(data, trainer(max_steps=4, **more))
