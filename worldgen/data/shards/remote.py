"""Shards in object storage, or wherever else fsspec reads: by address, such as ``s3://bucket/train``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

_SECONDS, _TRIES, _PAUSE = 30.0, 3, 0.5
"""How long an answer is waited for, how often it is asked for, and the seconds between, which double."""
_Answer = TypeVar("_Answer")


def is_remote(folder: object) -> bool:
    """Whether a folder is an address, and no path."""
    return "://" in str(folder)


class RemoteFolder:
    """A folder that fsspec opens.

    Args:
        address: With its protocol: ``s3://``, ``gs://``, ``https://``, ``memory://``, ...

    Raises:
        ValueError: A protocol that fsspec does not know, or whose package is not installed.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._files: Any = None
        self._root, self._process = "", -1
        self._open()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": None, "_process": -1}

    def names(self) -> list[str]:
        """Every file below, by its path from here.

        Raises:
            OSError: Nothing is there, or it does not answer.
        """
        found = self._ask(lambda: self._open().find(self._root), "list it")
        return sorted(str(one).removeprefix(self._root).strip("/") for one in found)

    def size(self, name: str) -> int:
        """Bytes of a file. Errors as `names`."""
        return int(self._ask(lambda: self._open().size(f"{self._root}/{name}"), name) or 0)

    def read(self, name: str, begin: int | None = None, end: int | None = None) -> bytes:
        """Bytes of a file. Errors as `names`."""
        return self._ask(lambda: self._open().cat_file(f"{self._root}/{name}", begin, end), name)

    def _open(self) -> Any:
        """The file system, a new one in each process: those that ask side by side do not outlive a fork."""
        if self._process == os.getpid():
            return self._files
        import fsspec

        options: dict[str, Any] = {}
        if self.address.startswith("http"):
            from aiohttp import ClientTimeout

            options["client_kwargs"] = {"timeout": ClientTimeout(total=_SECONDS)}
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.address, **options)
        except (ValueError, ImportError) as error:
            raise ValueError(f"{self.address} must be an address that fsspec opens: {error}") from error
        self._process = os.getpid()
        return self._files

    def _ask(self, question: Callable[[], _Answer], what: str) -> _Answer:
        pause = _PAUSE
        for attempt in range(_TRIES):
            try:
                return question()
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    f"{self.address} must hold its shards while they are read; {what} is gone. Bring it "
                    "back, and go on from the last checkpoint."
                ) from error
            except Exception as error:  # of fsspec's many file systems
                if attempt == _TRIES - 1:
                    reason = " ".join(str(error).split())[:200] or type(error).__name__
                    raise TimeoutError(
                        f"{self.address} must answer within {_SECONDS:.0f} s; asked {_TRIES} times for "
                        f"{what}, it did not ({reason}). Go on from the last checkpoint when it does."
                    ) from error
            time.sleep(pause)
            pause *= 2
        raise AssertionError
