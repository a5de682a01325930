import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from worldgen.data.media import write_video
from worldgen.data.shards.shards import write_shards
from worldgen.data.sources import ShardedClips, SimulatedClips, open_source
from worldgen.data.videos import VideoFolder, crop_and_resize
from worldgen.types import Clip

REAL_CLIPS = Path(__file__).parents[3] / "shared" / "data" / "real_clips"
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


def brightness(clip: Clip) -> torch.Tensor:
    return clip.frames.mean(dim=(0, 2, 3, 4))


def test_video_folder(folder: Path) -> None:
    source = VideoFolder(folder, size=16)
    assert len(source) == 2
    assert [source.name(i) for i in range(2)] == ["a", "b"]
    assert [source[i].prompts[0] for i in range(2)] == ["a ball falls", "a ball, then a wall"]
    assert [tuple(source[i].frames.shape) for i in range(2)] == [(1, 5, 3, 16, 16), (1, 11, 3, 16, 16)]
    torch.testing.assert_close(brightness(source[1]), torch.arange(11) / 20, rtol=0, atol=0.01)
    torch.testing.assert_close(source[-1].fps, torch.tensor([10.0]))
    with pytest.raises(IndexError, match="clip 2 of 2"):
        source[2]


def test_frames_are_spread_over_the_video(folder: Path) -> None:
    clip = VideoFolder(folder, size=16, frames=3)[1]
    torch.testing.assert_close(brightness(clip), torch.tensor([0, 0.25, 0.5]), rtol=0, atol=0.01)
    torch.testing.assert_close(clip.fps, torch.tensor([2.0]))
    one = VideoFolder(folder, size=16, frames=1)[1]
    torch.testing.assert_close(brightness(one), torch.tensor([0.0]), rtol=0, atol=0.01)


def test_frames_at_a_rate(folder: Path) -> None:
    clip = VideoFolder(folder, size=16, frames=3, fps=5)[1]
    torch.testing.assert_close(brightness(clip), torch.tensor([0, 0.1, 0.2]), rtol=0, atol=0.01)
    torch.testing.assert_close(clip.fps, torch.tensor([5.0]))
    assert VideoFolder(folder, size=16, fps=5)[1].frames.shape[1] == 6
    with pytest.raises(ValueError, match=r"a\.mp4 lasts 0\.40 s, too short for 4 frames at 5 fps"):
        VideoFolder(folder, size=16, frames=4, fps=5)[0]
    with pytest.raises(ValueError, match=r"a\.mp4 has 5 frames, fewer than the 6 asked for"):
        VideoFolder(folder, size=16, frames=6)[0]


def test_captions_in_jsonl(folder: Path) -> None:
    (folder / "captions.csv").unlink()
    assert VideoFolder(folder, size=16).caption(1) == ""
    (folder / "captions.jsonl").write_text(json.dumps({"file": "b.mp4", "caption": "größer"}) + "\n\n")
    assert VideoFolder(folder, size=16).caption(1) == "größer"
    for broken in ('{"file": "b.mp4"}', '{"file": "b.m', '["b.mp4"]'):
        (folder / "captions.jsonl").write_text(broken)
        with pytest.raises(ValueError, match=r"captions\.jsonl must have a file and a caption; got"):
            VideoFolder(folder, size=16)
    (folder / "captions.csv").write_text("name,text\nb.mp4,x\n")
    with pytest.raises(ValueError, match=r"captions\.csv must have a file and a caption; got KeyError"):
        VideoFolder(folder, size=16)


def test_a_bad_file_is_named_when_read(folder: Path) -> None:
    path = folder / "b.mp4"
    path.write_bytes(path.read_bytes()[:400])
    source = VideoFolder(folder, size=16)
    assert len(source[0].frames[0]) == 5
    with pytest.raises(ValueError, match=r"b\.mp4 cannot be decoded"):
        source[1]


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must hold videos .*; got none"):
        VideoFolder(tmp_path, size=16)
    with pytest.raises(FileNotFoundError, match="No folder of videos at .*nowhere"):
        VideoFolder(tmp_path / "nowhere", size=16)
    with pytest.raises(ValueError, match="VideoFolder's frames must be positive; got 0"):
        VideoFolder(tmp_path, size=16, frames=0)


def test_the_central_square_is_kept() -> None:
    frame = torch.zeros(3, 4, 10)
    frame[:, :, 3:7] = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(crop_and_resize(frame, 4), frame[:, :, 3:7])
    stripes = (torch.arange(64) % 2).float().expand(3, 64, 64)
    small = crop_and_resize(stripes, 8)  # without antialiasing it would be all black or all white
    torch.testing.assert_close(small, torch.full_like(small, 0.5), rtol=0, atol=0.02)


@pytest.mark.skipif(not REAL_CLIPS.is_dir(), reason=f"the real clips are not at {REAL_CLIPS}")
def test_real_clips() -> None:
    source = VideoFolder(REAL_CLIPS, size=32, frames=8)
    names = [source.name(i) for i in range(len(source))]
    toss = source[names.index("ball_toss_real")]
    assert toss.frames.shape == (1, 8, 3, 32, 32)
    assert toss.fps.item() == pytest.approx(7 / (12 * 0.066), rel=0.01)
    fall = source[names.index("falling_ball_real")]
    assert fall.fps.item() == pytest.approx(7 / (43 / 30), rel=0.01)
    moved = (fall.frames[0, 1:] - fall.frames[0, :-1]).abs().amax(dim=(1, 2, 3))
    assert (moved > 0.2).sum() >= 4  # the ball is another place from frame to frame


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
