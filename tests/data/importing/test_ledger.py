"""The ledger of an import: what is done, what is left of a killed run, what has changed."""

from pathlib import Path

import pytest

from worldgen.data.importing.ledger import DoneRecording, Ledger, Part, fingerprint_of, number_of
from worldgen.data.importing.recordings import Drop, Recording


def recording(folder: Path, name: str, data: bytes = b"video") -> Recording:
    (folder / name).write_bytes(data)
    return Recording(name, folder / name)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def done(item: Recording, *starts: float, drops: tuple[Drop, ...] = ()) -> DoneRecording:
    return DoneRecording(item.name, fingerprint_of(item), starts, drops)


def test_what_is_done_is_remembered_and_the_rest_waits(tmp_path: Path, out: Path) -> None:
    one, two = recording(tmp_path, "one.mp4"), recording(tmp_path, "two.mp4")
    drop = Drop("one.mp4", 1.5, "gap: the next frame is at 2 s")
    Ledger(out).add(Part(0, (done(one, drops=(drop,)),), ()))
    again = Ledger(out)
    assert again.waiting([one, two]) == [two] and again.next_part() == 1
    assert again.done["one.mp4"].drops == (drop,)
    assert again.next_shard("8x8x8") == 0


def test_shards_and_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    bucket = tmp_path / "8x64x64"
    bucket.mkdir()
    (tmp_path / "parts").mkdir()
    ledger = Ledger(tmp_path)
    for number in (0, 1):
        ledger.begin(f"8x64x64/shard-{number:06d}.tar")
    for name in ("shard-000000.tar", "shard-000000.index.jsonl", "notes.txt"):
        (bucket / name).touch()
    (bucket / ".shard-000001.tar.0.partial").mkdir()
    (bucket / ".shard-000001.tar.0.partial" / "partial").write_bytes(b"half")
    Ledger(tmp_path)
    assert [path.name for path in bucket.iterdir()] == ["notes.txt"]
    assert not (tmp_path / "parts" / "begun").exists()


def test_what_no_import_wrote_stays(out: Path) -> None:
    others = ["test/shard-000000.tar", "test/shard-000000.index.jsonl", "8x64x64/.shard-000003.tar.0.partial"]
    for name in others:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(b"somebody's")
    (out / "parts").mkdir()
    (out / "parts" / "begun").write_text("../test/shard-000000.tar\n8x64x64/shard-000001.tar\n8x64x64/sh")
    Ledger(out)
    assert [(out / name).read_bytes() for name in others] == [b"somebody's"] * 3
    (out / "8x64x64" / "shard-000000.tar").write_bytes(b"somebody's")
    with pytest.raises(ValueError, match=r"shard-000000\.tar is none of it.*Move it, or choose another"):
        Ledger(out)
    assert (out / "8x64x64" / "shard-000000.tar").exists()


def test_a_part_names_shards_of_its_folder_only(out: Path) -> None:
    Ledger(out).add(Part(0, (), (("../other/shard-000000.tar", 1),)))
    with pytest.raises(ValueError, match=r"part-000000\.json is damaged.*names no shard.*Delete it"):
        Ledger(out)


def test_a_recording_that_changed_is_read_again_only_if_it_gave_no_clip(tmp_path: Path, out: Path) -> None:
    item = recording(tmp_path, "a.mp4")
    ledger = Ledger(out)
    ledger.add(Part(0, (done(item),), ()))
    item = recording(tmp_path, "a.mp4", b"another")
    assert ledger.waiting([item]) == [item]
    ledger.add(Part(1, (done(item, 0.0, 1.0),), ()))
    assert ledger.waiting([item]) == []
    with pytest.raises(ValueError, match=r"a\.mp4 or its caption has changed since its clips were written"):
        ledger.waiting([recording(tmp_path, "a.mp4", b"a third")])


def test_a_part_whose_shard_is_gone_is_read_again_if_its_recordings_are_there(
    tmp_path: Path, out: Path
) -> None:
    item = recording(tmp_path, "a.mp4")
    Ledger(out).add(Part(0, (done(item, 0.0),), (("8x8x8/shard-000004.tar", 1),)))
    assert Ledger(out).next_shard("8x8x8") == 5
    with pytest.raises(ValueError, match=r"shard-000004\.tar is missing or damaged, and so is a\.mp4"):
        Ledger(out).waiting([])
    assert Ledger(out).waiting([item]) == [item]
    assert Ledger(out).parts == []


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "part-000000.json").write_text('{"number": 0')
    with pytest.raises(ValueError, match=r"part-000000\.json is damaged .* its recordings are read again"):
        Ledger(tmp_path)


def test_small_things(tmp_path: Path) -> None:
    assert number_of("8x8x8/shard-000012.tar") == 12
    assert fingerprint_of(Recording("gone.mp4", tmp_path / "gone.mp4")) == "unreadable"
