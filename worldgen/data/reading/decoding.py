"""What a video file shows, as ffmpeg's players do: its stream, frames, their order, times and turn.

Decoders hide damage: they fill a broken picture with pieces of others, and go on. Here they are told not to
(``err_detect=explode``), and what they mark as incomplete counts as damage.
"""

from __future__ import annotations

import heapq
import multiprocessing
import struct
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream
from jaxtyping import UInt8

from worldgen.data.reading.pictures import BACKGROUND, lay_over

MOST_PIXELS = 40_000_000
"""Of a frame, 8K and a little: larger claims are refused before anything is decoded."""
_LARGEST_HEADER = 1 << 28
"""Bytes of an mp4 header that are looked through."""
_LOOK_AHEAD = 64
"""Packets in which a stream that stores frames out of order does so at least once."""
_HDR = {16: "PQ", 18: "HLG"}
"""ffmpeg's numbers for the HDR transfer curves, which look gray without tone mapping."""
_NO_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails
_WIDEST_PIXEL = 4
"""Width over height, or height over width; beyond it the mark is a mistake."""


class Damaged(ValueError):
    """A frame cannot be decoded without guessing; the message says why, without the file's name."""


def open_container(url: str) -> InputContainer:
    """A file, or a part of one, as ffmpeg opens it; names that are no utf-8 do not matter."""
    return av.open(url, metadata_errors="ignore")


def choose_stream(container: InputContainer) -> VideoStream | None:
    """The stream that players show: the default one, else the largest, and never a cover picture."""
    streams = [stream for stream in container.streams.video if not stream.disposition & _NO_VIDEO]
    if not streams:
        return None
    return max(
        streams,
        key=lambda stream: (
            bool(stream.disposition & Disposition.default),
            0 if stream.codec_context is None else stream.width * stream.height,
            -stream.index,
        ),
    )


