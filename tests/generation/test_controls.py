"""The clips that controls are drawn from; for the controls see tests/tasks/parts/test_control.py."""

import pytest
import torch

from worldgen.data.shards.simulate import simulate_shards
from worldgen.data.sources import ShardedClips
from worldgen.generation.controls import read_followed, read_shard_clip
from worldgen.generation.layout import Frame


def test_clips_of_shards_are_named_by_number(tmp_path):
    shards = tmp_path
    simulate_shards(shards, ("drop",), 16, size=16, frames=4, processes=1)
    assert torch.equal(read_shard_clip(f"{shards}:3").frames, ShardedClips(shards)[3].frames)
    for number in ("16", "-1", "x"):
        with pytest.raises(ValueError, match=f"must be a number below 16; got '{number}'"):
            read_shard_clip(f"{shards}:{number}")
    assert read_followed(f"{shards}:3", Frame(16, 16, 25.0, 4)).frames.shape == (1, 4, 3, 16, 16)
    with pytest.raises(ValueError, match="--control-from must show 5 frames of 16 x 16 at 25 fps"):
        read_followed(f"{shards}:3", Frame(16, 16, 25.0, 5))
