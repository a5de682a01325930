"""One reader for every video."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.videos import ball, write
from worldgen.data.media import read_video, write_png, write_video
from worldgen.data.reading.folders import find_videos
from worldgen.data.videos import (
    VideoFolder,
    VideoReader,
    crop_and_resize,
    file_width,
    read_movie,
    read_small,
    require_picture,
)
from worldgen.types import Clip

REAL_CLIPS = Path(__file__).parents[3] / "shared" / "data" / "real_clips"


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 frames of 48 x 64 at 25 a second."""
    return write(tmp_path_factory.mktemp("reader") / "ball.mp4", list(ball(30)))


def test_a_video_comes_whole_unless_told_otherwise(video: Path) -> None:
    pixels, rate = read_video(video)
    clip = VideoReader().read(video, "a ball")
    assert torch.equal(clip.frames[0], pixels.float() / 255)
    assert clip.fps.item() == pytest.approx(rate) and clip.prompts == ("a ball",)


def test_every_third_of_few(video: Path) -> None:
    pixels, _ = read_video(video)
    clip = VideoReader(most=4, skip=3).read(video)
    assert torch.equal(clip.frames[0], pixels[:12:3].float() / 255)
    assert clip.fps.item() == pytest.approx(25 / 3)


def test_frames_whose_time_has_come(tmp_path: Path) -> None:
    slow = write(tmp_path / "slow.mp4", list(ball(8)), times=[0, 0.08, 0.16, 0.24, 0.32, 0.4, 0.48, 0.56])
    fast = write(tmp_path / "fast.mp4", list(ball(24)), times=[number / 50 for number in range(24)])
    assert torch.equal(VideoReader(fps=25.0).read(slow).frames, VideoReader().read(slow).frames)
    clip = VideoReader(fps=25.0, most=5).read(fast)
    assert torch.equal(clip.frames, VideoReader().read(fast).frames[:, :10:2]) and clip.fps.item() == 25


def test_cropped_and_shrunk(video: Path) -> None:
    pixels, _ = read_video(video)
    clip = VideoReader(size=16).read(video)
    assert torch.equal(clip.frames[0, 7], crop_and_resize(pixels[7].float() / 255, 16))
    shrunk = VideoReader(widest=32, most=3).read(video)
    assert shrunk.frames.shape == (1, 3, 3, 24, 32)
    mean = pixels[:3].float().unflatten(2, (24, 2)).unflatten(4, (32, 2)).mean(dim=(3, 5)) / 255
    torch.testing.assert_close(shrunk.frames[0].mean(dim=(2, 3)), mean.mean(dim=(2, 3)), rtol=0, atol=0.005)
    assert VideoReader(widest=64).read(video).frames.shape[-1] == 64


def test_what_it_reads_is_counted(video: Path) -> None:
    beats: list[int] = []
    VideoReader(most=7).read(video, beat=lambda: beats.append(0))
    assert len(beats) == 7


def test_a_folder_of_frames_is_fifteen_a_second(tmp_path: Path) -> None:
    for number in range(7):
        write_png(tmp_path / f"{number:03d}.png", torch.full((3, 8, 8), number / 10))
    clip = VideoReader(skip=2).read(tmp_path)
    assert clip.fps.item() == 7.5
    torch.testing.assert_close(
        clip.frames.mean(dim=(2, 3, 4))[0], torch.tensor([0, 0.2, 0.4, 0.6]), rtol=0, atol=1 / 255
    )
    write_png(tmp_path / "006.png", torch.zeros(3, 8, 9))
    with pytest.raises(ValueError, match="must have frames of one size; got several"):
        VideoReader().read(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty must hold frames; it holds none"):
        VideoReader().read(tmp_path / "empty")


def test_limits_of_the_readers_for_checks_and_for_pairs(tmp_path: Path) -> None:
    wide = np.zeros((4, 640, 3), np.uint8)
    wide[:, ::2] = 200
    path = write(tmp_path / "wide.mp4", [wide] * 405)
    assert read_small(path).frames.shape == (1, 400, 3, 2, 320) and file_width(path) == 640
    assert read_movie(path, 2).frames.shape == (1, 200, 3, 4, 640)


def test_one_flat_color_is_no_picture(tmp_path: Path) -> None:
    path = write(tmp_path / "flat.mp4", [np.full((16, 16, 3), 77, np.uint8)] * 3)
    with pytest.raises(ValueError, match=r"flat\.mp4 shows one flat color throughout"):
        read_movie(path, 1)
    with pytest.raises(ValueError, match="it shows one flat color"):
        require_picture(VideoReader().read(path), "it")


def test_videos_are_files_of_any_ending_that_is_known(tmp_path: Path) -> None:
    for name in ("b.MP4", "a.webm", "c.txt", "d.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    assert [path.name for path in find_videos(tmp_path)] == ["a.webm", "b.MP4"]


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
        with pytest.raises(ValueError, match=r"Every row of .*captions\.jsonl must have a file"):
            VideoFolder(folder, size=16)
    (folder / "captions.csv").write_text("who,text\nb.mp4,x\n")
    with pytest.raises(ValueError, match=r"captions\.csv must have a file .* it has no column for the file"):
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
