"""Import 200 randomly damaged videos, and see what becomes of each.

Run: python experiments/worlds/damage.py OUT [--clips FOLDER] [--count 200] [--seed 0]

Every file is a sound video (those of FOLDER, and generated ones in seven wrappings) that was truncated,
bit-flipped, renamed (text, sound or noise called a video), emptied, or given 65535 x 65535 pixels or more in
its header. The import must end by itself, and must list each file in dropped.csv or have made clips of it.
Frames that were imported are then compared with the sound video's at the same time: how many are wrong is the
damage that no decoder reports.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import struct
import time
from collections import Counter
from pathlib import Path

import av
import numpy as np

from worldgen.data.importing.framing import bucket_sizes, fit_frame
from worldgen.data.importing.importing import import_videos
from worldgen.data.reading.decoding import frame_to_rgb
from worldgen.data.sources import ShardedClips

KINDS = ("truncated", "bit-flipped", "renamed", "empty", "huge header")
CODECS = (
    ("h264.mp4", "libx264", "yuv420p"),
    ("mpeg4.avi", "mpeg4", "yuv420p"),
    ("vp9.webm", "libvpx-vp9", "yuv420p"),
    ("mjpeg.mov", "mjpeg", "yuvj420p"),
    ("ffv1.mkv", "ffv1", "bgr0"),
    ("raw.avi", "rawvideo", "bgr24"),
    ("disc.gif", "gif", "rgb8"),
)
WRONG = 12.0 / 255
"""A frame is wrong when its mean absolute difference to the sound one is larger than this share of white."""


def main(out: Path, clips: Path | None, count: int, seed: int) -> None:
    rng = random.Random(seed)
    sound, damaged = out / "sound", out / "damaged"
    for folder in (sound, damaged):
        folder.mkdir(parents=True, exist_ok=True)
    sources = [path for path in sorted(clips.iterdir()) if path.suffix in (".mp4", ".webm")] if clips else []
    sources += [generate(sound / name, codec, pixels) for name, codec, pixels in CODECS]
    made: dict[str, tuple[str, Path]] = {}
    for number in range(count):
        kind, source = KINDS[number % len(KINDS)], sources[rng.randrange(len(sources))]
        path = damaged / f"{number:03d}-{kind.replace(' ', '-')}-{source.name}"
        path.write_bytes(damage(kind, source.read_bytes(), rng))
        made[path.name] = (kind, source)
    begun = time.monotonic()
    done = import_videos(damaged, out / "shards")
    seconds = time.monotonic() - begun
    with open(out / "shards" / "dropped.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    listed = {row["file"] for row in rows}
    starts = {
        item["name"]: item["starts"]
        for path in sorted((out / "shards" / "parts").iterdir())
        for item in json.loads(path.read_text())["recordings"]
    }
    imported = {name for name, times in starts.items() if times}
    lost = set(made) - listed - imported
    assert not lost, f"neither listed nor imported: {sorted(lost)}"
    wrong, frames = compare(out / "shards", starts, made)
    print(f"{count} files of {len(sources)} sound ones, {done.clips} clips, {seconds:.0f} s, none lost.\n")
    print(
        "| damage | files | only listed | listed and good part imported | imported whole | frames | wrong |"
    )
    print("|---|---|---|---|---|---|---|")
    for kind in KINDS:
        names = {name for name, (what, _) in made.items() if what == kind}
        cells = (
            len(names),
            len(names - imported),
            len(names & listed & imported),
            len(names & imported - listed),
        )
        print(f"| {kind} | {' | '.join(map(str, cells))} | {frames[kind]} | {wrong[kind]} |")
    reasons = Counter(row["reason"].partition(":")[0] for row in rows)
    print("\nReasons: " + ", ".join(f"{reason} {number}" for reason, number in reasons.most_common()) + ".")


def generate(path: Path, codec: str, pixels: str) -> Path:
    """Four seconds of a disc that goes round over noise."""
    noise = np.random.default_rng(0).integers(90, 130, (256, 320, 3))
    rows, columns = np.mgrid[:256, :320]
    with av.open(
        str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}
    ) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 256, 320, pixels
        stream.codec_context.gop_size = 24
        stream.codec_context.thread_count = 1
        for number in range(100):
            angle = number / 12
            disc = (rows - 128 - 80 * np.sin(angle)) ** 2 + (columns - 160 - 100 * np.cos(angle)) ** 2 < 1100
            image = np.where(disc[..., None], (240, 190, 40), noise).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def damage(kind: str, data: bytes, rng: random.Random) -> bytes:
    if kind == "truncated":
        return data[: int(len(data) * rng.uniform(0.02, 0.98))]
    if kind == "bit-flipped":
        flipped = bytearray(data)
        for _ in range(rng.choice((1, 3, 10, 100))):
            flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    if kind == "renamed":
        return rng.choice(
            (b"a text, no video\n" * 50, b"RIFF\x24\0\0\0WAVEfmt " + bytes(60), rng.randbytes(5000))
        )
    if kind == "empty":
        return b""
    return enlarge(data)


def enlarge(data: bytes) -> bytes:
    """Wherever the container writes the size: 65535 x 65535, or 100000 x 100000 where the field is wider."""
    changed, both = bytearray(data), b"\xff\xff\xff\xff"
    if data[4:8] == b"ftyp":
        for box in (b"avc1", b"jpeg", b"mp4v"):
            place = data.find(box, data.find(b"stsd"))
            if place >= 0:
                changed[place + 28 : place + 32] = both
        place = data.find(b"tkhd") + 4 + 76
        changed[place : place + 8] = struct.pack(">II", 65535 << 16, 65535 << 16)
    elif data[:3] == b"GIF":
        changed[6:10] = both
    elif data[:4] == b"RIFF":
        place = data.find(b"strf") + 8
        changed[place + 4 : place + 12] = struct.pack("<ii", 100_000, 100_000)
        place = data.find(b"avih") + 8
        changed[place + 32 : place + 40] = struct.pack("<II", 100_000, 100_000)
    else:  # matroska: PixelWidth 0xb0 and PixelHeight 0xba, two bytes or one each
        for key in (b"\xb0", b"\xba"):
            for length in (b"\x82", b"\x81"):
                place = data.find(key + length, data.find(b"\xe0"), data.find(b"\xe0") + 200)
                if place >= 0:
                    changed[place + 2 : place + 2 + (length[0] & 15)] = b"\xff" * (length[0] & 15)
                    break
    return bytes(changed)


def compare(
    shards: Path, starts: dict[str, list[float]], made: dict[str, tuple[str, Path]]
) -> tuple[Counter[str], Counter[str]]:
    """Imported frames that differ from the sound video's nearest in time, and all of them, per damage."""
    wrong: Counter[str] = Counter()
    frames: Counter[str] = Counter()
    sound: dict[Path, tuple[np.ndarray, list[np.ndarray]]] = {}
    clips = ShardedClips(shards)
    places = {clips.name(number): number for number in range(len(clips))}
    by_start: dict[str, list[int]] = {}
    for name, number in sorted(places.items()):
        by_start.setdefault(name.rpartition("-")[0], []).append(number)
    for key, numbers in by_start.items():
        name = next(name for name in made if key.startswith(Path(name).stem.replace(".", "_")[:40]))
        kind, source = made[name]
        if source not in sound:
            sound[source] = decode(source)
        times, pictures = sound[source]
        for start, number in zip(starts[name], numbers, strict=True):
            clip = clips[number]
            for k, frame in enumerate(clip.frames[0]):
                nearest = int(np.abs(times - start - k / float(clip.fps[0])).argmin())
                wanted = fit_frame(pictures[nearest], (clip.frames.shape[-2], clip.frames.shape[-1])) / 255
                frames[kind] += 1
                wrong[kind] += bool(np.abs(frame.permute(1, 2, 0).numpy() - wanted).mean() > WRONG)
    return wrong, frames


def decode(path: Path) -> tuple[np.ndarray, list[np.ndarray]]:
    """Times and small frames of a sound video."""
    times, pictures = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            image = frame_to_rgb(frame)
            times.append(frame.time)
            pictures.append(fit_frame(image, bucket_sizes(64)[3]))
    return np.array(times), pictures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    main(options.out, options.clips, options.count, options.seed)
