"""Import a folder of foreign videos into shards: resumable, in child processes, every loss accounted for.

What is written::

    OUT/16x64x64/shard-000000.tar   clips of one size (frames, rows, columns), with their index
    OUT/dropped.csv                 file, start in seconds, reason: everything that was left out
    OUT/config.json                 what decides how recordings become clips
    OUT/parts/part-000000.json      which recordings are done, and in which shards their clips are

A part is a few hundred clips. Its file is written last: shards that no part names are of a run that was
killed, and are made again. The order of clips is that of the recordings' names, whatever the number of
processes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from worldgen.data.engines.engine import Engine
from worldgen.data.engines.local import LocalEngine
from worldgen.data.importing.framing import MULTIPLE
from worldgen.data.importing.layouts import find_recordings
from worldgen.data.importing.ledger import DoneRecording, Ledger, Part, fingerprint_of, number_of
from worldgen.data.importing.reading import CutRule, EncodedClip, ReadingTask, read_spool, spool_recording
from worldgen.data.importing.recordings import Drop, Listing, Recording
from worldgen.data.reading.pictures import BACKGROUND
from worldgen.data.shards.captioners import Captioner, load_captioner
from worldgen.data.shards.members import CAPTION, decode_clip
from worldgen.data.shards.shards import ShardWriter, find_shards, read_index, shard_paths
from worldgen.files import progress_bar, write_atomically
from worldgen.texts import csv_text

CLIPS_PER_SHARD = 64
CLIPS_PER_PART = 512
FILES_PER_PART = 512
SILENT_SECONDS = 30.0
"""A decoder that gives nothing for so long hangs."""
MEGABYTES = 2048
"""Memory that decoding one file may take; 8K needs about half."""
FORMAT = 1


@dataclass(frozen=True)
class ImportSummary:
    """What a folder of imported shards holds after `import_videos`."""

    clips: int
    recordings: int
    """That gave at least one clip."""
    buckets: tuple[tuple[str, int], ...]
    """Clips per size, such as ``16x64x64``."""
    dropped: tuple[tuple[str, int], ...]
    """Rows of ``dropped.csv`` per kind of reason, the most frequent first."""
    imported: int
    """Recordings read in this run; those of earlier runs were kept."""
    captioned: int
    """Clips with a caption."""
    captions: str
    """How many recordings have one, and from where."""
    seconds: float
    folder: Path


def import_videos(
    folder: str | Path,
    out: str | Path,
    size: int = 64,
    frames: int = 16,
    fps: float | None = None,
    stride: int | None = None,
    captions: str | Path | None = None,
    square: bool = False,
    images: bool = False,
    background: int = BACKGROUND,
    processes: int | None = None,
    captioner: str | None = None,
    multiple: int = MULTIPLE,
    engine: Engine | None = None,
) -> ImportSummary:
    """Cut the videos of a folder into clips and write them as shards; what is there already is kept.

    With any number of processes the caller's script needs the usual ``if __name__ == "__main__":``.

    Args:
        folder: Videos and WebDataset tars at any depth, or a LeRobot v3 dataset.
        out: Folder of the shards, created when missing.
        size: Rows and columns of the square clips; the others have about as many pixels.
        frames: Frames per clip.
        fps: Frames per second of every clip; each recording's own when None.
        stride: Frames from the beginning of a clip to that of the next; ``frames`` when None.
        captions: Table of captions, see `find_recordings`.
        square: Crop everything to squares, for models of one size.
        images: Take pictures too, as clips of one frame.
        background: Gray level, 0 to 255, under transparent pixels.
        processes: Reading processes; all cores when None. Of no effect with ``engine``.
        captioner: Checkpoint of a model that writes every caption anew, see `Captioner`.
        multiple: Rows and columns of all clips are multiples of this: a codec's factor times a patch.
        engine: Who reads the recordings, by the folders' paths; processes of this machine when None.

    Raises:
        FileNotFoundError: No such folder, table or captioner.
        ValueError: Bad arguments, nothing to import, not one usable clip, or ``out`` holds something else.
        OSError: The disk failed, or another import writes to ``out``.
    """
    begun, folder, out = time.monotonic(), Path(folder), Path(out)
    engine = engine or LocalEngine(processes)
    rule = CutRule(
        size,
        frames,
        None if fps is None else float(fps),
        frames if stride is None else stride,
        square,
        background,
        multiple,
    )
    words = None if captioner is None else load_captioner(captioner)
    listing = find_recordings(folder, None if captions is None else Path(captions), images, outside=out)
    with _claim_folder(out, rule, captioner):
        ledger = Ledger(out)
        waiting = ledger.waiting(listing.recordings)
        for part in _import_parts(out, ledger, waiting, rule, engine, words):
            ledger.add(part)
            _write_dropped(out, ledger, listing)
        said = listing.captions if captioner is None else f"Captions were written by {captioner}."
        summary = _summarize(out, ledger, listing, len(waiting), said, time.monotonic() - begun)
        _write_dropped(out, ledger, listing)
    if summary.clips == 0:
        reasons = ", ".join(f"{kind} {count}" for kind, count in summary.dropped)
        raise ValueError(
            f"Not one clip of the {len(listing.recordings)} recordings of {folder} can be used ({reasons}); "
            f"{out / 'dropped.csv'} says why for each."
        )
    return summary


class _PartWriter:
    """Gathers clips into the shards of one part."""

    def __init__(self, out: Path, ledger: Ledger, captioner: Captioner | None) -> None:
        self.out, self.ledger, self.number = out, ledger, ledger.next_part()
        self.captioner = captioner
        self.recordings: list[DoneRecording] = []
        self.clips = 0
        self._open: dict[str, tuple[ShardWriter, int]] = {}
        self._shards: list[tuple[str, int]] = []

    @property
    def full(self) -> bool:
        return self.clips >= CLIPS_PER_PART or len(self.recordings) >= FILES_PER_PART

    def add(self, recording: Recording, spool: Path, trouble: str | None) -> None:
        starts: list[float] = []
        drops: list[Drop] = []
        slug = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(recording.name.partition("#")[0]).stem)[:40]
        key = hashlib.blake2b(os.fsencode(recording.name), digest_size=5).hexdigest()
        for piece in read_spool(spool):
            if isinstance(piece, Drop):
                drops.append(piece)
                continue
            self._write(piece, f"{slug}-{key}-{len(starts):06d}", recording.caption)
            starts.append(round(piece.start, 6))
        if trouble is not None:
            drops.append(Drop(recording.name, starts[-1] if starts else None, trouble))
        if not starts and not drops:
            drops.append(Drop(recording.name, None, "no frames: nothing could be decoded"))
        done = DoneRecording(recording.name, fingerprint_of(recording), tuple(starts), tuple(drops))
        self.recordings.append(done)
        spool.unlink(missing_ok=True)

    def close(self) -> Part:
        for bucket in sorted(self._open):
            self._close(bucket)
        return Part(self.number, tuple(self.recordings), tuple(self._shards))

    def discard(self) -> None:
        for writer, _ in self._open.values():
            writer.discard()

    def _write(self, clip: EncodedClip, id: str, caption: str) -> None:
        bucket = "x".join(map(str, clip.shape))
        if bucket not in self._open:
            taken = [number_of(name) for name, _ in self._shards if name.startswith(bucket)]
            number = max(taken, default=self.ledger.next_shard(bucket) - 1) + 1
            self.ledger.begin(shard_paths(Path(bucket), number)[0].as_posix())
            self._open[bucket] = (ShardWriter(self.out / bucket, number), number)
        writer, _ = self._open[bucket]
        members = clip.members
        if self.captioner is not None:
            shown = decode_clip({name: memoryview(data) for name, data in members.items()})
            caption = self.captioner.caption(shown)[0]
            members = {**members, CAPTION: caption.encode()}
        writer.add_members(members, id, caption, clip.shape)
        self.clips += 1
        if writer.clips >= CLIPS_PER_SHARD:
            self._close(bucket)

    def _close(self, bucket: str) -> None:
        writer, number = self._open.pop(bucket)
        writer.close()
        name = shard_paths(self.out / bucket, number)[0].relative_to(self.out).as_posix()
        self._shards.append((name, writer.clips))


def _import_parts(
    out: Path,
    ledger: Ledger,
    waiting: Sequence[Recording],
    rule: CutRule,
    engine: Engine,
    captioner: Captioner | None,
) -> Iterator[Part]:
    """Read the recordings as they come, and write them in order."""
    if not waiting:
        return
    spools = out / ".spool"
    shutil.rmtree(spools, ignore_errors=True)
    spools.mkdir()
    tasks = [ReadingTask(item, rule, spools / f"{number:08d}") for number, item in enumerate(waiting)]
    ended: dict[Path, str | None] = {}
    writer, following = _PartWriter(out, ledger, captioner), 0
    try:
        with progress_bar("recordings") as progress:
            bar = progress.add_task(f"Importing to {out.name}", total=len(tasks))
            for task, trouble in engine.run_guarded(spool_recording, tasks, SILENT_SECONDS, MEGABYTES):
                ended[task.spool] = trouble
                progress.advance(bar)
                while following < len(tasks) and tasks[following].spool in ended:
                    spool = tasks[following].spool
                    writer.add(waiting[following], spool, ended.pop(spool))
                    following += 1
                    if writer.full:
                        yield writer.close()
                        writer = _PartWriter(out, ledger, captioner)
        if writer.recordings:
            yield writer.close()
    finally:
        writer.discard()
        shutil.rmtree(spools, ignore_errors=True)


@contextmanager
def _claim_folder(out: Path, rule: CutRule, captioner: str | None) -> Iterator[None]:
    """Hold the folder alone, and see that it is ours, cut by the same rule, captioned by the same model."""
    path = out / "config.json"
    how = asdict(rule) if captioner is None else {**asdict(rule), "captioner": captioner}
    wanted = json.loads(json.dumps({"format": FORMAT, "import": how}))
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is damaged. Choose another folder, or delete this one.") from error
        if found != wanted:
            there = found.get("import", found) if isinstance(found, dict) else found
            raise ValueError(
                f"{out} holds clips that were made otherwise ({there} there, {wanted['import']} asked for). "
                "Choose another folder, or delete this one."
            )
    elif out.is_dir() and find_shards(out):
        raise ValueError(f"{out} holds shards without a config.json. Choose another folder.")
    (out / "parts").mkdir(parents=True, exist_ok=True)
    with open(out / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f"Another import is writing to {out}; wait for it, or choose another."
            ) from None
        if not path.exists():
            write_atomically(path, (json.dumps(wanted, indent=2) + "\n").encode())
        yield


def _write_dropped(out: Path, ledger: Ledger, listing: Listing) -> None:
    drops = [
        [drop.file, "" if drop.start is None else f"{drop.start:.3f}", drop.reason]
        for drop in _drops(ledger, listing)
    ]
    text = csv_text([["file", "start", "reason"], *drops])
    write_atomically(out / "dropped.csv", text.encode("utf-8", errors="replace"))


def _drops(ledger: Ledger, listing: Listing) -> list[Drop]:
    done = ledger.done
    drops = [drop for item in done.values() for drop in item.drops]
    drops += [drop for drop in listing.drops if drop.file not in done]
    return sorted(drops, key=lambda drop: (drop.file, drop.start or 0.0))


def _summarize(
    out: Path, ledger: Ledger, listing: Listing, imported: int, said: str, seconds: float
) -> ImportSummary:
    buckets: Counter[str] = Counter()
    for part in ledger.parts:
        for name, count in part.shards:
            buckets[name.partition("/")[0]] += count
    dropped = Counter(drop.kind for drop in _drops(ledger, listing))
    usable = sum(bool(item.starts) for item in ledger.done.values())
    shards = [out / name for part in ledger.parts for name, _ in part.shards]
    captioned = sum(bool(entry.caption) for shard in shards for entry in read_index(shard))
    return ImportSummary(
        buckets.total(),
        usable,
        tuple(sorted(buckets.items())),
        tuple(dropped.most_common()),
        imported,
        captioned,
        said,
        seconds,
        out,
    )
