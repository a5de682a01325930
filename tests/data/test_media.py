from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from worldgen.data.media import filmstrip, open_video, read_video, write_png, write_video


def moving_ball(frames: int = 12, height: int = 48, width: int = 64) -> Tensor:
    """A soft-edged ball that moves over a smooth background, (T 3 H W)."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    images = []
    for frame in range(frames):
        distance = ((rows - 24).float() ** 2 + (columns - 8 - 4 * frame).float() ** 2).sqrt()
        ball = torch.sigmoid(8 - distance)
        shade = 0.3 + 0.4 * rows / height
        images.append(torch.stack([shade + 0.3 * ball, shade, shade - 0.2 * ball]))
    return torch.stack(images).clamp(0, 1)


def psnr(got: Tensor, wanted: Tensor) -> float:
    return -10 * torch.log10(((got.float() / 255 - wanted) ** 2).mean()).item()


def test_video_comes_back(tmp_path: Path) -> None:
    frames = moving_ball()
    write_video(tmp_path / "new" / "ball.mp4", frames, fps=25)
    got, fps = read_video(tmp_path / "new" / "ball.mp4")
    assert got.dtype == torch.uint8 and got.shape == frames.shape
    assert fps == pytest.approx(25)
    assert psnr(got, frames) > 35
    assert psnr(got.roll(1, 0), frames) < 30
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["ball.mp4"]
    with av.open(str(tmp_path / "new" / "ball.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")


def test_odd_sizes_broken_rates_and_upscaling(tmp_path: Path) -> None:
    frames = moving_ball(5, 47, 63)
    write_video(tmp_path / "odd.mp4", frames, fps=500 / 33)
    got, fps = read_video(tmp_path / "odd.mp4")
    assert got.shape == (5, 3, 48, 64) and fps == pytest.approx(500 / 33, rel=1e-3)
    assert psnr(got[..., :47, :63], frames) > 35
    write_video(tmp_path / "big.mp4", frames, fps=10, upscale=4)
    got, _ = read_video(tmp_path / "big.mp4")
    assert got.shape == (5, 3, 188, 252)
    assert psnr(got[..., 2::4, 2::4], frames) > 35


def test_one_frame(tmp_path: Path) -> None:
    write_video(tmp_path / "one.mp4", moving_ball(1), fps=25)
    got, fps = read_video(tmp_path / "one.mp4")
    assert len(got) == 1 and fps == 1


@pytest.mark.parametrize("name", ["still.png", "still.JPG"])
def test_a_picture_is_a_video_of_one_frame(tmp_path: Path, name: str) -> None:
    frame = moving_ball(1)[0]
    write_png(tmp_path / "still.png", frame)
    if name != "still.png":
        Image.open(tmp_path / "still.png").save(tmp_path / name, quality=95, subsampling=0)
    got, fps = read_video(tmp_path / name)
    assert got.shape == (1, 3, 48, 64) and fps == 1
    assert psnr(got[0], frame) > (50 if name == "still.png" else 35)


def test_missing_and_empty(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No video at .*nowhere\.mp4"):
        read_video(tmp_path / "nowhere.mp4")
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(ValueError, match=r"empty\.mp4 is empty \(0 bytes\)"):
        read_video(tmp_path / "empty.mp4")


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_truncated(tmp_path: Path, share: float, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    frames = moving_ball(40)
    if suffix == "mp4":
        write_video(path, frames, fps=25)
    else:
        write_webm(path, frames)
    assert len(read_video(path)[0]) == 40
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(
        ValueError, match=rf"cut\.{suffix} (is cut off|cannot be decoded|must hold a video).*again\.$"
    ):
        read_video(path)


def write_webm(path: Path, frames: Tensor) -> None:
    with av.open(str(path), "w", format="webm") as container:
        stream = container.add_stream("libvpx-vp9", rate=25)
        stream.height, stream.width, stream.pix_fmt = frames.shape[2], frames.shape[3], "yuv420p"
        stream.options = {"crf": "20", "cpu-used": "8"}
        for image in (frames * 255).byte().permute(0, 2, 3, 1).numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


@pytest.mark.parametrize("name", ["text.mp4", "text.png"])
def test_not_a_video(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("a ball falls")
    with pytest.raises(ValueError, match=rf"{name} cannot be (decoded|read as a picture).*again\.$"):
        read_video(tmp_path / name)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match=r"sound\.mp4 must hold a video; it holds none or is cut off"):
        read_video(tmp_path / "sound.mp4")


def test_no_frames(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "none.avi"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "yuv420p"
        container.start_encoding()
    with pytest.raises(ValueError, match=r"none\.avi must hold at least one frame; got none"):
        read_video(tmp_path / "none.avi")


@pytest.mark.parametrize(
    ("name", "frames", "fps", "upscale", "message"),
    [
        ("a.avi", moving_ball(1), 25, 1, r"writes \.mp4; got 'a\.avi'"),
        ("a.mp4", moving_ball(1), 0, 1, "fps must be positive; got 0"),
        ("a.mp4", moving_ball(1)[0], 25, 1, r"frames must be \(T 3 H W\) RGB; got shape \(3, 48, 64\)"),
        ("a.mp4", moving_ball(1) * 255, 25, 1, r"frames must be RGB in \[0, 1\]; got torch.float32 up to"),
        ("a.mp4", moving_ball(1), 25, 0, "whole factor of at least 1; got 0"),
    ],
)
def test_write_refuses(
    tmp_path: Path, name: str, frames: Tensor, fps: float, upscale: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / name, frames, fps, upscale)
    assert list(tmp_path.iterdir()) == []


def test_filmstrip() -> None:
    frames = moving_ball(5, 8, 10)
    sheet = filmstrip([("generated", frames), ("truth", frames[:3])], every=2, upscale=3)
    assert sheet.size == (3 * 30 + 2 * 2, 2 * (16 + 24) + 2)
    pixels = torch.from_numpy(np.array(sheet)).permute(2, 0, 1)
    third = pixels[:, 16:40, 64:94]  # frame 4 of the first row
    torch.testing.assert_close(third[:, ::3, ::3], (frames[4] * 255).round().byte())
    assert (pixels[:, :16] < 128).any()  # the label
    assert (pixels[:, 58:, 64:] == 255).all()  # the shorter row ends
    with pytest.raises(ValueError, match="needs rows and every >= 1; got 0 rows"):
        filmstrip([])


def test_a_video_that_is_written_as_it_comes_is_the_one_written_at_once(tmp_path):
    frames = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    write_video(tmp_path / "whole.mp4", frames, 10.0, upscale=2)
    with open_video(tmp_path / "parts.mp4", 10.0, upscale=2) as add:
        add(frames[:1])
        add(frames[1:])
        assert not (tmp_path / "parts.mp4").exists()
    assert (tmp_path / "parts.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    with pytest.raises(RuntimeError), open_video(tmp_path / "half.mp4", 10.0) as add:
        add(frames)
        raise RuntimeError
    assert not (tmp_path / "half.mp4").exists()
