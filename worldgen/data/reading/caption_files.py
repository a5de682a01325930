"""What is said about the videos of a folder: in files beside them, and in tables."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from worldgen.data.reading.caption_tables import CaptionRow, json_captions, pair_lines, read_caption_table
from worldgen.files import decode_text

CAPTION_FILES = tuple(
    f"{stem}{suffix}"
    for stem in ("captions", "metadata", "prompts")
    for suffix in (".csv", ".jsonl", ".tsv", ".json")
)
PROMPT_LINES = ("prompts.txt", "prompt.txt", "captions.txt")
VIDEO_LINES = ("videos.txt", "video.txt")
BESIDE = (".txt", ".caption", ".json")
"""Endings of a file that is about the one of the same name."""
_TEXT_FOLDERS = frozenset(
    {"captions", "caption", "prompts", "prompt", "texts", "text", "txt", "descriptions"}
)
"""Folders whose texts are about the videos of their names in the folder beside."""
_OTHER_TABLES = frozenset({".csv", ".tsv", ".jsonl", ".parquet"})
TEXT_SUFFIXES = frozenset({*BESIDE, *_OTHER_TABLES})


@dataclass(frozen=True)
class Caption:
    """What is said of one file."""

    text: str = ""
    """Empty where nothing is."""
    source: str = ""
    """Where it was found, such as ``captions.csv``."""
    others: int = 0
    """Further captions of the same file, which were left."""


class FolderCaptions:
    """The captions of a folder's videos and pictures.

    A file's caption is that of ``table``, where one is named; else the text of NAME.txt or NAME.caption, or
    the caption in NAME.json beside it; else that of the first table which has a row for it: of its own folder
    first, in the order of `CAPTION_FILES`, then the lines of prompts.txt beside those of videos.txt; else
    that of captions/NAME.txt for videos/NAME.mp4; else "".

    A row names a file by its path within the table's folder, with or without ending; by the end of that path;
    or by a longer path, absolute or from elsewhere, which ends in it.

    Args:
        folder: Holds the files and tables.
        names: Paths of the files within it; a member of a tar comes after ``!``.
        beside: What their neighbors say, by name: `caption_beside`.
        texts: What else the folder holds, by the paths of tables and lines; of members of tars their bytes.
        table: A table whose word is the last; the others are then not read.

    Raises:
        FileNotFoundError: No such table.
        ValueError: A table that cannot be read, that names none of the files, or a row of it two of them.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        beside: Mapping[str, Caption],
        texts: Mapping[str, bytes | None],
        table: Path | None = None,
    ) -> None:
        if table is not None and not table.is_file():
            raise FileNotFoundError(f"No captions at {table}. Check the path.")
        self._folder, self._names, self._texts = folder, names, texts
        self._found: dict[str, Caption] = {}
        self._unread: list[str] = []
        files = _Files(folder, names)
        if table is not None:
            rows = read_caption_table(decode_text(table.read_bytes(), table), str(table))
            self._found = files.match(rows, table.name, str(table), "")
        self._found |= {name: said for name, said in beside.items() if said.text and name not in self._found}
        if table is None:
            self._read_tables(files)

    def find(self, name: str) -> Caption:
        """A file's caption.

        Args:
            name: One of ``names``.
        """
        return self._found.get(name, Caption())

    def describe(self, what: str, names: Iterable[str] | None = None) -> str:
        """How many of the files have a caption, from where, and what was not looked into.

        Args:
            what: The files.
            names: Those that count; all when None.
        """
        counted = self._names if names is None else names
        return describe_captions([self.find(name) for name in counted], what, self._unread)

    def _read_tables(self, files: _Files) -> None:
        """Tables, the deepest first; each is about the files of its own folder, if there are some."""
        stems = {name.replace("!", "/").rpartition(".")[0] for name in self._names}
        groups: dict[str, set[str]] = defaultdict(set)
        for path in self._texts:
            if path.rpartition(".")[0] not in stems:  # else it is beside a video
                groups[path.rpartition("/")[0]].add(path.rpartition("/")[2])
        for place in sorted(groups, key=lambda place: (-len(_parts_of(place)), place)):
            above = place
            while above not in files.folders:
                above = above.rpartition("/")[0]
            for source, rows in self._rows(place, groups[place]):
                self._found = files.match(rows, source, str(self._folder / source), above) | self._found

        for path in sorted(self._texts):
            for name in files.beside_folder(path):
                if name not in self._found:
                    self._found[name] = caption_in(self._bytes(path), str(self._folder / path))

    def _rows(self, place: str, there: set[str]) -> Iterator[tuple[str, list[CaptionRow]]]:
        """The tables of one folder, by their paths."""
        prefix = f"{place}/" if place else ""
        lines, videos = (
            next((name for name in some if name in there), None) for some in (PROMPT_LINES, VIDEO_LINES)
        )
        for name in CAPTION_FILES:
            if name in there:
                yield (
                    prefix + name,
                    read_caption_table(self._read(prefix + name), str(self._folder / prefix / name)),
                )
        if lines is not None and videos is not None:
            paths = (str(self._folder / prefix / lines), str(self._folder / prefix / videos))
            yield prefix + lines, pair_lines(self._read(prefix + lines), self._read(prefix + videos), paths)
        elif lines is not None and not all(name in self._found for name in self._names):
            raise ValueError(
                f"{self._folder / prefix / lines} must say which video each of its lines is about, in "
                f"{VIDEO_LINES[0]} beside it; there is none. Write it, or move the prompts away."
            )
        self._unread += [
            prefix + name
            for name in sorted(there - {*CAPTION_FILES})
            if Path(name).suffix.lower() in _OTHER_TABLES
        ]

    def _read(self, name: str) -> str:
        return decode_text(self._bytes(name), self._folder / name)

    def _bytes(self, name: str) -> bytes:
        data = self._texts[name]
        return (self._folder / name).read_bytes() if data is None else data


