"""Work that may crash, hang or eat the memory, done in child processes that take nobody along."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Generic, TypeVar

Task = TypeVar("Task")
Beat = Callable[[], None]

_IDLE = 4
"""How many times as long a child may be silent that gets no processor, or waits."""
STARTUP_SECONDS = 300
"""A child imports torch first, and the machine may be busy."""
BEAT_SECONDS = 0.2
PR_SET_PDEATHSIG = 1


def run_guarded(
    work: Callable[[Task, Beat], None],
    tasks: Iterable[Task],
    processes: int,
    seconds: float,
    megabytes: int,
) -> Iterator[tuple[Task, str | None]]:
    """Do every task in a child process; tell of each, in order of completion, how it ended.

    The result of a task is what it writes to disk. A child that dies or falls silent is replaced, and only
    the task it was at is lost. The caller's script needs the usual ``if __name__ == "__main__":``.

    Args:
        work: A function of a module; calls its second argument as it goes along, to show that it is alive.
        tasks: Anything that can be pickled.
        processes: Children at work at the same time.
        seconds: Work in silence after which a child is killed, in seconds of its own on a processor: a busy
            machine makes nobody slow. One that does not work at all is killed after four times as long.
        megabytes: Memory that the work may take (Linux; elsewhere it is not limited).

    Yields:
        A task and None when it was done, else what became of its child, as ``kind: detail``.

    Raises:
        Exception: Whatever ``work`` raises.
        ChildProcessError: Children cannot be started.
    """
    methods = multiprocessing.get_all_start_methods()
    get = multiprocessing.get_context
    context = get("forkserver") if "forkserver" in methods else get("spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload([work.__module__])  # a replacement is there at once
    waiting, workers = iter(tasks), []
    try:
        while True:
            for worker in workers:
                if worker.task is None:
                    worker.give(next(waiting, None))
            while len(workers) < processes and (task := next(waiting, None)) is not None:
                workers.append(_Worker(context, work, seconds, megabytes))
                workers[-1].give(task)
            busy = [worker for worker in workers if worker.task is not None]
            if not busy:
                return
            patience = min(worker.deadline for worker in busy) - time.monotonic()
            ready = wait([worker.connection for worker in busy], max(patience, 0))
            for worker in busy:
                if worker.connection in ready:
                    ended, reason = worker.listen()
                elif worker.is_overdue():
                    ended, reason = True, f"too slow: nothing decoded for {seconds:g} s"
                else:
                    continue
                if ended:
                    task, worker.task = worker.task, None
                    if reason is not None:
                        worker.stop()
                        workers.remove(worker)
                    assert task is not None
                    yield task, reason
    finally:
        for worker in workers:
            worker.stop()


class _Worker(Generic[Task]):
    def __init__(
        self,
        context: ForkServerContext | SpawnContext,
        work: Callable[[Task, Beat], None],
        seconds: float,
        megabytes: int,
    ) -> None:
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, work, megabytes), daemon=True)
        self.process.start()
        theirs.close()
        self.seconds, self.deadline = seconds, time.monotonic() + STARTUP_SECONDS
        self.heard, self.worked = time.monotonic(), 0.0
        self.task: Task | None = None
        self.began = False

    def give(self, task: Task | None) -> None:
        self.task = task
        if task is not None:
            if self.began:
                self._hear()
            with suppress(OSError):  # it has died; listening tells how
                self.connection.send(task)

    def listen(self) -> tuple[bool, str | None]:
        """Whether the task has ended, and why when it was not done."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            if not self.began:
                raise ChildProcessError(
                    f"A reading process died before it began (exit code {code}); call this from a script "
                    'under `if __name__ == "__main__":`, and see that there is memory left.'
                ) from None
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return True, f"decoder crashed: {name}"
        self.began = True
        self._hear()
        if isinstance(message, BaseException):
            raise message
        return message == "done", None

    def _hear(self) -> None:
        self.heard, self.worked = time.monotonic(), _processor_seconds(self.process.pid)
        self.deadline = self.heard + self.seconds

    def is_overdue(self) -> bool:
        """Whether it is to be killed; where not, its deadline is put off by the work that it may still do."""
        now = time.monotonic()
        if now <= self.deadline or not self.began:
            return now > self.deadline
        left = self.seconds - (_processor_seconds(self.process.pid) - self.worked)
        if left <= 0 or now > self.heard + _IDLE * self.seconds:
            return True
        self.deadline = min(now + left, self.heard + _IDLE * self.seconds)
        return False

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def _serve(connection: Connection, work: Callable[[Task, Beat], None], megabytes: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    die_with_parent()
    limit_memory(megabytes)
    last = 0.0

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last > BEAT_SECONDS:
            connection.send("alive")
            last = time.monotonic()

    try:
        connection.send("alive")
        while True:
            task = connection.recv()
            try:
                work(task, beat)
            except Exception as error:
                connection.send(error)
            else:
                connection.send("done")
    except (EOFError, OSError):
        return  # the parent has gone


def _processor_seconds(process: int | None) -> float:
    """What a process has worked; time itself where the system does not tell (it does on Linux)."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return time.monotonic()


def die_with_parent() -> None:
    """End this process with the command that started it, so that a killed one leaves nobody at work.

    The system's own signal comes from the process that forked it: of a fork server, which a killed command
    leaves behind, that is another one.
    """
    with suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    command = multiprocessing.parent_process()
    assert command is not None

    def watch() -> None:
        wait([command.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def give_memory_back() -> None:
    """Hand to the system what was freed: glibc keeps it, in holes between blocks that live (Linux only)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def limit_memory(megabytes: int) -> None:
    """Let this process take so much more memory than it has, and then raise MemoryError (Linux only)."""
    try:
        import resource

        with open("/proc/self/status", encoding="ascii") as file:
            taken = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData:"))
        limit = taken + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    except (ImportError, OSError, ValueError, StopIteration):
        return  # not Linux
