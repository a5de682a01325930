"""What a folder of foreign videos holds: loose files, WebDataset tars, or a LeRobot dataset.

Whatever the layout, it becomes a list of `Recording`: a stretch of bytes that holds one video or picture, and
what is said about it. Nothing is decoded here.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from worldgen.data.caption_files import FolderCaptions, caption_beside, caption_in
from worldgen.data.importing.recordings import Drop, Listing, Recording
from worldgen.data.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from worldgen.data.shards.shards import find_shards


def find_recordings(
    folder: Path, captions: Path | None = None, images: bool = False, outside: Path | None = None
) -> Listing:
    """Every recording below a folder.

    `FolderCaptions` says where captions are looked up; beside a member of a tar is the member of that name.

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
    if (folder / "config.json").is_file() and find_shards(folder):
        raise ValueError(f"{folder} holds shards of worldgen already; train on them as they are.")
    said = FolderCaptions(folder, captions)
    recordings, drops = [], []
    for path in sorted(_walk(folder, outside)):
        name = path.relative_to(folder).as_posix()
        if path.suffix.lower() == ".tar":
            members, left_out = _members_of(path, name)
            recordings += members
            drops += left_out
        elif path.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES:
            recordings.append(Recording(name, path, caption_beside(path)))
    if not images:
        drops += [
            Drop(item.name, None, "picture: not asked for, see --images")
            for item in recordings
            if item.is_image
        ]
        recordings = [item for item in recordings if not item.is_image]
    if not recordings and not drops:
        raise ValueError(
            f"{folder} must hold videos ({', '.join(sorted(VIDEO_SUFFIXES))}), WebDataset tars or a LeRobot "
            "dataset; got none. Check the path."
        )
    return Listing(_with_captions(recordings, said), tuple(drops))


def _walk(folder: Path, outside: Path | None) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith(".") or (outside is not None and path.resolve() == outside.resolve()):
            continue
        if path.is_dir():
            if not path.is_symlink():  # it may lead back up
                yield from _walk(path, outside)
        else:
            yield path


def _members_of(path: Path, name: str) -> tuple[list[Recording], list[Drop]]:
    """The videos and pictures of a tar, each with the caption among the members of the same key."""
    found: list[tuple[str, Recording]] = []
    said: dict[str, str] = {}
    drops: list[Drop] = []
    try:
        size = path.stat().st_size
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.offset_data + member.size > size:
                    drops.append(
                        Drop(name, None, f"damaged tar: cut off, after {len(found)} videos and pictures")
                    )
                    break
                key, dot, suffix = member.name.rpartition("/")[2].partition(".")
                key = f"{member.name.rpartition('/')[0]}/{key}"
                suffix = "." + suffix.rpartition(".")[2].lower()
                if not member.isfile() or not dot:
                    continue
                if suffix in VIDEO_SUFFIXES | IMAGE_SUFFIXES:
                    item = Recording(f"{name}!{member.name}", path, "", member.offset_data, member.size)
                    found.append((key, item))
                elif suffix in (".txt", ".json"):
                    data = tar.extractfile(member)
                    text = caption_in(data.read(), suffix) if data is not None else ""
                    said[key] = text if suffix == ".txt" or key not in said else said[key]
    except (tarfile.TarError, OSError, ValueError) as error:
        drops.append(Drop(name, None, f"damaged tar: {error}, after {len(found)} videos and pictures"))
    if not drops and size % tarfile.BLOCKSIZE:  # which tarfile takes for the end
        drops.append(Drop(name, None, f"damaged tar: cut off, after {len(found)} videos and pictures"))
    return [replace(item, caption=said.get(key, "")) for key, item in found], drops


def _with_captions(recordings: list[Recording], said: FolderCaptions) -> tuple[Recording, ...]:
    unnamed = all(said.row(item.name) is None for item in recordings)
    if said.table is not None and recordings and unnamed:
        raise ValueError(
            f"None of the {len(said.rows)} captions of {said.table} names a file of the folder, such as "
            f"{recordings[0].name!r}; got {next(iter(said.rows), 'no rows')!r}. "
            "Write paths within the folder."
        )
    return tuple(replace(item, caption=said.find(item.name, item.caption)) for item in recordings)
