"""Several processes of one training on this machine, forked off one that has imported all."""

import multiprocessing
import os
import socket
import sys
import traceback
from pathlib import Path

_PRELOADED = ["worldgen.runs.train", "worldgen.tasks.generator", "worldgen.cli.main"]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def start(count, work, *arguments, folder, more=None):
    """Processes that each call ``work``; what they say goes to ``said.RANK`` in the folder."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
        **(more or {}),
    }
    processes = []
    for rank in range(count):
        own = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": count,
            "SLURM_PROCID": rank,
            "SLURM_LOCALID": rank,
        }
        own = {name: str(value) for name, value in own.items() if more or not name.startswith("SLURM")}
        if count == 1 and not more:
            own = {}
        said = str(Path(folder) / f"said.{rank}")
        one = context.Process(target=_call, args=({**shared, **own}, said, work, arguments))
        one.start()
        processes.append(one)
    return processes


def wait(processes, folder, seconds=240):
    """Their exit codes, and what each said."""
    for one in processes:
        one.join(seconds)
    stuck = [one for one in processes if one.exitcode is None]
    for one in stuck:
        one.kill()
        one.join()
    said = [(Path(folder) / f"said.{rank}").read_text() for rank in range(len(processes))]
    assert not stuck, f"{len(stuck)} of {len(processes)} hang. They said: {said}"
    return [one.exitcode for one in processes], said


def run(count, work, *arguments, folder, more=None):
    return wait(start(count, work, *arguments, folder=folder, more=more), folder)


def command(words):
    """What a process does: a command of ours."""
    from worldgen.cli.main import main

    main(words)


def _call(environment, said, work, arguments):
    os.environ.update(environment)
    file = open(said, "w", buffering=1)  # noqa: SIM115
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    sys.stdout = sys.stderr = file
    code = 0
    try:
        work(*arguments)
    except SystemExit as left:
        code = left.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    file.flush()
    os._exit(code)
