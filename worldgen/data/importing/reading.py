"""Read one foreign recording: probe it, decode what can be trusted, cut it into clips.

What a file shows is the affair of `data.decoding`, which hides no damage. At the first error the clip
at hand is given up, and reading goes on at the next key frame, which needs nothing of what came before.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import torch
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream
from jaxtyping import UInt8
from PIL import Image

from worldgen.data.importing.framing import (
    MULTIPLE,
    ClipCutter,
    bucket_sizes,
    choose_bucket,
    fit_frame,
    natural_rate,
)
from worldgen.data.importing.recordings import Drop, Recording
from worldgen.data.reading.decoding import (
    MOST_PIXELS,
    Damaged,
    Promises,
    choose_clock,
    choose_stream,
    claimed_sizes,
    decoder_of,
    frame_to_rgb,
    is_shown,
    missing_part,
    open_container,
    pixel_ratio_of,
    require_whole,
    unfit_frame,
)
from worldgen.data.reading.pictures import picture_to_rgb
from worldgen.data.reading.sound import read_sound
from worldgen.data.shards.members import encode_clip
from worldgen.data.workers import Beat
from worldgen.files import naming_the_file
from worldgen.types import Clip

FEWEST_PIXELS = 8
"""Rows, and columns, of a frame."""
LOWEST_RATE = 0.9
"""Share of the rate asked for that a recording must have: below it frames would be shown twice."""


@dataclass(frozen=True)
class CutRule:
    """How recordings become clips."""

    size: int
    """Rows and columns of the square bucket."""
    frames: int
    fps: float | None
    """Each recording's own when None."""
    stride: int
    """Frames from the beginning of a clip to that of the next."""
    square: bool
    """Only the square bucket."""
    background: int
    """Gray level under transparent pixels."""
    multiple: int = MULTIPLE
    """Rows and columns of every bucket are multiples of this."""

    def __post_init__(self) -> None:
        bucket_sizes(self.size, multiple=self.multiple)
        for name in ("frames", "fps", "stride"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} must be positive; got {value}.")
        if not 0 <= self.background <= 255:
            raise ValueError(f"background must be a gray level from 0 to 255; got {self.background}.")


@dataclass(frozen=True)
class CutClip:
    """A clip of a recording."""

    start: float
    """Seconds from the beginning of the recording."""
    fps: float
    frames: UInt8[np.ndarray, "T H W 3"]


@dataclass(frozen=True)
class EncodedClip:
    """A clip as the members of a shard."""

    start: float
    shape: tuple[int, int, int]
    members: dict[str, bytes]


@dataclass(frozen=True)
class ReadingTask:
    """A recording, and the file that its clips are spooled to."""

    recording: Recording
    rule: CutRule
    spool: Path


def spool_recording(task: ReadingTask, beat: Beat) -> None:
    """Write the clips and drops of a recording to the spool, one pickle after another.

    A clip whose sound cannot be read is kept silent, and the sound is what was dropped.

    Raises:
        OSError: The spool cannot be written.
    """
    torch.set_num_threads(1)  # each process has a core
    with naming_the_file(task.spool), open(task.spool, "wb") as file:
        for piece in cut_recording(task.recording, task.rule, beat):
            if isinstance(piece, CutClip):
                frames = (
                    torch.from_numpy(piece.frames).permute(0, 3, 1, 2)[None].float() / 255
                )  # (1, T, 3, H, W)
                begin, length = piece.start + (task.recording.begin or 0.0), len(piece.frames) / piece.fps
                sound = None
                try:
                    sound = None if task.recording.is_image else read_sound(task.recording.url, begin, length)
                except ValueError as error:
                    why = f"sound: {error}; the clip is kept, and is silent"
                    pickle.dump(Drop(task.recording.name, piece.start, why), file)
                clip = Clip(
                    frames,
                    torch.tensor([piece.fps]),
                    (task.recording.caption,),
                    sound=None if sound is None else sound[None],
                )
                shape = (piece.frames.shape[0], piece.frames.shape[1], piece.frames.shape[2])
                piece = EncodedClip(piece.start, shape, encode_clip(clip, "", None))
            pickle.dump(piece, file)
            file.flush()  # what is there counts, also when the decoder crashes later


def read_spool(path: Path) -> Iterator[EncodedClip | Drop]:
    """What was spooled before the writer ended or died."""
    if not path.exists():
        return
    with open(path, "rb") as file, suppress(EOFError, pickle.UnpicklingError):
        while True:
            yield pickle.load(file)


