from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from worldgen.data.media import write_video
from worldgen.data.shards.shards import write_shards
from worldgen.data.shards.simulate import simulate_shards
from worldgen.data.sources import ShardedClips, SimulatedClips, count_shared, open_source, take_first
from worldgen.data.videos import VideoFolder
from worldgen.types import Clip

MakeClip = Callable[..., Clip]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two videos that grow brighter; frame t of the first has brightness t / 20."""
    for name, height, width, count in (("b.mp4", 32, 48, 11), ("a.mp4", 48, 32, 5)):
        steps = torch.arange(count).view(-1, 1, 1, 1) / 20
        write_video(tmp_path / name, steps.expand(count, 3, height, width).float(), fps=10)
    (tmp_path / "a.txt").write_text("a ball falls\n")
    (tmp_path / "captions.csv").write_text('file,caption\nb.mp4,"a ball, then a wall"\n')
    return tmp_path


def test_simulated_clips_are_reproducible_and_pickle() -> None:
    source = SimulatedClips(["bounce"], 2, seed=1, size=16, frames=3)
    torch.testing.assert_close(source[1].frames, source[-1].frames, rtol=0, atol=0)
    assert not torch.equal(source[0].frames, source[1].frames)
    assert source.name(1) == "bounce-001000001"
    held_out = SimulatedClips(["bounce"], 2, seed=1, size=16, frames=3, split="ood:color")
    assert held_out.name(1) == "bounce-001000001-ood-color"
    assert "purple" in held_out[1].prompts[0] or "cyan" in held_out[1].prompts[0]
    with pytest.raises(IndexError, match="clip 2 of 2"):
        source[2]
    with pytest.raises(ValueError, match="got teleport"):
        SimulatedClips(["teleport"], 2)
    with pytest.raises(ValueError, match="split must be train, id or ood:FACTOR; got 'test'"):
        SimulatedClips(["drop"], 2, split="test")


def test_open_source(folder: Path, tmp_path: Path, make_clip: MakeClip) -> None:
    shards = tmp_path / "shards"
    write_shards([make_clip(0), make_clip(1)], shards)
    assert isinstance(open_source(shards), ShardedClips)
    assert open_source(shards, size=8, frames=3).name(1) == "clip-00000001"
    assert isinstance(open_source(folder, size=16, frames=4), VideoFolder)
    with pytest.raises(ValueError, match="4 frames of size 8 are asked for; .* holds 3 frames of 8x8"):
        open_source(shards, size=8, frames=4)
    with pytest.raises(ValueError, match="holds videos; say the size and frames"):
        open_source(folder)
    with pytest.raises(FileNotFoundError, match="No folder of clips at .*nowhere"):
        open_source(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="either shards .* or videos; got neither"):
        open_source(tmp_path / "empty")
    (shards / "film.mp4").touch()
    with pytest.raises(ValueError, match="either shards .* or videos; got both"):
        open_source(shards)


def test_scenes_are_shared_whatever_their_size(tmp_path: Path) -> None:
    simulate_shards(tmp_path / "train", ("drop",), 3, size=16, frames=3, processes=1)
    simulate_shards(tmp_path / "same", ("drop", "bounce"), 4, size=8, frames=2, processes=1)
    simulate_shards(tmp_path / "split", ("drop",), 3, size=8, frames=2, split="id", processes=1)
    train = ShardedClips(tmp_path / "train")
    assert [count_shared(ShardedClips(tmp_path / name), train) for name in ("same", "split")] == [2, 0]


def test_the_first_clips_of_a_folder_alone(folder: Path, tmp_path: Path) -> None:
    simulate_shards(tmp_path / "shards", ("drop",), 3, size=16, frames=3, processes=1)
    shards = ShardedClips(tmp_path / "shards")
    two = take_first(shards, 2)
    assert len(two) == 2 and len(shards) == 3 and two.name(1) == shards.name(1)
    assert torch.equal(two[1].frames, shards[1].frames)
    with pytest.raises(IndexError):
        two[2]
    videos = VideoFolder(folder, 16, 3)
    one = take_first(videos, 1)
    assert (len(one), len(videos)) == (1, 2) and one[0].prompts == ("a ball falls",)
    for count in (0, 3):
        with pytest.raises(ValueError, match=f"from 1 to the 2 clips of the folder; got {count}"):
            take_first(videos, count)
