"""Files that appear whole: killed, failing, two at a time, cut off from power."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from worldgen import files
from worldgen.files import (
    Partial,
    atomic_folder,
    atomic_path,
    code_mark,
    decode_text,
    path_within,
    remove_leftovers,
    replaced_folder,
    write_atomically,
)

HALF_WAY = """
import sys, time
from pathlib import Path
from worldgen.files import atomic_folder, atomic_path
place = Path(sys.argv[1])
with (atomic_folder if sys.argv[2] == "folder" else atomic_path)(place) as partial:
    (partial / "a" if partial.is_dir() else partial).write_bytes(b"half")
    print("half way", flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def stopped_half_way(place: Path, what: str) -> subprocess.Popen[str]:
    """A process that has written half of a file or folder, and waits."""
    command = [sys.executable, "-c", HALF_WAY, str(place), what]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "half way\n"
    return process


def test_a_file_takes_the_place_of_the_old_one_in_folders_that_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "numbers.csv"
    for data in (b"old", b"new"):
        write_atomically(path, data)
        assert path.read_bytes() == data and names(path.parent) == ["numbers.csv"]


@pytest.mark.parametrize("what", ["file", "folder"])
def test_an_error_leaves_what_was_there(tmp_path: Path, what: str) -> None:
    place = tmp_path / "kept"
    if what == "file":
        place.write_bytes(b"old")
        with pytest.raises(KeyError), atomic_path(place) as partial:
            partial.write_bytes(b"half")
            raise KeyError
        assert place.read_bytes() == b"old"
    else:
        place.mkdir()
        (place / "a").write_bytes(b"old")
        with pytest.raises(KeyError), atomic_folder(place) as partial:
            (partial / "a").write_bytes(b"half")
            raise KeyError
        assert names(place) == ["a"] and (place / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["kept"]


def test_a_writer_that_writes_nothing_makes_no_empty_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "nothing"):
        pass
    assert names(tmp_path) == []


@pytest.mark.parametrize("what", ["file", "folder"])
def test_killed_half_way_it_is_not_there_and_its_leftovers_can_be_removed(tmp_path: Path, what: str) -> None:
    process = stopped_half_way(tmp_path / "shard-3.tar", what)
    alive = names(tmp_path)
    assert len(alive) == 1 and alive[0].startswith(".shard-3.tar.")
    remove_leftovers(tmp_path, "shard-3")
    assert names(tmp_path) == alive  # its maker lives
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert names(tmp_path) == alive
    remove_leftovers(tmp_path, "shard-4")
    assert names(tmp_path) == alive  # of another file
    remove_leftovers(tmp_path, "shard-*")
    assert names(tmp_path) == []


def test_killed_half_way_the_next_writer_of_the_same_file_cleans_up(tmp_path: Path) -> None:
    process = stopped_half_way(tmp_path / "run [1].json", "file")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(names(tmp_path)) == 1
    write_atomically(tmp_path / "run [1].json.txt", b"of another file")
    assert len(names(tmp_path)) == 2
    write_atomically(tmp_path / "run [1].json", b"whole")
    assert names(tmp_path) == ["run [1].json", "run [1].json.txt"]


def test_killed_half_way_a_folder_keeps_what_it_held_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    place = tmp_path / "run [1]"
    place.mkdir()
    (place / "a").write_bytes(b"old")
    process = stopped_half_way(place, "folder")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (place / "a").read_bytes() == b"old" and len(names(place)) == 2
    with atomic_folder(place) as partial:
        (partial / "b").write_bytes(b"new")
    assert names(place) == ["a", "b"]


def test_a_new_folder_appears_at_once_with_all_that_belongs_together(tmp_path: Path) -> None:
    place = tmp_path / "runs" / "t5"
    with atomic_folder(place) as partial:
        (partial / "deep").mkdir()
        (partial / "deep" / "config.json").write_text("{}")
        (partial / "model").write_text("weights")
        assert not place.exists()
    assert names(place) == ["deep", "model"] and names(place / "deep") == ["config.json"]
    assert names(tmp_path / "runs") == ["t5"]


def test_files_go_into_a_folder_that_is_there_as_they_were_written_and_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report").mkdir()
    for name in ("features", "report.json"):
        (tmp_path / "report" / name).write_text("old")
    moved, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (moved.append(Path(b).name), replace(a, b)))
    with atomic_folder(tmp_path / "report") as partial:
        for moment, name in enumerate(("report.json", "checks.csv")):  # the last name, the first letter
            (partial / name).write_text("new")
            os.utime(partial / name, (moment, moment))
        assert (tmp_path / "report" / "report.json").read_text() == "old"
    assert moved == ["report.json", "checks.csv"]
    assert names(tmp_path / "report") == ["checks.csv", "features", "report.json"]
    assert (tmp_path / "report" / "report.json").read_text() == "new"
    assert (tmp_path / "report" / "features").read_text() == "old"


