"""Videos for the tests of the import: a ball that moves one pixel a frame, in any wrapping."""

import struct
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def ball(frames: int, height: int = 48, width: int = 64) -> Iterator[np.ndarray]:
    """uint8 (H W 3): bright ball, centre at row 24 and column 8 + frame, over a smooth ground."""
    rows, columns = np.mgrid[:height, :width]
    for frame in range(frames):
        image = np.full((height, width, 3), 80, np.uint8)
        image[..., 2] = 60 + columns
        image[(rows - 24) ** 2 + (columns - 8 - frame) ** 2 < 36] = (230, 200, 40)
        yield image


def ball_column(image: np.ndarray) -> float:
    """Where the ball is."""
    bright = image[..., 0] > 160
    return float(np.nonzero(bright)[1].mean())


def write(
    path: Path,
    images: Sequence[np.ndarray],
    codec: str = "libx264",
    pixels: str = "yuv420p",
    times: Sequence[float] | None = None,
    key_every: int = 12,
    rate: int = 25,
    ratio: Fraction | None = None,
) -> Path:
    """Encode; times in seconds, else one frame after another at ``rate`` per second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = list(images)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.gop_size = key_every
        stream.codec_context.time_base = Fraction(1, 1000 if times else rate)
        stream.codec_context.thread_count = 1
        if ratio is not None:
            stream.codec_context.sample_aspect_ratio = ratio
        if codec == "libx264":
            stream.options = {"crf": "10", "preset": "ultrafast"}
        if codec == "libvpx-vp9":
            stream.options = {"crf": "10", "cpu-used": "8", "b": "0"}
        for number, image in enumerate(images):
            source = "rgba" if image.shape[2] == 4 else "rgb24"
            frame = av.VideoFrame.from_ndarray(image, format=source)
            frame.time_base = stream.codec_context.time_base
            frame.pts = round(times[number] * 1000) if times else number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn_header(path: Path) -> None:
    """Set the display matrix of an mp4 to a quarter turn clockwise, as a phone held upright does."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40  # version and flags, times, id, duration, layer, volume
    one = 1 << 16
    data[start : start + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def claim_size(path: Path, height: int, width: int) -> Path:
    """Make the track header of an mp4 claim another size; what is in it stays."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 76
    data[start : start + 8] = struct.pack(">II", width << 16, height << 16)
    path.write_bytes(data)
    return path


def raw_avi(path: Path, height: int, width: int) -> Path:
    """An uncompressed avi whose header is then given another size."""
    write(path, ball(3, 16, 16), "rawvideo", "bgr24")
    data = bytearray(path.read_bytes())
    start = data.index(b"strf") + 8
    data[start + 4 : start + 12] = struct.pack("<ii", width, height)
    path.write_bytes(data)
    return path


def huge_gif(path: Path) -> Path:
    """65535 x 65535 pixels of one color in 40 bytes."""
    head = b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\xf0\0\0" + b"\0\0\0\xff\xff\xff"
    path.write_bytes(head + b"," + struct.pack("<HHHH", 0, 0, 65535, 65535) + b"\0\x02\x02\x4c\x01\x00;")
    return path


def huge_png(path: Path) -> Path:
    """A png that claims 100000 x 100000 pixels."""
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
    )
    return path


def turn_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Set the display matrix of an mp4: column p and row q are shown at (a p + c q, b p + d q)."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    data[start : start + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def remux(source: Path, path: Path, change: Callable[[int, av.Packet], bool]) -> Path:
    """Copy the packets of a video that ``change`` agrees to, as it changed them."""
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(source)) as old, av.open(str(path), "w", options=options) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(video=0)):
            if packet.size and change(number, packet):
                packet.stream = stream
                new.mux(packet)
    return path
