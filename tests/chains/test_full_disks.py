"""A disk that is full, for which a limit of the size of files stands in: one sentence with the path."""

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.data.conftest import _make_clip
from worldgen.data.cache.store import Store
from worldgen.data.importing import reading
from worldgen.data.importing.recordings import Drop, Recording
from worldgen.data.shards.shards import ShardWriter, write_shards
from worldgen.evaluation.foreign.tracks import write_exports
from worldgen.evaluation.kept import Record


def _write_a_shard(folder: Path) -> None:
    with ShardWriter(folder, 0) as writer:
        writer.add(_make_clip(0), "clip")


def _close_a_shard(folder: Path) -> None:
    """Its members fit into what is gathered before the disk is asked."""
    with ShardWriter(folder, 0) as writer:
        writer.add_members({"caption.txt": b"x"}, "clip", "x", (1, 1, 1))


def _export(folder: Path) -> None:
    write_exports([folder.parent / "shards"], folder)


WRITERS: dict[str, tuple[Callable[[Path], object], int]] = {
    "shard": (_write_a_shard, 2000),
    "end of a shard": (_close_a_shard, 2000),
    "cache": (lambda folder: Store(folder).write("0", [("key", "name", [torch.rand(1000)])]), 2000),
    "finding": (
        lambda folder: Record(folder / "a.safetensors", "s").write({}, {"x": torch.rand(1000)}),
        2000,
    ),
    "export": (_export, 2500),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_one_sentence_with_a_path_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    write, most = WRITERS[name]
    write_shards([replace(_make_clip(0, frames=8), scenes=None)], tmp_path / "shards")
    folder = tmp_path / "out"
    with _small_disk(most), pytest.raises(OSError) as caught:
        write(folder)
    assert str(caught.value).startswith(f"{folder}") and "cannot be written (" in str(caught.value)
    assert not [path for path in folder.rglob("*")]


def test_a_full_disk_while_videos_are_read_names_the_file(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(reading, "cut_recording", lambda *given: iter([Drop("x" * 9000, None, "y")]))
    rule = reading.CutRule(size=32, frames=8, fps=None, stride=8, square=False, background=255, multiple=16)
    task = reading.ReadingTask(Recording("a.mp4", tmp_path / "a.mp4"), rule, tmp_path / "spool")
    with _small_disk(2000), pytest.raises(OSError, match=r"spool cannot be written \("):
        reading.spool_recording(task, lambda: None)


@contextmanager
def _small_disk(most: int) -> Iterator[None]:
    limits, before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
