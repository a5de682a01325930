import json
import multiprocessing
import pickle
import random
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from worldgen.data.shards.shards import ShardIndex, ShardWriter, verify_shard, write_shards
from worldgen.types import Clip

MakeClip = Callable[..., Clip]


def assert_same_clip(got: Clip, wanted: Clip) -> None:
    for name in ("frames", "fps", "sound", "depth", "masks", "imu"):
        expected = getattr(wanted, name)
        if expected is None:
            assert getattr(got, name) is None
        else:
            torch.testing.assert_close(getattr(got, name), expected, rtol=0, atol=0)
    assert got.prompts == wanted.prompts and got.scenes == wanted.scenes
    for part in ("camera", "truth"):
        expected, found = getattr(wanted, part), getattr(got, part)
        assert (expected is None) == (found is None)
        if expected is not None:
            for name, value in vars(expected).items():
                if isinstance(value, torch.Tensor):
                    torch.testing.assert_close(getattr(found, name), value, rtol=0, atol=0)
    if wanted.truth is not None:
        assert got.truth.metric == wanted.truth.metric
        if wanted.truth.contacts is None:
            assert got.truth.contacts is None
        else:
            for name, value in vars(wanted.truth.contacts[0]).items():
                torch.testing.assert_close(getattr(got.truth.contacts[0], name), value, rtol=0, atol=0)


@pytest.fixture
def folder(tmp_path: Path, make_clip: MakeClip) -> Path:
    write_shards((make_clip(seed) for seed in range(5)), tmp_path / "shards", clips_per_shard=2)
    return tmp_path / "shards"


def test_every_field_comes_back_in_any_order(folder: Path, make_clip: MakeClip) -> None:
    index = ShardIndex(folder)
    assert len(index) == 5
    assert len(list(folder.glob("*.tar"))) == 3
    for number in (4, 0, 3, 1, 2, 0):
        assert_same_clip(index.read(number), make_clip(number))


@pytest.mark.parametrize("objects", [1, 8, 9])
def test_masks_of_more_objects_than_a_byte_has_bits(
    tmp_path: Path, objects: int, make_clip: MakeClip
) -> None:
    clip = make_clip(3, objects=objects)
    write_shards([clip], tmp_path)
    assert_same_clip(ShardIndex(tmp_path).read(0), clip)


def test_bare_and_contactless_clips(tmp_path: Path, make_clip: MakeClip) -> None:
    full = make_clip(1, contacts=0)
    bare = Clip(full.frames, full.fps, ("",))
    pixels = replace(full, truth=replace(full.truth, metric=False, contacts=None))
    write_shards([full, bare, pixels], tmp_path)
    for number, clip in enumerate((full, bare, pixels)):
        assert_same_clip(ShardIndex(tmp_path).read(number), clip)


def test_webdataset_layout(folder: Path, make_clip: MakeClip) -> None:
    with tarfile.open(folder / "shard-000001.tar") as tar:
        names = tar.getnames()
        caption = tar.extractfile("clip-00000003.caption.txt").read().decode()
    assert names[:2] == ["clip-00000002.video.u8.zst", "clip-00000002.depth.f16.zst"]
    assert {name.partition(".")[0] for name in names} == {"clip-00000002", "clip-00000003"}
    assert caption == make_clip(3).prompts[0]
    row = json.loads((folder / "shard-000001.index.jsonl").read_text().splitlines()[1])
    assert (row["id"], row["shape"], row["caption"]) == ("clip-00000003", [3, 8, 8], caption)


def test_same_clips_give_the_same_bytes(folder: Path, tmp_path: Path, make_clip: MakeClip) -> None:
    write_shards((make_clip(seed) for seed in range(5)), tmp_path / "again", clips_per_shard=2)
    for path in sorted(folder.iterdir()):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def _mean_brightness(index: ShardIndex, number: int) -> float:
    return index.read(number).frames.mean().item()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_read_in_other_processes(folder: Path, method: str) -> None:
    index = ShardIndex(folder)
    here = [_mean_brightness(index, number) for number in range(5)]
    with multiprocessing.get_context(method).Pool(1) as pool:
        there = pool.starmap(_mean_brightness, [(index, number) for number in range(5)])
    assert here == there


def test_pickle_carries_no_handles(folder: Path, make_clip: MakeClip) -> None:
    index = ShardIndex(folder)
    index.read(0)
    copy = pickle.loads(pickle.dumps(index))
    assert copy._handles == {}
    assert_same_clip(copy.read(4), make_clip(4))


def test_cut_shard(folder: Path) -> None:
    shard = folder / "shard-000001.tar"
    entry = ShardIndex(folder).entries[3]
    offset = entry.members["video.u8.zst"][0]
    shard.write_bytes(shard.read_bytes()[: offset + 5])
    with pytest.raises(
        ValueError, match=r"Clip 'clip-00000003' of .*shard-000001\.tar is cut off at byte .*Del"
    ):
        ShardIndex(folder)


def test_cut_while_open(folder: Path) -> None:
    index = ShardIndex(folder)
    shard = folder / "shard-000002.tar"
    shard.write_bytes(shard.read_bytes()[:700])
    with pytest.raises(ValueError, match=r"Clip 'clip-00000004' of .*shard-000002\.tar is damaged in"):
        index.read(4)


