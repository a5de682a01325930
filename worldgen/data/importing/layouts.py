"""What a folder of foreign videos holds: loose files, WebDataset tars, or a LeRobot dataset.

Whatever the layout, it becomes a list of `Recording`: a stretch of bytes that holds one video or picture, and
what is said about it. Nothing is decoded here.
"""

from __future__ import annotations

import re
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from worldgen.data.importing.recordings import Drop, Listing, Recording
from worldgen.data.reading.caption_files import (
    BESIDE,
    TEXT_SUFFIXES,
    Caption,
    FolderCaptions,
    caption_beside,
    caption_in,
)
from worldgen.data.reading.folders import VIDEO_SUFFIXES, why_passed_over
from worldgen.data.reading.pictures import IMAGE_SUFFIXES, is_animated
from worldgen.data.shards.shards import find_shards

_WRITTEN = re.compile(r"config\.json|dropped\.csv|parts/.*|\d+x\d+x\d+/shard-\d{6,}\.(tar|index\.jsonl)")
"""What an import writes, where its videos lie in the same folder."""


def find_recordings(
    folder: Path, captions: Path | None = None, images: bool = False, outside: Path | None = None
) -> Listing:
    """Every recording below a folder.

    `FolderCaptions` says where captions are looked up; a member of a tar has that of the member of its
    name. A recording whose caption cannot be read is left out.

    Args:
        folder: Loose files and WebDataset tars, at any depth; or a LeRobot v3 dataset.
        captions: A csv or jsonl table with columns such as file and caption.
        images: Take pictures too.
        outside: A folder that is not looked into, such as the one that is written to.

    Raises:
        FileNotFoundError: No such folder or table.
        ValueError: Nothing that could be imported; captions that cannot be read or that fit no file; shards
            of worldgen itself.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"No folder of videos at {folder}. Check the path.")
    if (folder / "meta" / "info.json").is_file():
        from worldgen.data.importing.lerobot import find_episodes

        if captions is not None:
            raise ValueError(
                f"{folder} is a LeRobot dataset and captions its tasks itself; leave --captions out."
            )
        return find_episodes(folder)
    own = outside is not None and folder.resolve() == outside.resolve()
    if not own and (folder / "config.json").is_file() and find_shards(folder):
        raise ValueError(f"{folder} holds shards of worldgen already; train on them as they are.")
    recordings, drops = [], []
    said: dict[str, Caption] = {}
    texts: dict[str, bytes | None] = {}
    for path in sorted(_walk(folder, outside, {folder.resolve()})):
        name = path.relative_to(folder).as_posix()
        if own and _WRITTEN.fullmatch(name):
            continue
        if path.is_dir():
            drops.append(Drop(name, None, "linked folder: it is looked into elsewhere, or holds this one"))
        elif not path.is_file():  # to open a pipe waits for whoever writes to it
            if path.suffix.lower() not in TEXT_SUFFIXES:
                drops.append(Drop(name, None, "no file: a pipe, or a link that leads nowhere"))
        elif is_animated(path):
            drops.append(Drop(name, None, "animated picture: convert it to a video first"))
        elif path.suffix.lower() == ".tar":
            found = _members_of(path, name)
            recordings += found.recordings
            drops += found.drops
            said |= found.said
            texts |= found.texts
        elif path.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES:
            try:
                said[name] = caption_beside(path)
            except ValueError as error:
                drops.append(Drop(name, None, f"caption: {error}"))
            else:
                recordings.append(Recording(name, path))
        elif path.suffix.lower() in TEXT_SUFFIXES:
            texts[name] = None
        elif reason := why_passed_over(path):
            drops.append(Drop(name, None, reason))
    known = FolderCaptions(folder, [item.name for item in recordings], said, texts, captions)
    if not images:
        drops += [
            Drop(item.name, None, "picture: not asked for, see --images")
            for item in recordings
            if item.is_image
        ]
        recordings = [item for item in recordings if not item.is_image]
    if not recordings and not drops:
        raise ValueError(
            f"{folder} must hold videos (mp4, mov, mkv, webm, avi, gif and others), WebDataset tars or a "
            "LeRobot dataset; got none. Check the path."
        )
    captioned = tuple(replace(item, caption=known.find(item.name).text) for item in recordings)
    told = known.describe("recordings", [item.name for item in recordings])
    return Listing(captioned, tuple(drops), told)


def _walk(folder: Path, outside: Path | None, seen: set[Path]) -> Iterator[Path]:
    """Files at any depth, each folder once: a link may lead back up. One that was seen comes as itself."""
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_symlink(), path.name)):
        if path.name.startswith(".") or (outside is not None and path.resolve() == outside.resolve()):
            continue
        if path.is_dir() and path.resolve() not in seen:
            seen.add(path.resolve())
            yield from _walk(path, outside, seen)
        else:
            yield path


@dataclass
class _Members:
    """What a tar holds."""

    recordings: list[Recording] = field(default_factory=list)
    said: dict[str, Caption] = field(default_factory=dict)
    """By the names of recordings."""
    texts: dict[str, bytes | None] = field(default_factory=dict)
    """Tables, by their paths."""
    drops: list[Drop] = field(default_factory=list)


def _members_of(path: Path, name: str) -> _Members:
    """The videos and pictures of a tar, each with the caption among the members that belong to it."""
    found = _Members()
    beside: dict[str, bytes] = {}
    names: set[str] = set()
    whole = True

    def damaged(why: object) -> Drop:
        return Drop(name, None, f"damaged tar: {why}, after {len(found.recordings)} videos and pictures")

    try:
        size = path.stat().st_size
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.offset_data + member.size > size:
                    found.drops.append(damaged("cut off"))
                    whole = False
                    break
                suffix = Path(member.name).suffix.lower()
                if not member.isfile() or not suffix:
                    continue
                if suffix in VIDEO_SUFFIXES | IMAGE_SUFFIXES and member.name in names:
                    found.drops.append(
                        Drop(f"{name}!{member.name} (again)", None, "twice in its tar: the first is taken")
                    )
                elif suffix in VIDEO_SUFFIXES | IMAGE_SUFFIXES:
                    names.add(member.name)
                    item = Recording(f"{name}!{member.name}", path, "", member.offset_data, member.size)
                    found.recordings.append(item)
                elif suffix in TEXT_SUFFIXES:
                    data = tar.extractfile(member)
                    texts = beside if suffix in BESIDE else found.texts
                    texts[f"{name}/{member.name}"] = b"" if data is None else data.read()
    except (tarfile.TarError, OSError, ValueError) as error:
        found.drops.append(damaged(error))
        whole = False
    if whole and size % tarfile.BLOCKSIZE:  # which tarfile takes for the end
        found.drops.append(damaged("cut off"))
    _share_out(found, beside)
    return found


def _share_out(found: _Members, beside: dict[str, bytes]) -> None:
    """Give each recording of a tar the text that is about it; what is about none may be a table.

    WebDataset takes what stands before the first dot of a name for the key of a sample, but people write
    versions and numbers there (``ball_v1.5_red``). So a text is that of the recording of its whole name;
    else of those whose names go on where its own ends, at a dot (``7.left.mp4`` and ``7.txt``), or of the one
    where its own goes on with a word (``7.mp4`` and ``7.said.txt``). Names that part (``7.view.mp4`` and
    ``7.said.txt``) are one sample if other keys go on in both ways, each only for its kind of member.
    """
    stems = {item.name: item.name.replace("!", "/").rpartition(".")[0] for item in found.recordings}
    whole = {*stems.values()}
    by_key: dict[str, list[str]] = defaultdict(list)
    for text in sorted(beside, key=lambda text: BESIDE.index(Path(text).suffix.lower())):
        by_key[_key_of(text)].append(text)
    shown = Counter(map(_middle_of, whole))
    told = Counter(map(_middle_of, {_stem_of(text) for text in beside}))
    used = set()
    for item in list(found.recordings):
        stem, mine = stems[item.name], _middle_of(stems[item.name])
        texts = by_key.get(_key_of(stem), [])
        free = [text for text in texts if _stem_of(text) not in whole]
        exact = [text for text in texts if _stem_of(text) in (stem, item.name.replace("!", "/"))]
        shorter = [text for text in free if stem.startswith(f"{_stem_of(text)}.")]
        words = [
            text
            for text in free
            if (mine == "" and not re.search(r"\d", _middle_of(_stem_of(text))))
            or _is_a_pair(mine, _middle_of(_stem_of(text)), shown, told)
        ]
        try:
            for text in exact or shorter or words:
                used.add(text)
                said = caption_in(beside[text], text)
                if said.text:
                    found.said[item.name] = said
                    break
        except ValueError as error:
            found.recordings.remove(item)
            found.drops.append(Drop(item.name, None, f"caption: {error}"))
    found.texts |= {text: data for text, data in beside.items() if text not in used}


def _is_a_pair(mine: str, other: str, shown: Counter[str], told: Counter[str]) -> bool:
    """Whether keys of the tar go on thus for videos, and thus for texts, again and again."""
    return shown[mine] > 1 and told[other] > 1 and not told[mine] and not shown[other]


def _stem_of(path: str) -> str:
    return path.rpartition(".")[0]


def _key_of(path: str) -> str:
    """WebDataset's: up to the first dot of the name."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _middle_of(stem: str) -> str:
    """What follows on the key, before the ending."""
    return stem.removeprefix(_key_of(stem))