def test_two_who_make_one_folder_both_succeed(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "t5") as one, atomic_folder(tmp_path / "t5") as other:
        (one / "model").write_text("one")
        (other / "model").write_text("other")
        (other / "config").write_text("other")
    assert (tmp_path / "t5" / "model").read_text() == "one"  # closed last
    assert names(tmp_path / "t5") == ["config", "model"] and names(tmp_path) == ["t5"]


def test_many_writers_of_one_file_never_show_half_of_one(tmp_path: Path) -> None:
    path, seen, torn = tmp_path / "config", 0, []
    texts = [letter * 20_000 for letter in (b"a", b"b", b"c", b"d")]
    with ThreadPoolExecutor() as pool:
        writers = [
            pool.submit(lambda text=text: [write_atomically(path, text) for _ in range(20)]) for text in texts
        ]
        while not all(writer.done() for writer in writers):
            remove_leftovers(tmp_path, "config")  # a third takes nobody's
            if path.exists():
                seen += 1
                data = path.read_bytes()
                torn += [] if data in texts else [data]
    assert all(writer.exception() is None for writer in writers)
    assert seen > 20 and not torn and names(tmp_path) == ["config"]


def test_what_was_written_reaches_the_disk_before_its_name_and_its_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []
    sync, replace = os.fsync, os.replace

    def watched_sync(handle: int) -> None:
        done.append(("sync", os.readlink(f"/proc/self/fd/{handle}")))
        sync(handle)

    def watched_replace(source: Path, goal: Path) -> None:
        done.append(("name", str(goal)))
        replace(source, goal)

    monkeypatch.setattr(os, "fsync", watched_sync)
    monkeypatch.setattr(os, "replace", watched_replace)
    with atomic_path(tmp_path / "index") as partial:
        partial.write_bytes(b"whole")
    assert done == [("sync", str(partial)), ("name", str(tmp_path / "index")), ("sync", str(tmp_path))]
    done.clear()
    with atomic_folder(tmp_path / "t5") as partial:
        (partial / "model").write_bytes(b"whole")
    assert ("sync", str(partial / "model")) in done[:2] and ("sync", str(partial)) in done[:2]
    assert done[2:] == [("name", str(tmp_path / "t5")), ("sync", str(tmp_path))]


def test_weights_can_be_read_by_whoever_may_read_other_files(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with atomic_path(tmp_path / "model.safetensors") as partial:
        save_file({"a": torch.ones(2)}, partial)  # renames a file of its own, for its owner only
    with atomic_folder(tmp_path / "run") as folder:
        save_file({"a": torch.ones(2)}, folder / "model.safetensors")
    usual = (tmp_path / "usual").stat().st_mode
    for path in (tmp_path / "model.safetensors", tmp_path / "run" / "model.safetensors"):
        assert path.stat().st_mode == usual and load_file(path)["a"].tolist() == [1, 1]


def test_names_as_long_as_a_file_system_takes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 127)  # 254 bytes
    write_atomically(path, b"whole")
    assert names(tmp_path) == [path.name]


