"""Read and write video and pictures, and lay frames out as a filmstrip."""

from __future__ import annotations

import multiprocessing
from collections.abc import Generator, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.container import InputContainer
from av.error import FFmpegError
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError
from torch import Tensor

from worldgen.files import atomic_path

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".webm", ".mkv", ".gif", ".mov", ".avi"})
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
CRF = "12"
"""x264's constant rate factor: about 40 dB."""
BACKGROUND = 255
"""Gray level, 0 to 255, that transparent pixels are laid over."""
LABEL_HEIGHT = 16
GAP = 2


def read_video(path: str | Path) -> tuple[UInt8[Tensor, "T 3 H W"], float]:
    """Every frame of a video as 8-bit RGB, and its frames per second.

    A still picture is a video of one frame, at 1 frame per second. A phone's rotation mark is obeyed.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not a video or picture, cut off, or without frames.
    """
    frames, times = [], []
    for frame, seconds in iterate_frames(path):
        frames.append(torch.from_numpy(frame))
        times.append(seconds)
    return torch.stack(frames).permute(0, 3, 1, 2).contiguous(), mean_rate(times)


def iterate_frames(path: str | Path) -> Generator[tuple[np.ndarray, float], None, None]:
    """Frame after frame as uint8 (H W 3) with its time in seconds; memory for one frame only.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not a video or picture, cut off, or without frames.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No video at {path}. Check the path.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes). Copy or record it again.")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        yield _read_image(path), 0.0
        return
    try:
        with av.open(str(path)) as container:
            yield from _decode(container, path)
    except FFmpegError as error:
        raise ValueError(
            f"{path} cannot be decoded ({error.strerror or error}): damaged, cut off, or not a video. "
            "Copy or convert it again."
        ) from error


def frame_to_rgb(frame: av.VideoFrame, background: int = BACKGROUND) -> UInt8[np.ndarray, "H W 3"]:
    """A decoded frame as 8-bit RGB: deeper bits are rounded, a rotation mark obeyed, transparency filled.

    Args:
        frame: Of any pixel format.
        background: Gray level that transparent pixels are laid over.
    """
    if any(component.is_alpha for component in frame.format.components):
        image = lay_over(frame.reformat(format="rgba", threads=_threads()).to_ndarray(), background)
    else:
        image = frame.reformat(format="rgb24", threads=_threads()).to_ndarray()
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))


def frame_seconds(frame: av.VideoFrame, number: int, rate: Fraction | None) -> float:
    """When a decoded frame is shown; from its number and the file's rate, or 25 a second, if untold."""
    return frame.time if frame.time is not None else number / float(rate or 25)


def picture_to_rgb(picture: Image.Image, background: int = BACKGROUND) -> UInt8[np.ndarray, "H W 3"]:
    """A still picture as 8-bit RGB: its EXIF mark obeyed, 16-bit gray rounded, transparency filled.

    Args:
        picture: Of any mode.
        background: Gray level that transparent pixels are laid over.
    """
    turned = ImageOps.exif_transpose(picture)
    if turned.mode.startswith("I;16"):
        turned = Image.fromarray((np.asarray(turned) / 257).round().astype(np.uint8))
    if turned.has_transparency_data:
        return lay_over(np.array(turned.convert("RGBA")), background)
    return np.array(turned.convert("RGB"))