@pytest.mark.parametrize("suffix", ["video.u8.zst", "state.safetensors", "caption.txt"])
def test_damaged_member(folder: Path, suffix: str, make_clip: MakeClip) -> None:
    index = ShardIndex(folder)
    data = bytearray(index.entries[2].shard.read_bytes())
    data[index.entries[2].members[suffix][0] + 3] ^= 1
    index.entries[2].shard.write_bytes(data)
    with pytest.raises(ValueError, match=rf"Clip 'clip-00000002' of .*damaged in {suffix}\. Delete"):
        index.read(2)
    assert_same_clip(index.read(3), make_clip(3))


def test_member_that_does_not_decode(folder: Path) -> None:
    index = ShardIndex(folder)
    del index.entries[0].members["caption.txt"]
    with pytest.raises(
        ValueError, match=r"Clip 'clip-00000000' .* cannot be decoded \(KeyError: 'caption.txt'\)"
    ):
        index.read(0)


def test_shard_without_index_does_not_count(folder: Path) -> None:
    (folder / "shard-000001.index.jsonl").unlink()
    with pytest.warns(UserWarning, match=r"shard-000001 has no index and is left out"):
        index = ShardIndex(folder)
    assert [entry.id[-1] for entry in index.entries] == ["0", "1", "4"]


def test_index_without_shard_does_not_count(folder: Path) -> None:
    (folder / "shard-000001.tar").unlink()
    with pytest.warns(UserWarning, match=r"shard-000001 has no tar and is left out"):
        index = ShardIndex(folder)
    assert [entry.id[-1] for entry in index.entries] == ["0", "1", "4"]


def test_damaged_index(folder: Path) -> None:
    path = folder / "shard-000000.index.jsonl"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=r"Line 2 of .*shard-000000\.index\.jsonl is damaged .* Delete it"):
        ShardIndex(folder)


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"id": "../../out"}, "A clip id must be 1 to 80 bytes without dots and slashes; got '../../out'"),
        ({"id": "/etc/passwd"}, "without dots and slashes"),
        ({"id": "a\\b"}, "without dots and slashes"),
        ({"id": "a\nb"}, "without dots and slashes"),
        ({"id": "x" * 81}, "1 to 80 bytes"),
        ({"id": ""}, "1 to 80 bytes"),
        ({"id": 7}, "is damaged"),
        ({"family": None}, "is damaged"),
        ({"members": {"video.u8.zst": ["0", 1, 2]}}, "whole numbers from 0 on must be there"),
        ({"members": {"video.u8.zst": [-512, 1, 2]}}, "whole numbers from 0 on must be there"),
        ({"members": {"video.u8.zst": [1, 2]}}, "three numbers must be there"),
        ({"members": []}, "is damaged"),
        ({"shape": [0, 4, 4]}, "whole numbers from 1 on must be there"),
    ],
)
def test_an_index_is_not_believed(folder: Path, changes: dict, why: str) -> None:
    path = folder / "shard-000000.index.jsonl"
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(first), **changes}), *others]))
    with pytest.raises(ValueError, match=r"Line 1 of .*shard-000000\.index\.jsonl is damaged") as error:
        ShardIndex(folder)
    assert why in str(error.value)


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No folder of shards at .*nowhere"):
        ShardIndex(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"must hold shards .*; got 0 tar and 0 index files"):
        ShardIndex(tmp_path)


def test_writer_refuses(tmp_path: Path, make_clip: MakeClip) -> None:
    clip = make_clip(0)
    with ShardWriter(tmp_path, 0) as writer:
        with pytest.raises(ValueError, match="without dots and slashes; got 'a.b'"):
            writer.add(clip, "a.b")
        writer.add(clip, "a")
        with pytest.raises(ValueError, match="must be unique in a shard; 'a' came twice"):
            writer.add(clip, "a")
        with pytest.raises(ValueError, match="one clip at a time; got a batch of 2"):
            writer.add(Clip(clip.frames.repeat(2, 1, 1, 1, 1), clip.fps.repeat(2), ("", "")), "b")
    with pytest.raises(ValueError, match="holds shards already"):
        write_shards([clip], tmp_path)
    with pytest.raises(ValueError, match="clips_per_shard must be at least 1; got 0"):
        write_shards([clip], tmp_path / "other", clips_per_shard=0)


def test_an_exception_leaves_nothing(tmp_path: Path, make_clip: MakeClip) -> None:
    with pytest.raises(RuntimeError), ShardWriter(tmp_path, 0) as writer:
        writer.add(make_clip(0), "a")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_no_flipped_byte_of_a_shard_goes_unnoticed(tmp_path: Path, make_clip: MakeClip) -> None:
    with ShardWriter(tmp_path, 0) as writer:
        for number in range(2):
            writer.add(make_clip(number), f"clip-{number}")
    shard = tmp_path / "shard-000000.tar"
    whole = shard.read_bytes()
    assert verify_shard(shard) == 2
    drawn = random.Random(0)
    headers = [*range(0, 160, 7), 257, 345, 511, len(whole) - 1]  # name, mode, magic, prefix; the end
    for place in [*headers, *drawn.sample(range(len(whole)), 200)]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << drawn.randrange(8)
        shard.write_bytes(damaged)
        with pytest.raises(ValueError, match="write the shard again"):
            verify_shard(shard)
    shard.write_bytes(whole[:-1000])
    verify_shard(shard)  # fewer zeros at the end
    index = shard.with_suffix(".index.jsonl")
    shard.write_bytes(whole)
    index.write_text(index.read_text().replace('"caption": "', '"caption": "x', 1))
    with pytest.raises(ValueError, match="another caption"):
        verify_shard(shard)
