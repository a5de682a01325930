"""Captions as tables and json have them: rows of files and captions, under the names that people use."""

from __future__ import annotations

import ast
import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

FILE_COLUMNS = ("file", "file_name", "filename", "file_path", "filepath", "video", "video_path", "video_file")
FILE_COLUMNS += (
    "videos",
    "path",
    "video_name",
    "clip",
    "clip_path",
    "media",
    "video_id",
    "videoid",
    "clip_id",
)
FILE_COLUMNS += ("__key__", "key", "name", "image", "image_path", "id")
CAPTION_COLUMNS = ("caption", "captions", "text", "texts", "prompt", "prompts", "long_caption", "description")
CAPTION_COLUMNS += ("descriptions", "sentence", "sentences", "short_caption", "instruction")
_CERTAIN = frozenset({"caption", "captions", "prompt", "prompts", "long_caption", "short_caption"})
"""Keys that mean a caption wherever they stand in a json; a description may be that of a license."""
_WRAPPERS = frozenset(
    {"annotation", "annotations", "metadata", "meta", "data", "video", "clip", "label", "labels"}
)
_DEEPEST = 6


@dataclass(frozen=True)
class CaptionRow:
    """What a table says of one file."""

    file: str
    """As written there."""
    texts: tuple[str, ...]
    """One caption or several; none where the table leaves it open."""


def read_caption_table(text: str, name: str) -> list[CaptionRow]:
    """The rows of a table.

    Args:
        text: Of the file.
        name: Of the file, whose ending says how to read it: ``.csv``, ``.tsv``, ``.jsonl`` or ``.json`` (a
            list of rows, or captions by file).

    Raises:
        ValueError: It is not that, or a row has no file or no column of captions; the sentence says which.
    """
    try:
        if name.lower().endswith((".csv", ".tsv")):
            rows = list(_csv_rows(text, name))
        elif name.lower().endswith(".json"):
            rows = list(_json_rows(json.loads(text)))
        else:
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
        return [_row(row, number) for number, row in enumerate(rows, start=1)]
    except (ValueError, TypeError, csv.Error, RecursionError) as error:
        raise ValueError(
            f"Every row of {name} must have a file (file, file_name, video, path, ...) and a caption "
            f"(caption, text, prompt, description, ...); {error}. Mend it, or move it away."
        ) from error


def pair_lines(prompts: str, videos: str, names: tuple[str, str]) -> list[CaptionRow]:
    """The rows of two files of lines, of which one has the captions and the other the videos.

    Raises:
        ValueError: Not equally many lines.
    """
    texts, files = prompts.strip("\n\r").split("\n"), videos.strip("\n\r").split("\n")
    if len(texts) != len(files):
        raise ValueError(
            f"{names[0]} and {names[1]} must have a line for each video; they have {len(texts)} and "
            f"{len(files)}. Mend them, or move them away."
        )
    return [
        CaptionRow(file.strip(), (text.strip(),) if text.strip() else ())
        for file, text in zip(files, texts, strict=True)
        if file.strip()
    ]


def json_captions(document: Any) -> tuple[str, ...]:
    """The captions of one video in a json that is about it; none where it says other things.

    Raises:
        ValueError: A caption that is neither text nor a list or record of it.
    """
    if isinstance(document, str):
        return _texts(document, "caption")
    if isinstance(document, list) and all(isinstance(part, str) for part in document):
        return _texts(document, "caption")
    level = [(document, True)]
    for _ in range(_DEEPEST):
        for part, plain in level:
            if isinstance(part, dict):
                row = {str(key).lower(): value for key, value in part.items()}
                with nullcontext() if plain else suppress(ValueError):  # {"has": {"captions": true}}
                    found = _columns(row, CAPTION_COLUMNS if plain else sorted(_CERTAIN))
                    if found:
                        return found
        level = list(_below(level))
    return ()


