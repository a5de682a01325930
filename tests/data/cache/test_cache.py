import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from worldgen.data.cache import cache as cache_code
from worldgen.data.cache.cache import Recipe, find_differences, precompute, read_recipes, stack_columns
from worldgen.data.cache.precision import Columns, Exact, Float16, Int8, Storage
from worldgen.data.cache.store import Store, entry_size
from worldgen.data.shards.shards import write_shards
from worldgen.data.sources import ShardedClips
from worldgen.data.videos import VideoFolder
from worldgen.types import Clip

RECIPE = Recipe({"KLCodec (codec)": "aaa"}, {"contexts": "1 2"})


def encode(clip: Clip) -> Columns:
    """A latent (B T 3 4 4), tokens (B 5 8) and their mask: other numbers for every clip."""
    z = clip.frames[..., ::2, ::2] * 3 - 1
    tokens = clip.frames.flatten(1)[:, :40].unflatten(1, (5, 8)) + clip.fps[:, None, None]
    return z, tokens, tokens[..., 0].argsort(dim=1) < 3


class Counting:
    """Encodes, and remembers how many clips."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, clip: Clip) -> Columns:
        self.batches.append(len(clip))
        return encode(clip)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    generator = torch.Generator().manual_seed(0)
    return [
        Clip(
            torch.randint(0, 256, (1, 3, 3, 8, 8), generator=generator).float() / 255,
            torch.tensor([25.0]),
            (f"clip {number}",),
        )
        for number in range(150)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, clips: list[Clip]) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shards(clips, folder)
    return folder


def check(found: Sequence[Columns], clips: Sequence[Clip]) -> None:
    assert len(found) == len(clips)
    for number, clip in enumerate(clips):
        for column, expected in zip(found[number], encode(clip), strict=True):
            assert torch.equal(column, expected)


def test_what_was_encoded_once_is_read_back(folder: Path, tmp_path: Path, clips: list[Clip], capsys) -> None:
    first, again = Counting(), Counting()
    check(precompute(ShardedClips(folder), first, tmp_path / "cache", RECIPE), clips)
    assert first.batches == [16] * 4 + [16] * 4 + [16, 6]
    assert "Encoding 150 of 150 clips: " in capsys.readouterr().out
    found = precompute(ShardedClips(folder), again, tmp_path / "cache", RECIPE)
    check(found, clips)
    assert not again.batches and "Encoding" not in capsys.readouterr().out
    assert found.shapes == [(3, 3, 4, 4)] * 150
    batch = stack_columns([found[number] for number in (3, 1)])
    assert torch.equal(batch[0], torch.cat([encode(clips[3])[0], encode(clips[1])[0]]))


def test_the_same_clip_in_another_folder_hits(folder: Path, tmp_path: Path, clips: list[Clip]) -> None:
    precompute(ShardedClips(folder), encode, tmp_path / "cache", RECIPE)
    new = replace(clips[0], prompts=("another caption",))
    other = [clips[number] for number in (140, 7, 99)] + [new]
    write_shards(other, tmp_path / "other", clips_per_shard=2)
    counting = Counting()
    check(precompute(ShardedClips(tmp_path / "other"), counting, tmp_path / "cache", RECIPE), other)
    assert counting.batches == [1]


def test_a_miss_says_what_changed(folder: Path, tmp_path: Path, clips: list[Clip], capsys) -> None:
    def miss(recipe: Recipe, source: Sequence[Clip], storage: Storage = cache_code.EXACT) -> str:
        counting = Counting()
        precompute(source, counting, tmp_path / "cache", recipe, storage)
        assert counting.batches
        return capsys.readouterr().out.splitlines()[0].partition(" clips: ")[2]

    few = clips[:3]
    assert miss(RECIPE, few) == f"{tmp_path / 'cache'} holds nothing yet."
    assert miss(RECIPE, clips[:4]) == "these clips are new."
    assert miss(Recipe({"KLCodec (codec)": "bbb"}, RECIPE.settings), few) == (
        "weights of KLCodec (codec) changed."
    )
    assert miss(Recipe(RECIPE.weights, {"contexts": "1 3"}), few) == "contexts 1 2 -> 1 3."
    longer = [replace(clip, frames=clip.frames.repeat(1, 2, 1, 1, 1)) for clip in few]
    assert miss(RECIPE, longer) == "frames 3 -> 6."
    assert miss(RECIPE, few, Float16()) == "storage Exact -> Float16."
    assert miss(RECIPE, few, Float16(pool=2)) == "pool 1 -> 2."
    assert miss(Recipe({**RECIPE.weights, "T5 (text)": "c"}, RECIPE.settings), few) == "T5 (text) added."
    assert miss(Recipe({"T5 (text)": "c"}, RECIPE.settings), few) == "KLCodec (codec) left out."
    assert len(read_recipes(tmp_path / "cache")) == 8


def test_members_that_are_not_read_do_not_matter(tmp_path: Path, make_clip: Callable[..., Clip]) -> None:
    rich = [make_clip(seed) for seed in range(3)]
    write_shards(rich, tmp_path / "rich")
    write_shards([replace(clip, depth=None, masks=None, scenes=None) for clip in rich], tmp_path / "poor")
    keys = [
        cache_code.identify_clips(ShardedClips(tmp_path / name, skip=skip))
        for name in ("rich", "poor")
        for skip in ((), ("depth", "masks", "scene"))
    ]
    assert keys[1] == keys[2] == keys[3] and not set(keys[0]) & set(keys[1])
    assert len(set(keys[0])) == 3


def test_clips_of_other_sources_are_known_by_their_contents(tmp_path: Path, clips: list[Clip]) -> None:
    keys = cache_code.identify_clips(clips[:3])
    assert len(set(keys)) == 3 and cache_code.identify_clips(clips[1:2]) == keys[1:2]
    assert cache_code.identify_clips([replace(clips[0], prompts=("x",))]) != keys[:1]
    assert cache_code.identify_clips([replace(clips[0], frames=clips[1].frames)]) != keys[:1]
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"not a video, but bytes")
    videos = cache_code.identify_clips(VideoFolder(tmp_path, 8, 3))
    assert videos[0] == videos[1]
    (tmp_path / "b.txt").write_text("a caption")
    assert len(set(cache_code.identify_clips(VideoFolder(tmp_path, 8, 3)))) == 2
    assert cache_code.describe_source(VideoFolder(tmp_path, 8, 3)) == {"frames": "3", "size": "8x8"}


def test_clips_of_several_shapes_lie_in_one_cache(tmp_path: Path, make_clip: Callable[..., Clip]) -> None:
    mixed = [make_clip(seed, frames=3 + seed % 2, size=8 + 8 * (seed % 3)) for seed in range(7)]
    write_shards(mixed, tmp_path / "mixed")
    counting = Counting()
    found = precompute(ShardedClips(tmp_path / "mixed"), counting, tmp_path / "cache", RECIPE)
    check(found, mixed)
    assert sorted(counting.batches) == [1] * 5 + [2]
    assert found.shapes == [
        (clip.frames.shape[1], 3, *(side // 2 for side in clip.frames.shape[3:])) for clip in mixed
    ]


# ------------------------------------------------------------------- several processes, and killed ones


def fill(folder: Path, cache: Path, log: Path, delay: float) -> None:
    """Encode slowly, and write down each clip that was."""

    def slow(clip: Clip) -> Columns:
        time.sleep(delay)
        with open(log, "a") as file:
            file.write("".join(f"{prompt}\n" for prompt in clip.prompts))
        return encode(clip)

    torch.set_num_threads(1)
    precompute(ShardedClips(folder), slow, cache, RECIPE)


def start(*arguments: object) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=fill, args=arguments)
    process.start()
    return process


def test_processes_share_the_work(folder: Path, tmp_path: Path, clips: list[Clip]) -> None:
    logs = [tmp_path / f"log{number}" for number in range(2)]
    processes = [start(folder, tmp_path / "cache", log, 0.02) for log in logs]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    done = [log.read_text().splitlines() if log.exists() else [] for log in logs]
    assert sorted(done[0] + done[1]) == sorted(clip.prompts[0] for clip in clips)  # each exactly once
    assert done[0] and done[1]
    check(precompute(ShardedClips(folder), Counting(), tmp_path / "cache", RECIPE), clips)
    assert not list((tmp_path / "cache").rglob("*.lock")) and not list(
        (tmp_path / "cache").rglob("*.partial")
    )


def test_a_killed_fill_keeps_its_finished_parts(folder: Path, tmp_path: Path, clips: list[Clip]) -> None:
    log, cache = tmp_path / "log", tmp_path / "cache"
    process = start(folder, cache, log, 0.05)
    deadline = time.monotonic() + 60
    while not list(cache.rglob("*.index.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.01)
    while len(log.read_text().splitlines()) < 80 and time.monotonic() < deadline:
        time.sleep(0.01)  # into the second part
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (store,) = (path.parent for path in cache.rglob("recipe.json"))
    kept = len(Store(store))
    assert kept == 64
    (lock,) = store.glob("claims/*.lock")  # of the part that was being made
    (store / f".part-{lock.stem}-00.safetensors.partial").write_bytes(b"half")
    (store / f"part-{lock.stem}-01.safetensors").write_bytes(b"a part without its index")
    counting = Counting()
    check(precompute(ShardedClips(folder), counting, cache, RECIPE), clips)
    assert sum(counting.batches) == 150 - kept
    assert not list(store.glob(".*.partial")) and len(list(store.glob("*.safetensors"))) == 3


def test_a_part_that_another_process_holds_is_waited_for(tmp_path: Path, clips: list[Clip]) -> None:
    store, other = Store(tmp_path), Store(tmp_path)
    with store.claim("abc") as mine, other.claim("abc") as theirs, other.claim("abd") as another:
        assert mine and not theirs and another
    with other.claim("abc") as theirs:
        assert theirs


# ------------------------------------------------------------------- damage


@pytest.fixture
def filled(folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    precompute(ShardedClips(folder), encode, tmp_path / "cache", RECIPE)
    (recipe,) = (tmp_path / "cache").rglob("recipe.json")
    return folder, recipe.parent


def damage(part: Path, offset: int) -> None:
    data = bytearray(part.read_bytes())
    data[offset] ^= 1
    part.write_bytes(data)


def test_a_damaged_entry_is_found_by_reading(filled: tuple[Path, Path], tmp_path: Path, clips) -> None:
    folder, store = filled
    entry = next(iter(Store(store).entries.values()))
    damage(entry.part, entry.places[1].offset + 7)
    found = precompute(ShardedClips(folder), encode, tmp_path / "cache", RECIPE)
    number = [found.store.entries[key] for key in found.keys].index(entry)
    with pytest.raises(ValueError, match=f"{entry.part.name} is damaged in '{entry.name}'. Delete part-"):
        found[number]
    sentences = Store(store).find_damage()
    assert len(sentences) == 1 and entry.name in sentences[0]
    entry.part.unlink()
    entry.part.with_suffix(".index.jsonl").unlink()
    counting = Counting()
    check(precompute(ShardedClips(folder), counting, tmp_path / "cache", RECIPE), clips)
    assert 0 < sum(counting.batches) <= 64


def test_a_damaged_file_is_refused(filled: tuple[Path, Path]) -> None:
    _, store = filled
    first, second, _ = sorted(store.glob("*.safetensors"))
    whole = first.read_bytes()
    first.write_bytes(whole[:-5])
    with pytest.raises(ValueError, match=f"is cut off at byte {len(whole) - 5}. Delete {first.name} and"):
        Store(store)
    first.write_bytes(whole)
    index = second.with_suffix(".index.jsonl")
    index.write_text(index.read_text()[:-30])
    with pytest.raises(ValueError, match="has a damaged index, line [0-9]+. Delete"):
        Store(store)
    (store / "recipe.json").write_text("{")
    with pytest.raises(ValueError, match="must be the recipe of a cache; it is damaged"):
        read_recipes(store.parent)


def test_entries_of_other_code_are_found(filled: tuple[Path, Path], tmp_path: Path) -> None:
    folder, _ = filled
    source = ShardedClips(folder)
    found = precompute(source, encode, tmp_path / "cache", RECIPE)
    assert find_differences(found, source, encode, 20) == (20, [])
    count, names = find_differences(
        found, source, lambda clip: (encode(clip)[0] * 1.01, *encode(clip)[1:]), 5
    )
    assert count == len(names) == 5 and names[0].startswith("clip-")

    def other_mask(clip: Clip) -> Columns:
        return *encode(clip)[:2], ~encode(clip)[2]

    assert len(find_differences(found, source, other_mask, 200)[1]) == 150
    assert find_differences(found, source, lambda clip: (encode(clip)[0][:, :2], *encode(clip)[1:]), 1)[1]


# ------------------------------------------------------------------- ways of storing


@pytest.mark.parametrize("storage", [Exact(), Float16(), Int8(), Exact(pool=2), Int8(pool=3)])
def test_size_is_known_beforehand(folder: Path, tmp_path: Path, clips: list[Clip], storage: Storage) -> None:
    found = precompute(ShardedClips(folder), encode, tmp_path / "cache", RECIPE, storage)
    files = [path for path in found.store.folder.iterdir() if path.name.startswith("part-")]
    predicted = len(clips) * entry_size(storage.keep(encode(clips[0])))
    assert abs(sum(path.stat().st_size for path in files) / predicted - 1) < 0.02
    again = storage.restore(storage.keep(encode(clips[9])))
    assert all(torch.equal(old, new) for old, new in zip(found[9], again, strict=True))