def cut_recording(recording: Recording, rule: CutRule, beat: Beat = lambda: None) -> Iterator[CutClip | Drop]:
    """The clips of a recording, and why the rest of it was left out.

    A recording shorter than a clip is dropped; what remains after the last whole clip is not reported.

    Args:
        recording: A video or picture.
        rule: Sizes, rate and lengths.
        beat: Called as reading goes on.
    """
    try:
        head = recording.read_head(16)
        if not head:
            yield Drop(recording.name, None, "empty: the file has 0 bytes")
        elif recording.is_image:
            yield _read_picture(recording, rule)
        else:
            _refuse_huge_gif(head)
            if head[4:8] == b"ftyp":
                _refuse_huge_mp4(recording)
            yield from _cut_video(recording, rule, beat)
    except _Unusable as error:
        yield Drop(recording.name, None, str(error))
    except MemoryError:
        yield Drop(recording.name, None, "too large: decoding takes more memory than the limit")
    except FFmpegError as error:
        yield Drop(recording.name, None, f"not a video: {error.strerror or error}")
    except OSError as error:
        yield Drop(recording.name, None, f"unreadable: {error.strerror or error}")
    except Exception as error:  # whatever a foreign file makes a decoder do, the other files are wanted
        yield Drop(recording.name, None, f"unreadable: {type(error).__name__}: {error}")


class _Unusable(Exception):
    """Why nothing of a recording can be used."""


def _cut_video(recording: Recording, rule: CutRule, beat: Beat) -> Iterator[CutClip | Drop]:
    with open_container(recording.url) as container:
        stream = _video_of(container)
        if not stream.width or not stream.height:  # ffmpeg forgets a size that is beyond any memory
            raise _Unusable("no size: the header claims none that can be true")
        _refuse_size(stream.width, stream.height)
        times, claimed = _scan(container, stream, recording, beat)
    own = natural_rate(times, float(stream.average_rate) if stream.average_rate else None)
    if not times:
        raise _Unusable("no frames: the file holds none")
    if rule.fps is not None and own is not None and own < LOWEST_RATE * rule.fps:
        raise _Unusable(f"low frame rate: {own:.3g} frames per second, fewer than the {rule.fps:g} asked for")
    fps = rule.fps or own or 1.0
    if claimed is not None:
        yield Drop(recording.name, max(times[-1] - (recording.begin or 0.0), 0.0), claimed)
    with open_container(recording.url) as container:
        yield from _decode(container, recording, rule, fps, beat)


def _decode(
    container: InputContainer, recording: Recording, rule: CutRule, fps: float, beat: Beat
) -> Iterator[CutClip | Drop]:
    stream = _video_of(container)
    decoder = decoder_of(stream, 1)
    shown = _Shown(rule, stream)
    cutter = ClipCutter(fps, rule.frames, rule.stride, shown.picture)
    zero = recording.begin or 0.0
    half = 0.5 / max(fps, float(stream.average_rate or 0))  # of the video's own period: neighbors begin there
    whole, broken, count, started = True, False, 0, False

    def end(why: str | None) -> Iterator[CutClip | Drop]:
        nonlocal whole
        at = cutter.time
        yield from (CutClip(start - zero, fps, frames) for start, frames in cutter.cut())
        if at is not None and cutter.clips == 0:
            start = None if whole and why is None else cutter.begin - zero
            yield Drop(
                recording.name,
                start,
                f"too short: {cutter.samples} of the {rule.frames} frames of a clip at {fps:.4g} per second",
            )
        cutter.begin_stretch()
        if why is not None:
            if at is not None or whole:  # else it is the same damage still
                yield Drop(recording.name, max((zero if at is None else at) - zero, 0.0), why)
            whole = False

    _seek(container, stream, recording)
    clock, packets = choose_clock(recording.url, stream, container.demux(stream))
    promises = Promises(stream, clock)
    while True:
        beat()
        error, frames, packet = None, [], None
        try:
            packet = next(packets, None)
            if packet is None:
                break
            if (broken and not packet.is_keyframe) or not is_shown(packet, started):
                continue
            broken, started = False, True
            require_whole(packet)
            promises.add(packet)
            frames = decoder.decode(packet)
        except (FFmpegError, Damaged) as failure:
            error = getattr(failure, "strerror", None) or str(failure)
        for frame in frames:
            if frame.is_corrupt:
                error = "a frame is incomplete"
                break
            try:
                promises.keep(frame)
            except Damaged as failure:  # between the last one and this, from which the decoder goes on
                yield from end(f"damaged: {failure}")
            if count == 0 and (unfit := unfit_frame(frame)):
                raise _Unusable(unfit)
            seconds = clock.read(frame)
            count += 1
            if recording.begin is not None and seconds < recording.begin - half:
                continue
            if recording.end is not None and seconds > recording.end - half:
                yield from end(None)
                return
            if cutter.is_gap(seconds):
                yield from end(f"gap: the next frame is at {seconds - zero:.3f} s")
            beat()
            for start, pictures in cutter.feed(seconds, frame):
                yield CutClip(start - zero, fps, pictures)
        if error is not None:
            yield from end(f"damaged: {error}")
            if packet is None:  # the container itself
                return
            broken = True
            promises.forget()
            decoder.flush_buffers()
    yield from end(None)
    if whole and count == 0:
        raise _Unusable("no frames: nothing could be decoded")


