"""Work that goes wrong in a child process, for the tests of the guard."""

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path

Beat = Callable[[], None]


def misbehave(task: tuple[str, Path], beat: Beat) -> None:
    """Do what the first word says."""
    what, path = task
    path.write_text(str(os.getpid()))
    if what == "crash":
        ctypes.string_at(0)
    elif what == "leave":
        os._exit(3)
    elif what == "hang":
        time.sleep(600)
    elif what == "spin":
        while True:
            pass
    elif what == "linger":
        for _ in range(10):  # longer than silence may last, but never silent
            time.sleep(0.25)
            beat()
    elif what == "eat":
        try:
            bytearray(4 << 30)
        except MemoryError:
            path.write_text("refused")
    elif what == "fail":
        raise OSError("the disk is full")