def captions_of(folder: Path, names: Sequence[str]) -> FolderCaptions:
    """The captions of files that lie in a folder itself, none deeper.

    Raises:
        ValueError: Captions that cannot be read.
    """
    beside = {name: caption_beside(folder / name) for name in names}
    files = [path for path in folder.iterdir() if path.is_file()]
    texts = {path.name: None for path in files if path.suffix.lower() in TEXT_SUFFIXES}
    return FolderCaptions(folder, names, beside, texts)


def describe_captions(captions: Sequence[Caption], what: str, unread: Sequence[str] = ()) -> str:
    """A sentence, such as ``9 of 10 videos have a caption: 8 by captions.csv, 1 by files beside them``."""
    sources = Counter(said.source for said in captions if said.text)
    by = ", ".join(f"{count} by {source}" for source, count in sources.most_common())
    said = f"{sources.total()} of {len(captions)} {what} have a caption{': ' + by if by else ''}."
    several = sum(bool(one.others) for one in captions)
    if several:
        said += f" {several} have several, of which the first is taken."
    if unread:
        more = f" and {len(unread) - 1} more" if len(unread) > 1 else ""
        said += f" Not looked into: {unread[0]}{more} (a captions.csv is)."
    return said


def caption_beside(path: Path) -> Caption:
    """The text of NAME.txt, or the caption of NAME.json, beside a file; also of NAME.mp4.txt.

    Raises:
        ValueError: One that cannot be read.
    """
    for suffix in BESIDE:
        for beside in (path.with_suffix(suffix), path.with_name(path.name + suffix)):
            if beside.is_file():
                said = caption_in(beside.read_bytes(), str(beside))
                if said.text:
                    return said
    return Caption()


def caption_in(data: bytes, name: str) -> Caption:
    """The caption in the bytes of a text or json about one video; "" where the latter says other things.

    Raises:
        ValueError: Neither text nor json.
    """
    text = decode_text(data, name).strip()
    if not name.lower().endswith(".json"):
        return Caption(text, "files beside them")
    try:
        texts = json_captions(json.loads(text)) if text else ()
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{name} must be json with a caption as text; {error}. Mend it, or move it away."
        ) from error
    return Caption(texts[0], "files beside them", len(texts) - 1) if texts else Caption()


