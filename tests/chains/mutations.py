"""Valid inputs of every kind that worldgen reads, their readers, and ways to damage them."""

import io
import json
import random
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from tests.data.conftest import _make_clip
from tests.data.importing.test_layouts import write_tar
from tests.data.videos import ball, write
from worldgen.data.cache.cache import read_recipes
from worldgen.data.cache.store import Store
from worldgen.data.importing.layouts import find_recordings
from worldgen.data.importing.ledger import Ledger
from worldgen.data.importing.reading import CutRule, cut_recording
from worldgen.data.media import read_video, video_timing
from worldgen.data.reading.caption_files import captions_of
from worldgen.data.shards.inspection import contact_sheet, summarize_shards
from worldgen.data.shards.shards import ShardIndex, read_index, verify_shard, write_shards
from worldgen.diffusion.codec import load_codec
from worldgen.encoders.base import load_encoder
from worldgen.evaluation.compare import read_report
from worldgen.evaluation.foreign.tracks import write_exports
from worldgen.evaluation.kept import Record, read_finding
from worldgen.metrics.tracks.files import read_tracks, write_tracks
from worldgen.runs.folder import open_run
from worldgen.texts import read_yaml

NANO = Path(__file__).parents[2] / "assets" / "nano"
EXTREMES: tuple[Any, ...] = (
    None, True, 0, -1, 10**9, 10**30, 1e308, -1e308, float("nan"), float("inf"), 1e-300, "", "x", "1",
    "[red]", "[/b]", "../../escaped", "/escaped", "\0", "ä" * 300, [], [0], {}, {"a": 1}, [[[]]], "=1+1",
    "9" * 5000,
)  # fmt: skip
WORDS = tuple(str(value).encode() for value in EXTREMES) + (b"\xff\xfe", b"[" * 20_000, b"\n", b",", b'"')


@dataclass(frozen=True)
class Kind:
    """One kind of input."""

    write: Callable[[Path], Path]
    """Writes a valid one into a folder; returns the file that is damaged."""
    read: Callable[[Path, Path], object]
    """Reads the folder of what `write` returned, and writes to another folder."""
    damage: tuple[Callable[[bytes, random.Random], bytes], ...]


def damage_bytes(data: bytes, chance: random.Random) -> bytes:
    """Bytes turned, cut, left out, repeated or put in, one to three times."""
    for _ in range(chance.randint(1, 3)):
        place, length = chance.randrange(len(data) + 1), chance.choice((1, 2, 8, 64, 1000))
        way = chance.randrange(6)
        if way == 0:
            data = data[:place]
        elif way == 1:
            data = data[:place] + data[place + length :]
        elif way == 2:
            data = data[:place] + data[place : place + length] * 3 + data[place + length :]
        elif way == 3:
            data = data[:place] + chance.choice(WORDS) + data[place:]
        elif way == 4:
            data = data[:place] + chance.randbytes(length) + data[place + length :]
        elif place < len(data):
            data = data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]
    return data


def damage_json(data: bytes, chance: random.Random) -> bytes:
    """A value of a json document, or of one of its lines, that is another one, or gone, or twice there."""
    lines = data.decode().split("\n") if b"\n{" in data else [data.decode()]
    number = chance.choice([number for number, line in enumerate(lines) if line.strip()])
    document = json.loads(lines[number])
    places = list(_places(document))
    for _ in range(chance.randint(1, 2)):
        parent, key = chance.choice(places)
        if chance.random() < 0.15 and isinstance(parent, dict):
            parent.pop(key, None)
        elif isinstance(parent, dict) or key < len(parent):
            parent[key] = chance.choice(EXTREMES)
    lines[number] = json.dumps(document)
    return "\n".join(lines).encode()


def damage_table(data: bytes, chance: random.Random) -> bytes:
    """A cell that is something else."""
    rows = [line.split(b",") for line in data.split(b"\n")]
    row = chance.choice(rows[:-1])
    row[chance.randrange(len(row))] = chance.choice(WORDS)
    return b"\n".join(b",".join(row) for row in rows)


