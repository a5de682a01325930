"""Read and write video and pictures, and lay frames out as a filmstrip."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.container import InputContainer
from av.error import FFmpegError
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from worldgen.data.reading.decoding import (
    Damaged,
    Promises,
    choose_clock,
    choose_stream,
    decoder_of,
    decoding_threads,
    frame_to_rgb,
    is_shown,
    lacking_bytes,
    missing_part,
    open_container,
    pixel_ratio_of,
    require_whole,
    unfit_frame,
)
from worldgen.data.reading.pictures import IMAGE_SUFFIXES, is_animated, iterate_animation, read_picture
from worldgen.data.reading.timing import constant_rate, mean_rate
from worldgen.files import atomic_path

CRF = "12"
"""x264's constant rate factor: about 40 dB."""
_ROUNDING = 0.0012
"""Seconds by which times rounded to a millisecond leave a rate unknown, over all of a video."""
LABEL_HEIGHT = 16
GAP = 2


def read_video(path: str | Path) -> tuple[UInt8[Tensor, "T 3 H W"], float]:
    """Every frame of a video as 8-bit RGB, and its frames per second.

    A still picture is a video of one frame, at 1 frame per second.

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

    Order, times, shape and orientation are those that ffmpeg's players show: see `data.decoding`.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not a video or picture, cut off, damaged, without frames, interlaced or HDR.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No video at {path}. Check the path.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes). Copy or record it again.")
    if is_animated(path):
        yield from iterate_animation(path)
        return
    if path.suffix.lower() in IMAGE_SUFFIXES:
        yield read_picture(path), 0.0
        return
    try:
        with open_container(_url(path)) as container:
            yield from _decode(container, path)
    except FFmpegError as error:
        raise ValueError(
            f"{path} cannot be decoded ({error.strerror or error}): damaged, cut off, or not a video. "
            "Copy or convert it again."
        ) from error


def video_timing(path: str | Path) -> tuple[int, float]:
    """How many frames a video has, and how many per second by their times; decoded only where it must be.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not a video, cut off, without frames, or with frames at uneven times.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No video at {path}. Check the path.")
    times, declared = _packet_times(path)
    rate = 1.0
    try:
        rate = constant_rate(times, str(path))
    except ValueError:
        times = []
    if len(times) < 2:  # damage, and frames that are stored and never shown, are seen by decoding
        times = [seconds for _, seconds in iterate_frames(path)]
        rate = constant_rate(times, str(path))
    if declared is not None and abs(1 / declared - 1 / rate) * len(times) < _ROUNDING:
        rate = declared
    return len(times), rate


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
    with open_video(path, fps, upscale) as add:
        add(frames)


@contextmanager
def open_video(
    path: str | Path, fps: float, upscale: int = 1
) -> Iterator[Callable[[Float[Tensor, "T 3 H W"]], None]]:
    """A video that is written as its frames come, all of one size; it appears whole or not at all.

    Arguments and errors are those of `write_video`.
    """
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"write_video writes .mp4; got {path.name!r}. Name the file so.")
    if not fps > 0:
        raise ValueError(f"fps must be positive; got {fps}.")
    options = {"movflags": "faststart"}
    with atomic_path(path) as partial, av.open(str(partial), "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": CRF}
        stream.thread_count = 1  # a clip is too small to share

        def add(frames: Float[Tensor, "T 3 H W"]) -> None:
            pixels = _to_pixels(frames, upscale)  # (T, H, W, 3)
            odd_rows, odd_columns = pixels.shape[1] % 2, pixels.shape[2] % 2
            pixels = np.pad(pixels, ((0, 0), (0, odd_rows), (0, odd_columns), (0, 0)), mode="edge")
            if not stream.codec_context.is_open:  # which may be said before the first frame only
                stream.height, stream.width = pixels.shape[1:3]
            for image in pixels:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))

        yield add
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


def _decode(container: InputContainer, path: Path) -> Iterator[tuple[np.ndarray, float]]:
    stream = choose_stream(container)
    if stream is None:
        raise ValueError(f"{path} must hold a video; it holds none or is cut off. Copy it again.")
    if stream.codec_context is None:
        raise ValueError(
            f"{path} cannot be decoded (nothing here reads its codec): damaged, or of a rare kind. Convert "
            "it or copy it again."
        )
    decoder, ratio = decoder_of(stream, decoding_threads()), pixel_ratio_of(stream)
    clock, packets = choose_clock(_url(path), stream, container.demux(stream))
    promises = Promises(stream, clock)
    came, count, seconds, end, first, started = 0, 0, 0.0, 0.0, None, False
    try:
        for packet in packets:
            came += packet.size > 0
            if not is_shown(packet, started):
                continue
            started = True
            require_whole(packet)
            promises.add(packet)
            for frame in decoder.decode(packet):
                require_whole(None, frame)
                promises.keep(frame)
                if unfit := unfit_frame(frame):
                    raise ValueError(f"{path} cannot be judged as it is; {unfit}.")
                first = first or (frame.height, frame.width)
                if (frame.height, frame.width) != first:  # a stream may change its size in the middle
                    frame = frame.reformat(width=first[1], height=first[0], threads=decoding_threads())
                seconds = clock.read(frame)
                held = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 0.0
                end, count = seconds + (held or clock.step), count + 1
                yield frame_to_rgb(frame, pixel_ratio=ratio), seconds
        promises.keep(None)
    except (FFmpegError, Damaged) as error:
        why = error if isinstance(error, Damaged) else error.strerror or error
        if lacking := lacking_bytes(container, stream):
            raise ValueError(f"{path} is cut off: {lacking}. Copy it again.") from error
        if count == 0:
            raise ValueError(
                f"{path} cannot be decoded ({why}): damaged, cut off, or not a video. Copy or convert it "
                "again."
            ) from error
        raise ValueError(
            f"{path} is damaged after {count} frames, at {end:.2f} s ({why}): what a decoder shows from "
            "there on is guessed. Cut it there, or copy it again."
        ) from error
    missing = missing_part(container, stream, came, count, end, clock.step)
    if missing:
        raise ValueError(f"{path} is cut off: {missing}. Copy it again.")
    if count == 0:
        raise ValueError(f"{path} must hold at least one frame; got none. Record or convert it again.")


def _packet_times(path: Path) -> tuple[list[float], float | None]:
    """Seconds of the frames of a video, none where packets do not tell; and the rate that it claims."""
    times: list[float] = []
    try:
        with open_container(_url(path)) as container:
            stream = choose_stream(container)
            if stream is None or stream.codec_context is None or is_animated(path):
                return [], None
            base = stream.time_base or Fraction(1, 1000)
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:
                    if packet.pts is None:
                        return [], None
                    times.append(float(packet.pts * base))
            return sorted(times), float(stream.average_rate) if stream.average_rate else None
    except FFmpegError:
        return [], None  # reading it says why


def _url(path: Path) -> str:
    return f"file:{path}"  # a name with a colon is no protocol


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