class _Files:
    """The files of a folder by how rows may name them."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.above = [part for part in folder.resolve().parts if part != "/"]
        self.parts = {name: name.replace("!", "/").split("/") for name in names}
        self.by_last: dict[str, list[str]] = defaultdict(list)
        self.folders = {""}
        for name, parts in self.parts.items():  # once, though a tar may hold two of a name
            for key in {parts[-1], parts[-1].rpartition(".")[0]}:
                self.by_last[key].append(name)
            self.folders |= {"/".join(parts[:depth]) for depth in range(1, len(parts))}

    def match(self, rows: Sequence[CaptionRow], source: str, where: str, place: str) -> dict[str, Caption]:
        """The captions of the files that the rows of a table name, which lies in the folder ``place``."""
        begin = place.split("/") if place else []
        exact: dict[str, list[CaptionRow]] = defaultdict(list)
        longer: dict[tuple[int, str], dict[str, list[CaptionRow]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            wanted = _parts_of(row.file)
            if not wanted:
                continue
            near: dict[tuple[int, bool], list[str]] = defaultdict(list)
            far: dict[tuple[int, bool], list[str]] = defaultdict(list)
            for name in self.by_last.get(wanted[-1], ()):
                parts = self.parts[name]
                if parts[: len(begin)] != begin:
                    continue
                whole, own, ends = [*self.above, *parts], len(parts) - len(begin), parts[-1] == wanted[-1]
                shared = 1
                while shared < min(len(whole), len(wanted)) and whole[-1 - shared] == wanted[-1 - shared]:
                    shared += 1
                if shared == len(wanted):
                    near[int(shared >= own), ends].append(name)
                elif shared >= own:
                    far[shared - own, ends].append(name)
            best = near or far
            named = best[max(best)] if best else []
            if len(named) > 1:
                raise ValueError(
                    f"{where}: {row.file!r} must name one file; it fits {named[0]} and {named[1]}. Write "
                    "paths within the folder."
                )
            if near:
                exact[named[0]].append(row)
            elif far:
                excess = max(far)[0]
                own = len(self.parts[named[0]]) - len(begin)
                above = "/".join(wanted[: -excess - own])
                longer[excess, above][named[0]].append(row)
        if not exact and longer:
            most = max(excess for excess, _ in longer)
            groups = sorted(above for excess, above in longer if excess == most)
            if len(groups) > 1:
                raise ValueError(
                    f"{where} must name files of this folder; it names files of {groups[0]}/ and "
                    f"{groups[1]}/, of which either may be this one. Write paths within the folder."
                )
            exact = longer[most, groups[0]]
        said = [row for row in rows if row.texts]
        if said and not exact and self.parts:
            raise ValueError(
                f"None of the {len(said)} captions of {where} names a file of the folder, such as "
                f"{next(iter(self.parts))!r}; got {said[0].file!r}. Write paths within the folder."
            )
        return {
            name: Caption(texts[0], source, len({*texts}) - 1)
            for name, some in exact.items()
            if (texts := [text for row in some for text in row.texts])
        }

    def beside_folder(self, text: str) -> list[str]:
        """The file that a text in a folder of texts is about: of its path, but for that folder's name."""
        *folders, last = text.split("/")
        place = next((n for n in reversed(range(len(folders))) if folders[n].lower() in _TEXT_FOLDERS), None)
        stem, _, suffix = last.rpartition(".")
        if place is None or f".{suffix.lower()}" not in BESIDE or stem in ("captions", "metadata", "prompts"):
            return []
        above, below = folders[:place], [*folders[place + 1 :], stem]
        named = []
        for name in self.by_last.get(stem, ()):
            parts = [*self.parts[name][:-1], stem]
            inner = parts[len(above) :]
            if parts[: len(above)] == above and (inner == below or inner[1:] == below):
                named.append(name)
        if len(named) > 1:
            raise ValueError(
                f"{text} must be about one file; it fits {named[0]} and {named[1]}. Put it beside its file."
            )
        return named


def _parts_of(file: str) -> list[str]:
    """The parts of a path as anybody writes it: with a protocol, backslashes, or ``./`` in front."""
    path = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://", "", file.strip()).replace("\\", "/").replace("!", "/")
    return [part for part in path.split("/") if part not in ("", ".")]