class _Shown:
    """Makes pictures of a stream's frames, all of the bucket that the first one fits."""

    def __init__(self, rule: CutRule, stream: VideoStream) -> None:
        self.rule, self.bucket = rule, None
        self.pixel_ratio = pixel_ratio_of(stream)

    def picture(self, frame: av.VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
        _refuse_size(frame.width, frame.height)
        image = frame_to_rgb(frame, self.rule.background, self.pixel_ratio)
        if self.bucket is None:
            sizes = bucket_sizes(self.rule.size, self.rule.square, self.rule.multiple)
            self.bucket = choose_bucket(image.shape[1] / image.shape[0], sizes)
        return fit_frame(image, self.bucket)


def _video_of(container: InputContainer) -> VideoStream:
    stream = choose_stream(container)
    if stream is None or stream.codec_context is None:
        raise _Unusable("not a video: it holds no pictures, or is cut off")
    return stream


def _seek(container: InputContainer, stream: VideoStream, recording: Recording) -> None:
    if recording.begin and stream.time_base:
        container.seek(round(recording.begin / stream.time_base), stream=stream)  # begin is a sum of floats


def _scan(
    container: InputContainer, stream: VideoStream, recording: Recording, beat: Beat
) -> tuple[list[float], str | None]:
    """Times of the frames, undecoded and in order; and what is missing of what the header promises."""
    base = stream.time_base or Fraction(1, 1000)
    rate = float(stream.average_rate or 25)
    times, count, end = [], 0, 0.0
    with suppress(FFmpegError):  # decoding comes to the same place, and tells
        _seek(container, stream, recording)
        for packet in container.demux(stream):
            beat()
            if packet.size == 0:
                continue
            stamp = packet.pts if packet.pts is not None else packet.dts
            seconds = float(stamp * base) if stamp is not None else count / rate
            count += 1
            held = float((packet.duration or 0) * base) or 1 / rate
            end = max(end, seconds + held)
            if packet.is_discard:
                continue
            if recording.end is not None and packet.dts is not None and packet.dts * base > recording.end:
                break
            begun = (recording.begin or seconds) <= seconds + 1e-3
            if begun and (recording.end or seconds + 1) > seconds + 1e-3:
                times.append(seconds)
    times.sort()
    if recording.begin is not None or not times:
        return times, None
    missing = missing_part(container, stream, count, count, end, 1 / rate)
    return times, f"cut off: {missing}" if missing else None


def _refuse_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise _Unusable(f"too large: {width} x {height} pixels, more than {MOST_PIXELS // 10**6} million")
    if 0 < min(width, height) < FEWEST_PIXELS:
        raise _Unusable(f"too small: {width} x {height} pixels")


def _refuse_huge_gif(head: bytes) -> None:
    """Before ffmpeg makes room for the picture."""
    if head[:6] in (b"GIF87a", b"GIF89a"):
        _refuse_size(*struct.unpack("<HH", head[6:10]))


def _refuse_huge_mp4(recording: Recording) -> None:
    with open(recording.path, "rb") as file:
        end = recording.offset + recording.size if recording.size is not None else file.seek(0, 2)
        for width, height in claimed_sizes(file, recording.offset, end):
            _refuse_size(width, height)


def _read_picture(recording: Recording, rule: CutRule) -> CutClip:
    """A picture as a clip of one frame at 1 frame per second, turned as its EXIF mark says."""
    try:
        with open(recording.path, "rb") as file:
            file.seek(recording.offset)
            data = file.read() if recording.size is None else file.read(recording.size)
        with Image.open(BytesIO(data)) as picture:
            _refuse_size(*picture.size)
            image = picture_to_rgb(picture, rule.background)
    except Image.DecompressionBombError as error:
        raise _Unusable(f"too large: {error}") from error
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise _Unusable(f"not a picture: {error}") from error
    sizes = bucket_sizes(rule.size, rule.square, rule.multiple)
    bucket = choose_bucket(image.shape[1] / image.shape[0], sizes)
    return CutClip(0.0, 1.0, fit_frame(image, bucket)[None])