def damage_tensors(data: bytes, chance: random.Random) -> bytes:
    """A safetensors file of which a tensor has other values, another shape or another kind, or is gone."""
    tensors = load_tensors(data)
    name = chance.choice(sorted(tensors))
    value, way = tensors[name], chance.randrange(5)
    if way == 0:
        del tensors[name]
    elif way == 1:
        tensors[name] = torch.full_like(value, chance.choice((0, 1))) if value.numel() else value
    elif way == 2 and value.is_floating_point():
        tensors[name] = torch.full_like(value, chance.choice((-1.0, float("nan"), float("inf"), 3e38)))
    elif way == 3:
        tensors[name] = value.flatten()[: chance.randrange(value.numel() + 1)].clone()
    else:
        tensors[name] = value.to(chance.choice((torch.int64, torch.bool, torch.float64, torch.int8)))
    return save_tensors(tensors)


def damage_header(data: bytes, chance: random.Random) -> bytes:
    """The header of a safetensors file with another value in it."""
    length = int.from_bytes(data[:8], "little")
    header = damage_json(data[8 : 8 + length], chance)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def damage_member(data: bytes, chance: random.Random) -> bytes:
    """A tar of which a member has another name or other bytes, whole as a tar."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = [(info, tar.extractfile(info).read()) for info in tar if info.isfile()]
    out, chosen = io.BytesIO(), chance.randrange(len(members))
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number, (info, content) in enumerate(members):
            if number == chosen:
                way = chance.randrange(4)
                if way == 0:
                    names = (
                        "../escaped.mp4",
                        "/escaped.mp4",
                        "",
                        "a" * 300 + ".mp4",
                        "\udcff.mp4",
                        "[red].mp4",
                    )
                    info.name = chance.choice((*names, members[0][0].name, ".mp4", "x.txt"))
                elif way == 1:
                    info.type = chance.choice(
                        (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
                    )
                    info.linkname = chance.choice(("../../escaped", "/dev/zero", info.name))
                else:
                    content = damage_bytes(content, chance)
            info.size = len(content) if info.isfile() else 0
            tar.addfile(info, io.BytesIO(content) if info.isfile() else None)
    return out.getvalue()


def seal_shard(tar: Path, chance: random.Random) -> None:
    """Damage a member of a shard and make its index agree: whoever wrote it wanted it so."""
    data, index = bytearray(tar.read_bytes()), tar.with_suffix(".index.jsonl")
    rows = [json.loads(line) for line in index.read_text().splitlines()]
    row = chance.choice(rows)
    suffix = chance.choice(sorted(row["members"]))
    offset, size, _ = row["members"][suffix]
    content = bytes(data[offset : offset + size])
    if suffix == "state.safetensors":
        content = chance.choice((damage_tensors, damage_header, damage_bytes))(content, chance)
    elif suffix == "meta.json":
        content = damage_json(content, chance)
    else:
        content = damage_bytes(content, chance)
    row["members"][suffix] = [len(data), len(content), zlib.crc32(content)]
    # Its span reaches from the first member to this one, past the other clips: reading copes.
    tar.write_bytes(bytes(data) + content)
    index.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _places(value: Any):
    for key in range(len(value)) if isinstance(value, list) else list(value):
        yield value, key
        if isinstance(value[key], list | dict):
            yield from _places(value[key])


def _write_shard(folder: Path) -> Path:
    clips = [replace(_make_clip(seed), scenes=None) for seed in range(2)]
    write_shards(clips, folder, family="family")
    return folder / "shard-000000.tar"


def _write_index(folder: Path) -> Path:
    return _write_shard(folder).with_suffix(".index.jsonl")


def _read_shard(folder: Path, out: Path) -> None:
    """Every reader of shards, also behind one that refuses."""
    tar = folder / "shard-000000.tar"
    _try_each(
        lambda: [ShardIndex(folder).read(number) for number in range(len(read_index(tar)))],
        lambda: verify_shard(tar),
        lambda: summarize_shards(folder),
        lambda: contact_sheet(folder, 2, 2),
        lambda: write_exports([folder], out),
    )


def _write_tracks(suffix: str) -> Callable[[Path], Path]:
    def write_one(folder: Path) -> Path:
        clip = _make_clip(1, frames=6)
        return write_tracks(folder / f"tracks{suffix}", clip.truth, clip.camera, 48, 64)

    return write_one


def _read_tracks(folder: Path, out: Path) -> None:
    (path,) = folder.glob("tracks.*")
    found = read_tracks(path).tracks
    write_tracks(out / "again.csv", found)


def _write_text(name: str, text: str) -> Callable[[Path], Path]:
    def write_one(folder: Path) -> Path:
        (folder / name).write_text(text)
        return folder / name

    return write_one


def _write_copy(folder_of: str, name: str) -> Callable[[Path], Path]:
    """A shipped part, whose config names others as beside it."""

    def write_one(folder: Path) -> Path:
        for path in (NANO / folder_of).iterdir():
            data = path.read_bytes()
            if path.name == "config.yaml":
                data = data.replace(b"../", f"{NANO}/".encode())
            (folder / path.name).write_bytes(data)
        return folder / name

    return write_one


def _write_checkpoint(folder: Path) -> Path:
    _write_copy("generator", "config.yaml")(folder)
    (folder / "checkpoints").mkdir()
    state = load_tensors((folder / "model.safetensors").read_bytes())
    (folder / "model.safetensors").unlink()
    torch.save({"state_dict": state, "frozen": "x", "epoch": 3}, folder / "checkpoints" / "last.ckpt")
    return folder / "checkpoints" / "last.ckpt"


def _write_cache(folder: Path) -> Path:
    Store(folder).write(
        "0", [(str(key), f"clip {key}", [torch.rand(3, 4), torch.ones(2)]) for key in range(3)]
    )
    (index,) = folder.glob("*.index.jsonl")
    return index


def _read_cache(folder: Path, out: Path) -> None:
    store = Store(folder)
    store.find_damage()
    for key in store.entries:
        store.read(key)


def _write_part(folder: Path) -> Path:
    drop = {"file": "b.mp4", "start": None, "reason": "too short: 1"}
    item = {"name": "a.mp4", "fingerprint": "f", "starts": [0.0, 0.5], "drops": [drop]}
    (folder / "parts").mkdir()
    path = folder / "parts" / "part-000000.json"
    path.write_text(
        json.dumps({"number": 0, "recordings": [item], "shards": [["8x48x80/shard-000000.tar", 2]]})
    )
    return path


def _write_video(name: str, codec: str, pixels: str = "yuv420p") -> Callable[[Path], Path]:
    return lambda folder: write(folder / name, list(ball(12)), codec, pixels)


def _write_picture(folder: Path) -> Path:
    Image.fromarray(next(ball(1))).save(folder / "a.png")
    return folder / "a.png"


def _write_videos(folder: Path) -> Path:
    path = write(folder / "a.mp4", list(ball(9)))
    members = {
        "a.mp4": path.read_bytes(),
        "a.txt": b"in a tar",
        "b.json": b'{"caption": "x"}',
        "b.mp4": b"no",
    }
    path.unlink()
    write_tar(folder / "x.tar", members)
    return folder / "x.tar"


def _read_videos(folder: Path, out: Path) -> None:
    rule = CutRule(size=32, frames=4, fps=None, stride=4, square=False, background=255, multiple=16)
    for recording in find_recordings(folder, images=True).recordings:
        for _ in cut_recording(recording, rule):
            pass
    for path in folder.iterdir():
        if path.suffix != ".tar":
            _try_each(lambda path=path: read_video(path), lambda path=path: video_timing(path))


def _read_captions(folder: Path, out: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (folder / name).write_bytes(b"no video")
    known = captions_of(folder, ["a.mp4", "b.mp4"])
    known.describe("videos", ["a.mp4", "b.mp4"])
    find_recordings(folder)


def _try_each(*readers: Callable[[], object]) -> None:
    """Run all of them, though one refuses; then refuse likewise."""
    refusals = []
    for read in readers:
        try:
            read()
        except (ValueError, OSError) as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]


_REPORT = json.dumps(
    {
        "cases": [
            {
                "name": "a",
                "measures": [{"name": "m", "unit": "", "value": 1.0}],
                "exhibits": [
                    {"is_control": False, "label": "x", "source": "readout",
                     "checks": [{"name": "c", "score": 0.5}]}
                ],
            }
        ]
    }
)  # fmt: skip
_ENCODER = f"class_path: worldgen.encoders.t5.T5\ninit_args:\n  checkpoint: {NANO / 't5'}\n"
_RECIPE = json.dumps({"weights": {"codec": "abc"}, "settings": {"storage": "Exact"}})
_TABLE = "file,caption\na.mp4,a ball falls\nb.mp4,two [red] balls\n"
_ROWS = json.dumps([{"file": "a.mp4", "caption": "x"}, {"file": "b.mp4", "caption": ["y", "z"]}])
_LINES = '{"file": "a.mp4", "caption": "x"}\n{"file": "b.mp4", "captions": ["y", "z"]}\n'
_YAML = "a: &a [1, 2]\nb: {c: *a, d: 1e3}\ne: text\n"


def _write_finding(folder: Path) -> Path:
    Record(folder / "a.safetensors", "stamp").write({"name": "a", "reason": "none", "exhibits": []}, {})
    return folder / "a.safetensors"


def _write_recipe(folder: Path) -> Path:
    (folder / "store").mkdir()
    (folder / "store" / "recipe.json").write_text(_RECIPE)
    return folder / "store" / "recipe.json"


KINDS: dict[str, Kind] = {
    "shard": Kind(_write_shard, _read_shard, (damage_bytes,)),
    "sealed shard": Kind(_write_shard, _read_shard, ()),
    "index": Kind(_write_index, _read_shard, (damage_bytes, damage_json, damage_json)),
    "tracks.csv": Kind(_write_tracks(".csv"), _read_tracks, (damage_bytes, damage_table, damage_table)),
    "tracks.json": Kind(_write_tracks(".json"), _read_tracks, (damage_bytes, damage_json, damage_json)),
    "tracks.trk": Kind(_write_tracks(".trk"), _read_tracks, (damage_bytes,)),
    "yaml": Kind(
        _write_text("a.yaml", _YAML),
        lambda folder, out: read_yaml((folder / "a.yaml").read_bytes().decode(errors="replace"), "a.yaml"),
        (damage_bytes,),
    ),
    "encoder": Kind(
        _write_text("e.yaml", _ENCODER),
        lambda folder, out: load_encoder(str(folder / "e.yaml")),
        (damage_bytes,),
    ),
    "config": Kind(
        _write_copy("generator", "config.yaml"), lambda folder, out: open_run(folder), (damage_bytes,)
    ),
    "weights": Kind(
        _write_copy("generator", "model.safetensors"),
        lambda folder, out: open_run(folder),
        (damage_bytes, damage_tensors, damage_header),
    ),
    "checkpoint": Kind(_write_checkpoint, lambda folder, out: open_run(folder), (damage_bytes,)),
    "codec": Kind(
        _write_copy("codec", "model.safetensors"),
        lambda folder, out: load_codec(str(folder)),
        (damage_bytes, damage_tensors, damage_header),
    ),
    "codec config": Kind(
        _write_copy("codec", "config.json"),
        lambda folder, out: load_codec(str(folder)),
        (damage_json, damage_bytes),
    ),
    "cache": Kind(_write_cache, _read_cache, (damage_bytes, damage_json, damage_json)),
    "recipe": Kind(_write_recipe, lambda folder, out: read_recipes(folder), (damage_json, damage_bytes)),
    "finding": Kind(
        _write_finding,
        lambda folder, out: read_finding(Record(folder / "a.safetensors", "stamp")),
        (damage_bytes, damage_header),
    ),
    "report": Kind(
        _write_text("report.json", _REPORT),
        lambda folder, out: read_report(folder, "a"),
        (damage_json, damage_bytes),
    ),
    "ledger": Kind(_write_part, lambda folder, out: Ledger(folder), (damage_json, damage_bytes)),
    "mp4": Kind(_write_video("a.mp4", "libx264"), _read_videos, (damage_bytes,)),
    "webm": Kind(_write_video("a.webm", "libvpx-vp9"), _read_videos, (damage_bytes,)),
    "gif": Kind(_write_video("a.gif", "gif", "rgb8"), _read_videos, (damage_bytes,)),
    "png": Kind(_write_picture, _read_videos, (damage_bytes,)),
    "tar": Kind(_write_videos, _read_videos, (damage_bytes, damage_member, damage_member)),
    "captions.csv": Kind(_write_text("captions.csv", _TABLE), _read_captions, (damage_bytes, damage_table)),
    "captions.json": Kind(_write_text("captions.json", _ROWS), _read_captions, (damage_bytes, damage_json)),
    "captions.jsonl": Kind(
        _write_text("captions.jsonl", _LINES), _read_captions, (damage_bytes, damage_json)
    ),
    "a.txt": Kind(_write_text("a.txt", "a ball falls\n"), _read_captions, (damage_bytes,)),
}
