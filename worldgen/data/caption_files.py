"""What is said about the videos of a folder: in files beside them, and in tables."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

CAPTION_FILES = ("captions.csv", "captions.jsonl", "metadata.csv", "metadata.jsonl")
FILE_COLUMNS = ("file", "file_name", "video", "path")
CAPTION_COLUMNS = ("caption", "text", "prompt")


class FolderCaptions:
    """The captions of a folder's videos and pictures.

    A file's caption is that of ``table``, where one is named; else the text of NAME.txt or the caption of
    NAME.json beside it; else that of the first of captions.csv, captions.jsonl, metadata.csv and
    metadata.jsonl which has a row for it; else "".

    Args:
        folder: Holds the files and tables.
        table: A csv or jsonl table, whose word is the last.

    Raises:
        FileNotFoundError: No such table.
        ValueError: A table that cannot be read.
    """

    def __init__(self, folder: Path, table: Path | None = None) -> None:
        self.table = table
        self.rows: dict[str, str] = {}
        for path in [table] if table is not None else [folder / name for name in CAPTION_FILES]:
            if table is not None or path.is_file():
                self.rows = read_caption_table(path) | self.rows

    def find(self, name: str, beside: str) -> str:
        """A file's caption.

        Args:
            name: Its path within the folder; a member of a tar comes after ``!``.
            beside: What its neighbors say: `caption_beside`.
        """
        row = self.row(name)
        return row if row is not None and (self.table is not None or not beside) else beside

    def row(self, name: str) -> str | None:
        """The caption in the tables, None where no row names the file."""
        file = name.replace("!", "/")
        return next((self.rows[key] for key in (name, file, Path(file).name) if key in self.rows), None)


def caption_beside(path: Path) -> str:
    """The text of NAME.txt, or the caption of NAME.json, beside a file; "" where there is neither."""
    for suffix in (".txt", ".json"):
        beside = path.with_suffix(suffix)
        if beside.is_file():
            return caption_in(beside.read_bytes(), suffix)
    return ""


def caption_in(data: bytes, suffix: str) -> str:
    """The caption in the bytes of a ``.txt`` or ``.json``; "" where the latter says other things."""
    text = data.decode("utf-8-sig", errors="replace").strip()
    if suffix == ".txt":
        return text
    try:
        return _column(json.loads(text), CAPTION_COLUMNS)
    except (ValueError, KeyError, TypeError):
        return ""


def read_caption_table(path: Path) -> dict[str, str]:
    """Captions by file of a csv or jsonl table.

    Raises:
        FileNotFoundError: No such table.
        ValueError: A row without file and caption, or text that is neither csv nor json lines.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No captions at {path}. Check the path.")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows: list[Any] = (
                list(csv.DictReader(file))
                if path.suffix.lower() == ".csv"
                else [json.loads(row) for row in file if row.strip()]
            )
        return {_column(row, FILE_COLUMNS): _column(row, CAPTION_COLUMNS) for row in rows}
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise ValueError(
            f"Every row of {path} must have a file and a caption; got {type(error).__name__}: {error}."
        ) from error


def _column(row: Any, names: tuple[str, ...]) -> str:
    for name in names:
        if name in row and isinstance(row[name], str):
            return row[name].strip()
    raise KeyError(names[0])