def lay_over(image: UInt8[np.ndarray, "H W 4"], background: int) -> UInt8[np.ndarray, "H W 3"]:
    """A picture with transparency over plain gray: ``alpha color + (1 - alpha) background``."""
    alpha = image[..., 3:].astype(np.uint16)
    return ((image[..., :3] * alpha + background * (255 - alpha) + 127) // 255).astype(np.uint8)


def mean_rate(times: Sequence[float]) -> float:
    """Frames per second of frames at these times; 1 for a single frame."""
    if len(times) < 2:
        return 1.0
    if times[-1] <= times[0]:
        raise ValueError(f"Frames of a video must follow each other in time; got {len(times)} at one moment.")
    return (len(times) - 1) / (times[-1] - times[0])


def video_timing(path: str | Path) -> tuple[int, float]:
    """How many frames a video has, and how many per second, as its header says; counted where it does not.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not a video, cut off, or without frames.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No video at {path}. Check the path.")
    try:
        with av.open(str(path)) as container:
            if container.streams.video and container.streams.video[0].frames:
                stream = container.streams.video[0]
                rate = stream.guessed_rate or stream.average_rate
                if rate:
                    return stream.frames, float(rate)
    except FFmpegError:
        pass  # reading it says why
    times = [seconds for _, seconds in iterate_frames(path)]
    return len(times), mean_rate(times)


def write_video(path: str | Path, frames: Float[Tensor, "T 3 H W"], fps: float, upscale: int = 1) -> None:
    """Write an h264 mp4 that every browser plays (yuv420p, crf 12); it appears whole or not at all.

    Odd sizes are padded by repeating the last row or column, since yuv420p wants even ones.

    Args:
        path: Ends in ``.mp4``.
        frames: RGB in [0, 1].
        fps: Frames per second.
        upscale: Every pixel becomes a square of this many rows and columns.

    Raises:
        ValueError: Another ending, shape, range, rate or factor.
    """
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"write_video writes .mp4; got {path.name!r}. Name the file so.")
    if not fps > 0:
        raise ValueError(f"fps must be positive; got {fps}.")
    pixels = _to_pixels(frames, upscale)  # (T, H, W, 3)
    odd_rows, odd_columns = pixels.shape[1] % 2, pixels.shape[2] % 2
    pixels = np.pad(pixels, ((0, 0), (0, odd_rows), (0, odd_columns), (0, 0)), mode="edge")

    options = {"movflags": "faststart"}
    with atomic_path(path) as partial, av.open(str(partial), "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = pixels.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": CRF}
        stream.thread_count = 1  # a clip is too small to share
        for image in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def write_png(path: str | Path, image: Image.Image | Float[Tensor, "3 H W"]) -> None:
    """Write a picture, given as such or as RGB in [0, 1]; it appears whole or not at all."""
    if isinstance(image, Tensor):
        image = Image.fromarray(_to_pixels(image[None], 1)[0])
    with atomic_path(path) as partial:
        image.save(partial, format="PNG")


def filmstrip(
    rows: Sequence[tuple[str, Float[Tensor, "T 3 H W"]]], every: int = 2, upscale: int = 2
) -> Image.Image:
    """Videos one under another, each a row of its frames under a small label.

    Args:
        rows: Label and frames in [0, 1] of each row.
        every: Show frame 0, ``every``, 2 ``every``, ...
        upscale: Every pixel becomes a square of this many rows and columns.

    Raises:
        ValueError: No rows, or frames of another shape or range.
    """
    if not rows or every < 1:
        raise ValueError(f"A filmstrip needs rows and every >= 1; got {len(rows)} rows and every = {every}.")
    strips = [(label, _to_pixels(frames[::every], upscale)) for label, frames in rows]
    width = max(len(strip) * (strip.shape[2] + GAP) for _, strip in strips) - GAP
    height = sum(LABEL_HEIGHT + strip.shape[1] + GAP for _, strip in strips) - GAP
    sheet = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    top = 0
    for label, strip in strips:
        draw.text((2, top + 1), label, fill="black", font=font)
        top += LABEL_HEIGHT
        for column, image in enumerate(strip):
            sheet.paste(Image.fromarray(image), (column * (strip.shape[2] + GAP), top))
        top += strip.shape[1] + GAP
    return sheet


def _threads() -> int:
    """Of a codec: 1 in a child process, as the other cores have children of their own; else 0, its choice."""
    return 0 if multiprocessing.parent_process() is None else 1


def _decode(container: InputContainer, path: Path) -> Iterator[tuple[np.ndarray, float]]:
    if not container.streams.video:
        raise ValueError(f"{path} must hold a video; it holds none or is cut off. Copy it again.")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    stream.thread_count = _threads()
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    count, seconds, first = 0, 0.0, None
    for frame in container.decode(stream):
        first = first or (frame.height, frame.width)
        if (frame.height, frame.width) != first:  # a stream may change its size in the middle
            frame = frame.reformat(width=first[1], height=first[0], threads=_threads())
        seconds = frame_seconds(frame, count, rate)
        count += 1
        yield frame_to_rgb(frame), seconds
    if count == 0:
        raise ValueError(f"{path} must hold at least one frame; got none. Record or convert it again.")
    if stream.frames and count < stream.frames:
        raise ValueError(
            f"{path} is cut off: {count} of its {stream.frames} frames are there. Copy it again."
        )
    if container.duration and len(container.streams) == 1:
        begun = (container.start_time or 0) / av.time_base
        missing = container.duration / av.time_base - (seconds - begun + 1 / float(rate))
        if missing > max(2 / float(rate), 0.1):
            raise ValueError(f"{path} is cut off: its last {missing:.2f} s are missing. Copy it again.")


def _read_image(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return picture_to_rgb(image)
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read as a picture. Copy or convert it again.") from error


def _to_pixels(frames: Tensor, upscale: int) -> np.ndarray:
    if frames.ndim != 4 or frames.shape[1] != 3 or 0 in frames.shape:
        raise ValueError(f"frames must be (T 3 H W) RGB; got shape {tuple(frames.shape)}.")
    if not frames.is_floating_point() or frames.min() < 0 or frames.max() > 1:
        raise ValueError(
            f"frames must be RGB in [0, 1]; got {frames.dtype} up to {frames.max().item():.4g}. "
            "Divide by 255 or clamp."
        )
    if upscale < 1:
        raise ValueError(f"upscale must be a whole factor of at least 1; got {upscale}.")
    pixels = (frames.detach().float().cpu() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return pixels.repeat(upscale, axis=1).repeat(upscale, axis=2)  # (T, H, W, 3)
