"""Readers among real processes, and batches that need no copy."""

import json
import multiprocessing
import os
from pathlib import Path

import torch

from worldgen.data.batching import stack_clips
from worldgen.data.buckets import BucketLoader
from worldgen.data.loader import ResumableLoader
from worldgen.data.shards.shards import write_shards
from worldgen.data.sources import ShardedClips


def run_rank(rank: int, folder: Path, resume: Path | None) -> None:
    """Three batches of each loader, or the rest of an epoch, in a process of a group of two."""
    os.environ.update(MASTER_ADDR="127.0.0.1", GLOO_SOCKET_IFNAME="lo")
    store = f"file://{folder / ('second' if resume else 'first')}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    found = {}
    for name, loader in make_loaders().items():
        if resume:
            loader.load_state_dict(json.loads(resume.read_text())[name]["state"])
        batches = []
        for batch in loader:
            batches.append(batch)
            if len(batches) == 3 and not resume:
                break
        found[name] = {"batches": batches, "state": loader.state_dict(), "length": len(loader)}
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    (folder / f"{'second' if resume else 'first'}-{rank}.json").write_text(json.dumps(found))


def make_loaders() -> dict:
    return {
        "buckets": BucketLoader(range(120), [number % 3 for number in range(120)], 4, list, seed=2),
        "one shape": ResumableLoader(range(121), 5, list, seed=2),
    }


def in_two_processes(folder: Path, resume: Path | None = None) -> list[dict]:
    context = multiprocessing.get_context("spawn")  # a fork would inherit locks of threads of tests before
    processes = [context.Process(target=run_rank, args=(rank, folder, resume)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    name = "second" if resume else "first"
    return [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in range(2)]


def test_two_real_processes_share_an_epoch_and_take_it_up_again(tmp_path: Path) -> None:
    first = in_two_processes(tmp_path)
    rest = in_two_processes(tmp_path, tmp_path / "first-1.json")
    for name, loader in make_loaders().items():
        epoch = loader.order_of(0)
        seen = [batch for part in (first, rest) for rank in part for batch in rank[name]["batches"]]
        assert len(seen) == len(epoch) - len(epoch) % 2
        assert sorted(seen) == sorted(epoch[: len(seen)])
        assert len({item for batch in seen for item in batch}) == sum(map(len, seen))
        assert first[0][name]["state"] == first[1][name]["state"]
        assert {rank[name]["length"] for rank in first + rest} == {len(epoch) // 2}
        assert len(rest[0][name]["batches"]) == len(rest[1][name]["batches"])


def test_clips_that_are_read_together_are_a_batch_already(tmp_path: Path, make_clip) -> None:
    clips = [make_clip(seed, frames=3 + seed // 4) for seed in range(6)]
    write_shards(clips, tmp_path)
    source = ShardedClips(tmp_path)
    together = source.__getitems__([2, 0, 3])
    batch = stack_clips(together)
    assert batch.frames.data_ptr() == together[0].frames.data_ptr()
    assert torch.equal(batch.frames, torch.cat([source[number].frames for number in (2, 0, 3)]))
    assert torch.equal(batch.frames[1:2], clips[0].frames)
    swapped = stack_clips([together[1], together[0]])  # not in the order of memory: copied
    assert swapped.frames.data_ptr() != together[1].frames.data_ptr()
    assert torch.equal(swapped.frames, torch.cat([clips[0].frames, clips[2].frames]))
    assert torch.equal(stack_clips(together[1:]).frames, torch.cat([clips[0].frames, clips[3].frames]))
    gap = stack_clips([together[0], together[2]])
    assert torch.equal(gap.frames, torch.cat([clips[2].frames, clips[3].frames]))
    mixed = source.__getitems__([5, 0])
    assert [clip.frames.shape[1] for clip in mixed] == [4, 3]
    assert all(
        torch.equal(clip.frames, clips[number].frames) for clip, number in zip(mixed, (5, 0), strict=True)
    )
