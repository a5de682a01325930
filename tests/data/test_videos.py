"""One reader for every video."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.videos import ball, write
from worldgen.data.media import read_video, write_png
from worldgen.data.videos import (
    VideoReader,
    crop_and_resize,
    file_width,
    find_videos,
    read_movie,
    read_small,
    require_picture,
)


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
