"""Parts of a cache: written whole, claimed by one process, swept after a kill."""

import json
from pathlib import Path

import pytest
import torch

from worldgen.data.cache.store import INDEX, Store, entry_size

ROW = ("key", "clip-0", (torch.arange(6.0).reshape(2, 3), torch.tensor([True, False])))


def test_what_is_written_is_read_also_by_a_store_that_was_open_before(tmp_path: Path) -> None:
    before = Store(tmp_path)
    Store(tmp_path).write("a", [ROW])
    assert "key" not in before
    before.refresh()
    numbers, flags = before.read("key")
    assert torch.equal(numbers, ROW[2][0]) and torch.equal(flags, ROW[2][1])
    assert before.entries["key"].name == "clip-0"
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".jsonl", ".safetensors"]


def test_a_claim_is_for_one_and_sweeps_what_a_killed_one_left(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("a", [ROW])
    (tmp_path / ".part-a-77.safetensors.0.partial").mkdir()
    (tmp_path / ".part-b-77.safetensors.0.partial").mkdir()
    (tmp_path / "part-a-77.safetensors").write_bytes(b"its index was not written any more")
    with store.claim("a") as mine, Store(tmp_path).claim("a") as theirs, Store(tmp_path).claim("b") as other:
        assert (mine, theirs, other) == (True, False, True)
        assert not list(tmp_path.glob(".*")) and not (tmp_path / "part-a-77.safetensors").exists()
    assert len(list(tmp_path.glob("part-a-*.safetensors"))) == 1
    with store.claim("a") as again:
        assert again


def test_a_part_without_its_index_does_not_count(tmp_path: Path) -> None:
    Store(tmp_path).write("a", [ROW])
    [index] = tmp_path.glob(f"*{INDEX}")
    index.unlink()
    assert len(Store(tmp_path)) == 0


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("a", [ROW])
    [part] = tmp_path.glob("*.safetensors")
    data = bytearray(part.read_bytes())
    data[store.entries["key"].places[0].offset] ^= 1
    part.write_bytes(data)
    with pytest.raises(ValueError, match=r"part-a-.* is damaged in 'clip-0'\. Delete part-a-"):
        Store(tmp_path).read("key")
    assert len(Store(tmp_path).find_damage()) == 1


def test_the_size_of_an_entry_is_known_before_it_is_written(tmp_path: Path) -> None:
    kept = (torch.rand(64, 64), torch.rand(8))
    Store(tmp_path).write("a", [("0" * 24, "clip-00000000", kept)])
    assert entry_size(kept) == pytest.approx(
        sum(path.stat().st_size for path in tmp_path.iterdir()), rel=0.02
    )


@pytest.mark.parametrize(
    "place, value",
    [(0, "0"), (0, -8), (1, 10**9), (1, 4), (2, None), (3, "save"), (3, 1.5), (4, [7]), (4, "ab")],
)
def test_an_index_that_says_what_no_tensor_can_be_is_damaged(tmp_path: Path, place: int, value) -> None:
    Store(tmp_path).write("a", [ROW])
    (index,) = tmp_path.glob(f"*{INDEX}")
    row = json.loads(index.read_text())
    row["tensors"][0][place] = value
    index.write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match="has a damaged index, line 1|is cut off at byte"):
        Store(tmp_path)