def _below(level: Iterable[tuple[Any, bool]]) -> Iterator[tuple[Any, bool]]:
    for part, plain in level:
        if isinstance(part, dict):
            for key, value in part.items():
                yield value, plain and str(key).lower() in _WRAPPERS
        elif isinstance(part, list):
            yield from ((value, plain) for value in part)


def _csv_rows(text: str, name: str) -> Iterator[dict[str, Any]]:
    """Rows by lower-case columns; whatever of comma, semicolon and tab makes columns of the first line."""
    head = text.lstrip("\n\r").partition("\n")[0]
    marks = "\t,;" if name.lower().endswith(".tsv") else ",;\t"
    mark = max(marks, key=head.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    columns = [column.strip().lower() for column in reader.fieldnames or []]
    for what, known in (("file", FILE_COLUMNS), ("caption", CAPTION_COLUMNS)):
        if not {*known} & {*columns}:
            raise ValueError(f"it has no column for the {what}, but {', '.join(columns)[:200] or 'nothing'}")
    reader.fieldnames = columns
    for row in reader:
        if not any(row.values()):
            continue
        if None in row:
            raise ValueError(
                f"line {reader.line_num} has more cells than columns; quote captions with commas"
            )
        yield {key: _unpack(value) for key, value in row.items() if key is not None}


def _unpack(cell: str | None) -> Any:
    """A cell; a list where it holds one as python and pandas write it."""
    if cell is not None and cell.startswith("[") and cell.endswith("]"):
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            found = ast.literal_eval(cell)
            if isinstance(found, list) and all(isinstance(part, str) for part in found):
                return found
    return cell


def _json_rows(document: Any) -> Iterator[Any]:
    """A list of rows, captions by file, or either under the one key that holds it."""
    if isinstance(document, list):
        yield from document
        return
    if not isinstance(document, dict):
        raise ValueError("it holds neither rows nor captions by file")
    lists = [
        part for part in document.values() if isinstance(part, list) and part and isinstance(part[0], dict)
    ]
    if len(lists) == 1 and all(_columns(lists[0][0], names) for names in (FILE_COLUMNS, CAPTION_COLUMNS)):
        yield from lists[0]
        return
    for file, said in document.items():
        texts = json_captions(said)
        if not texts and said not in (None, "", []):
            raise ValueError(f"{file!r} has no caption in it, but {str(said)[:80]!r}")
        yield {"file": file, "caption": list(texts)}


def _row(row: Any, number: int) -> CaptionRow:
    if not isinstance(row, dict):
        raise ValueError(f"row {number} is {str(row)[:80]!r}")
    row = {str(key).strip().lower(): value for key, value in row.items()}
    files = _columns(row, FILE_COLUMNS, ("path", "file_name", "filename", "name"))
    if not files:
        raise ValueError(f"row {number} names no file, but has {', '.join(row)[:200] or 'nothing'}")
    if not {*CAPTION_COLUMNS} & {*row}:
        texts = json_captions(row)
        if not texts:
            raise ValueError(f"row {number} has no caption, but {', '.join(row)[:200]}")
        return CaptionRow(files[0], texts)
    return CaptionRow(files[0], _columns(row, CAPTION_COLUMNS))


def _columns(
    row: Mapping[str, Any], names: Sequence[str], within: Sequence[str] = CAPTION_COLUMNS
) -> tuple[str, ...]:
    """The texts under the first name that has some."""
    for name in names:
        found = _texts(row.get(name), name, within)
        if found:
            return found
    return ()


def _texts(value: Any, name: str, within: Sequence[str] = CAPTION_COLUMNS) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (value.strip(),) if value.strip() else ()
    if isinstance(value, list):
        return tuple(text for part in value for text in _texts(part, name, within))
    if isinstance(value, dict):
        return _columns({str(key).lower(): part for key, part in value.items()}, within, within)
    if isinstance(value, int) and not isinstance(value, bool) and name in FILE_COLUMNS:
        return (str(value),)
    raise ValueError(f"its {name} is {value!r}, no text")
