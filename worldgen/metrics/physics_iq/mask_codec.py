"""What the official code of Physics-IQ does to its masks before it compares them: a lossy video of them.

``binary_mask_generator.py`` (google-deepmind/physics-IQ-benchmark, 2025) writes masks with OpenCV's ``mp4v``
and reads them back. The settings here are OpenCV's (``cap_ffmpeg_impl.hpp``), so that packets and gray levels
are equal to the byte where both have one release of ffmpeg.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.codec.context import Flags
from jaxtyping import UInt8

_LARGEST = 2**31 - 1
_GROUP = 12
"""Frames from one that stands alone to the next."""
_FINEST = "3"
"""Smallest quantizer."""


@dataclass(frozen=True)
class Mpeg4:
    """MPEG-4 part 2 at 1.5 bits per pixel."""

    def pass_through(
        self, masks: Iterable[UInt8[np.ndarray, "H W"]], rate: float
    ) -> Iterator[UInt8[np.ndarray, "h w"]]:
        """The gray levels that come back, of sizes cut to even ones; memory for a few frames only.

        Args:
            masks: Black and white: 0 and 255.
            rate: Frames per second, of which a whole number is written.
        """
        writer = reader = None
        for number, mask in enumerate(masks):
            even = mask[: len(mask) // 2 * 2, : mask.shape[1] // 2 * 2]
            if writer is None or reader is None:
                writer = _writer(even.shape[0], even.shape[1], max(round(rate), 1))
                reader = av.CodecContext.create("mpeg4", "r")
                assert isinstance(reader, av.VideoCodecContext)
                reader.extradata, reader.thread_count = writer.extradata, 1
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="gray")
            frame = frame.reformat(format="yuv420p")
            frame.pts = number
            for packet in writer.encode(frame):
                yield from map(_gray, reader.decode(packet))
        if writer is not None and reader is not None:
            for packet in writer.encode(None):
                yield from map(_gray, reader.decode(packet))
            yield from map(_gray, reader.decode(None))


def _writer(height: int, width: int, rate: int) -> av.VideoCodecContext:
    writer = av.CodecContext.create("mpeg4", "w")
    assert isinstance(writer, av.VideoCodecContext)
    writer.width, writer.height, writer.pix_fmt = width, height, "yuv420p"
    writer.time_base, writer.framerate = Fraction(1, rate), Fraction(rate)
    bits = min(rate * width * height, _LARGEST / 2)
    writer.bit_rate = writer.bit_rate_tolerance = int(min(1.5 * bits, _LARGEST))
    writer.gop_size, writer.thread_count, writer.options = _GROUP, 1, {"qmin": _FINEST}
    writer.flags |= Flags.global_header
    writer.open()
    return writer


def _gray(frame: av.VideoFrame) -> UInt8[np.ndarray, "h w"]:
    return np.ascontiguousarray(frame.reformat(format="rgb24").to_ndarray()[..., 1])