def test_a_partial_outlives_a_function_and_is_forgotten_as_often_as_wanted(tmp_path: Path) -> None:
    partial = Partial(tmp_path / "shard")
    partial.path.write_bytes(b"whole")
    partial.keep()
    partial.discard()
    assert (tmp_path / "shard").read_bytes() == b"whole"
    partial = Partial(tmp_path / "shard")
    partial.path.write_bytes(b"half")
    partial.discard()
    partial.discard()
    assert (tmp_path / "shard").read_bytes() == b"whole" and names(tmp_path) == ["shard"]


def test_a_replaced_folder_holds_nothing_of_the_old_and_an_error_leaves_the_old(
    tmp_path: Path,
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "shard-2").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), replaced_folder(tmp_path / "model") as partial:
        (partial / "shard-1").write_bytes(b"half")
        raise ZeroDivisionError
    assert names(tmp_path / "model") == ["shard-2"] and names(tmp_path) == ["model"]
    with replaced_folder(tmp_path / "model") as partial:
        (partial / "shard-1").write_bytes(b"new")
    assert names(tmp_path / "model") == ["shard-1"] and names(tmp_path) == ["model"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_text_in_any_encoding_of_the_west(encoding: str) -> None:
    for text in ("A ball falls.", "Größe, naïveté, \u201cfür 5 \u20ac\u201d", "x\ny\tz\r\n"):
        assert decode_text(text.encode(encoding), "a.txt") == text
    if encoding.startswith("utf"):
        for text in ("мяч падает\n", "球落下 5 次"):
            assert decode_text(text.encode(encoding), "a.txt") == text


@pytest.mark.parametrize(
    "data",
    [
        "мяч падает".encode("cp1251"),
        "球落下来了".encode("gbk"),
        "Größe".encode() + b" and \xff",
        b"\x89PNG\r\n\x1a\n",
        b"\0\0\0\x18ftypmp42",
    ],
)
def test_what_is_no_text_is_not_made_up(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"a\.txt must be text in UTF-8 or UTF-16; .* Save it as UTF-8"):
        decode_text(data, "a.txt")


def test_a_name_from_a_file_stays_in_its_folder(tmp_path: Path) -> None:
    assert path_within(tmp_path, "a/b..c.mp4") == tmp_path / "a/b..c.mp4"
    for name in ("../a.mp4", "a/../../b.mp4", "/etc/passwd", "", "a\0b"):
        with pytest.raises(ValueError, match="must be named by a path that stays there; got"):
            path_within(tmp_path, name)


def test_progress_in_a_log_is_lines_with_the_time(monkeypatch, capsys):
    monkeypatch.setattr(files, "LINE_SECONDS", 0.05)
    with files.progress_bar("videos") as progress:
        first, _ = progress.add_task("Checking [b]", total=4), progress.add_task("Waiting", total=None)
        progress.advance(first)
        time.sleep(0.3)
        progress.advance(first, 3)
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d Checking \[b\] 1/4 videos in 0:00:00", lines[0])
    assert len(lines) >= 6 and "Checking [b] 4/4 videos" in lines[-2] and "Waiting 0/? videos" in lines[-1]
    assert not any("4/4" in line for line in lines[:-2])


def test_the_mark_of_rooms_is_of_their_sources_alone(tmp_path, monkeypatch):
    home = tmp_path / "worldgen"
    for name in ("__init__.py", "data/media.py", "model.py", "study/demo.py"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(name)
    monkeypatch.setattr(files.worldgen, "__file__", str(home / "__init__.py"))
    mark = code_mark.__wrapped__  # it is read once in a process
    whole, rooms, others = mark(), mark("data", "model"), mark("study")
    assert len({whole, rooms, others}) == 3
    (home / "study/demo.py").write_text("changed")
    assert mark() != whole and mark("data", "model") == rooms and mark("study") != others
    (home / "model.py").write_text("changed")
    assert mark("data", "model") != rooms