def decoder_of(stream: VideoStream, threads: int) -> av.VideoCodecContext:
    """The stream's decoder, or the one that knows of transparency where ffmpeg's own does not."""
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name)
    decoder = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and name in av.codecs_available:
        decoder = av.CodecContext.create(name, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.options = {"err_detect": "explode+crccheck", "max_pixels": str(MOST_PIXELS)}
    decoder.thread_type = "AUTO"
    decoder.thread_count = threads
    return decoder


def decoding_threads() -> int:
    """Of a codec: 1 in a child process, as the other cores have children of their own; else 0, its choice."""
    return 0 if multiprocessing.parent_process() is None else 1


class Clock:
    """When decoded frames are shown, in seconds.

    A decoder gives frames in the order in which they are shown, whatever their stamps say. Where stamps go
    back in that order they were copied from, or made up in, the order of storage; then a frame is shown when
    the packet came that set it free, as ffmpeg does it. Without any stamps the file's rate counts.

    Args:
        rate: Of the file, frames per second.
        source: "pts", "dts" or "": which stamps hold.
    """

    def __init__(self, rate: Fraction | None, source: str) -> None:
        self.step, self.source = 1 / float(rate or 25), source
        self._last: float | None = None

    def read(self, frame: av.VideoFrame) -> float:
        """Seconds of the next frame."""
        stamp = {"pts": frame.pts, "dts": frame.dts}.get(self.source)
        if stamp is not None and frame.time_base is not None:
            seconds = float(stamp * frame.time_base)
        else:  # the last frames of a stream come without packets
            seconds = 0.0 if self._last is None else self._last + self.step
        if self._last is not None and seconds - self._last > 0:
            self.step = seconds - self._last
        self._last = seconds
        return seconds


def choose_clock(
    url: str, stream: VideoStream, packets: Iterator[av.Packet]
) -> tuple[Clock, Iterator[av.Packet]]:
    """The clock of a stream, and its packets from the first on.

    Args:
        url: What was opened; it is decoded once beforehand where only that tells.
        stream: Of an opened file.
        packets: All of the stream's.
    """
    # An avi has no stamps, so ffmpeg makes them up; it errs where packets of MPEG-4 hold two frames (packed).
    head: deque[av.Packet] = deque()
    rate, newest, stored_apart = stream.average_rate or stream.guessed_rate, None, False
    has_stamps = True
    for packet in packets:
        head.append(packet)
        if packet.size == 0 or len(head) == _LOOK_AHEAD:
            break
        has_stamps &= packet.pts is not None
        if packet.pts is not None:
            stored_apart = newest is not None and packet.pts < newest
            newest = packet.pts if newest is None else max(newest, packet.pts)
        if stored_apart or not has_stamps:
            break
    made_up = stream.container.format.name == "avi" or stream.codec_context.name == "mpeg4"
    source = "pts"
    if not has_stamps or (stream.codec_context.has_b_frames and (made_up or not stored_apart)):
        source = _which_stamps(url, stream.index)
    return Clock(rate, source), chain(head, packets)


class Promises:
    """The frames that packets promise, for codecs in which each packet is a frame.

    After a packet that was lost a decoder gives nothing, without a word, until it can go on.
    """

    def __init__(self, stream: VideoStream, clock: Clock) -> None:
        self.counts = clock.source == "pts" and stream.codec_context.name in ("h264", "hevc")
        self.forget()

    def forget(self) -> None:
        """Begin anew, at a key frame."""
        self._waiting: list[int] = []
        self._begun = False

    def add(self, packet: av.Packet) -> None:
        """A packet that is decoded."""
        if self.counts and packet.size and not packet.is_discard and packet.pts is not None:
            heapq.heappush(self._waiting, packet.pts)

    def keep(self, frame: av.VideoFrame | None) -> None:
        """Raise `Damaged` if a frame that should have come before this one, or at all, did not."""
        lost = False
        while self._waiting and (frame is None or self._waiting[0] <= (frame.pts or 0)):
            lost |= heapq.heappop(self._waiting) != (None if frame is None else frame.pts)
        if lost and self._begun:  # what shows before the first key frame cannot be decoded, and is not shown
            raise Damaged("a frame that others need is not there")
        self._begun = True


def _which_stamps(url: str, index: int) -> str:
    """Which stamps grow in the order in which frames are decoded."""
    stamps: dict[str, list[int | None]] = {"pts": [], "dts": []}
    try:
        with open_container(url) as container:
            for frame in container.decode(container.streams[index]):
                assert isinstance(frame, av.VideoFrame)
                stamps["pts"].append(frame.pts)
                stamps["dts"].append(frame.dts)
    except FFmpegError:
        pass  # reading it says so
    while stamps["dts"] and stamps["dts"][-1] is None:  # the last ones, which no packet set free
        stamps["dts"].pop()
    for name, found in stamps.items():
        known = [stamp for stamp in found if stamp is not None]
        if len(known) == len(found) and known and all(a < b for a, b in zip(known, known[1:], strict=False)):
            return name
    return ""


def is_shown(packet: av.Packet, started: bool) -> bool:
    """Whether a packet can be decoded: in a recording cut in front, not before the first key frame."""
    return started or packet.is_keyframe or packet.size == 0


def require_whole(packet: av.Packet | None, frame: av.VideoFrame | None = None) -> None:
    """Raise `Damaged` where a packet or a frame is marked as incomplete."""
    if packet is not None and packet.size and packet.is_corrupt:
        raise Damaged("a packet is incomplete")
    if frame is not None and frame.is_corrupt:
        raise Damaged("a frame is incomplete")


def unfit_frame(frame: av.VideoFrame) -> str:
    """Why a frame is no picture of one moment in standard range: "kind: what to do"; "" where it is one."""
    if frame.color_trc in _HDR:
        return f"HDR ({_HDR[frame.color_trc]}): convert it to standard range first"
    if frame.interlaced_frame:
        return "interlaced: two moments are in each frame; deinterlace it first"
    return ""


def lacking_bytes(container: InputContainer, stream: VideoStream) -> str:
    """What the index places behind the end of the file, such as "3 of 40 frames"; "" where nothing."""
    entries, size = stream.index_entries, container.size
    if size <= 0 or "mp4" not in container.format.name:
        return ""
    lost = sum(entry.pos + entry.size > size for entry in entries)
    return f"{lost} of its {len(entries)} frames are not there" if lost else ""


def missing_part(
    container: InputContainer, stream: VideoStream, packets: int, frames: int, end: float, step: float
) -> str:
    """What a file promises and does not hold, such as "12 of 40 frames are there"; "" where it is whole.

    Args:
        container: Read to its end.
        stream: Of it.
        packets: That came of the stream.
        frames: That were decoded; as many as packets where nobody decoded.
        end: Seconds at which the last frame ends.
        step: Seconds of a frame.
    """
    if lost := lacking_bytes(container, stream):
        return lost
    entries = stream.index_entries
    promised = stream.frames
    if "mp4" in container.format.name:
        # Of an edited file (cut without loss) the index lists what is shown, the header counts all.
        promised = len(entries)
    there = packets
    if container.format.name == "avi":  # counts frames; one that repeats the last is empty and does not come
        there = max(packets, round(end * float(stream.guessed_rate or 0)))
    if promised and there < promised:
        return f"only {min(packets, frames)} of {promised} frames are there"
    if not container.duration:
        return ""
    last = (container.duration + (container.start_time or 0)) / av.time_base
    told = stream.metadata.get("DURATION")
    if told is not None:  # of this stream alone, from 0; a program may have copied it from another file
        last = min(_seconds_of(told), last)
    elif len(container.streams) > 1:
        return ""
    missing = last - end
    return f"its last {missing:.2f} s are missing" if missing > max(2 * step, 0.1) else ""


def pixel_ratio_of(stream: VideoStream) -> float:
    """Width of a pixel over its height; 1 where the mark is none that can be true."""
    ratio = float(stream.sample_aspect_ratio or 1)
    return ratio if 1 / _WIDEST_PIXEL < ratio < _WIDEST_PIXEL else 1.0


def frame_to_rgb(
    frame: av.VideoFrame, background: int = BACKGROUND, pixel_ratio: float = 1.0
) -> UInt8[np.ndarray, "H W 3"]:
    """A decoded frame as it is shown, 8-bit RGB with square pixels, upright.

    Deeper bits are rounded, rotation and mirror marks obeyed, transparency filled.

    Args:
        frame: Of any pixel format.
        background: Gray level that transparent pixels are laid over.
        pixel_ratio: Width of a stored pixel over its height; columns become as many as that asks for.
    """
    width = max(round(frame.width * pixel_ratio), 1)
    threads = decoding_threads()
    components = frame.format.components
    if any(component.is_alpha for component in components):
        shown = frame.reformat(width=width, format="rgba", threads=threads).to_ndarray()
        image = lay_over(shown, background)
    else:
        if any(component.bits > 8 for component in components) and frame.format.name.startswith("yuv"):
            # From 4:2:0 of 10 bits swscale makes 253 of white, from 4:4:4 it makes 255.
            frame = frame.reformat(format="yuv444p10le", threads=threads)
        image = frame.reformat(width=width, format="rgb24", threads=threads).to_ndarray()
    return _turn(image, frame)


def _turn(image: UInt8[np.ndarray, "H W 3"], frame: av.VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
    """By the display matrix: column p and row q of the file are shown at ``(a p + c q, b p + d q)``."""
    mark = frame.side_data.get("DISPLAYMATRIX")
    if mark is None:
        return np.ascontiguousarray(image)
    a, b, _, c, d = np.frombuffer(bytes(mark), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        image = image.swapaxes(0, 1)
        across, down = c, b
    else:
        across, down = a, d
    return np.ascontiguousarray(image[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


def _seconds_of(text: str) -> float:
    """Of ``00:00:01.200000000``; 0 where it is none."""
    try:
        hours, minutes, seconds = text.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except ValueError:
        return 0.0


def claimed_sizes(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Width and height that each track header of an mp4 claims: ffmpeg makes the shape of the pixels from it.

    Args:
        file: Open for reading; what is no mp4 claims none.
        begin: First byte of the mp4 in it.
        end: The byte after its last.
    """
    place = begin
    while place + 8 <= end:
        file.seek(place)
        size, name = struct.unpack(">I4s", file.read(8))
        if name == b"moov" and size <= _LARGEST_HEADER:
            break
        if size == 1:  # the size is beyond 32 bits, and follows
            size = struct.unpack(">Q", file.read(8).ljust(8, b"\0"))[0]
        if size < 8:
            return
        place += size
    else:
        return
    header = file.read(size - 8)
    place = header.find(b"tkhd")
    while place >= 0:
        sides = place + (92 if header[place + 4 : place + 5] == b"\1" else 80)  # version 1 has longer times
        if sides + 8 <= len(header):
            width, height = struct.unpack(">II", header[sides : sides + 8])
            yield width >> 16, height >> 16
        place = header.find(b"tkhd", place + 4)
