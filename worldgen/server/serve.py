"""Start the server: a port of loopback, a folder of its own, a browser where one is wanted."""

from __future__ import annotations

import errno
import socket
import threading
import time
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

from worldgen.server.folder import ServerFolder
from worldgen.server.jobs import JobQueue, ServerLimits
from worldgen.server.uploads import remove_partials

ADDRESS = "127.0.0.1"
SHIPPED = Path(__file__).parents[2] / "assets" / "nano" / "generator"
"""Found without torch, which `worldgen.runs` imports: the page is there before the model."""


def serve(
    runs: Sequence[Path],
    out: Path,
    port: int,
    browser: bool,
    token: str | None,
    limits: ServerLimits | None = None,
    studies: Sequence[Path] = (),
) -> None:
    """Serve until interrupted.

    Args:
        runs: Folders of trained generators, which clients know by name only; the shipped
            one where there is none.
        out: Folder of jobs and uploads.
        port: Of loopback; any that is free when 0.
        browser: Open the page once it answers.
        token: What each request must bring, where there is one.
        limits: What the server takes on; the usual when None.
        studies: Folders of `worldgen ablate`, to be looked at.

    Raises:
        FileNotFoundError: No such run.
        ValueError: A port in use, another server in the folder, an extra that is not installed.
    """
    try:
        import uvicorn

        from worldgen.server.app import make_app
    except ImportError:
        raise ValueError("worldgen serve needs its extra: pip install 'worldgen[page]'") from None
    if token is not None and not (token and token.isascii() and token.isalnum()):
        raise ValueError("--token must be letters and digits, so that it fits in an address.")
    named, looked_at = name_runs(runs or [SHIPPED]), name_studies(studies)
    folder = ServerFolder(out)
    with folder.locked(), open_port(port) as door:
        remove_partials(folder)
        port = door.getsockname()[1]
        app = make_app(JobQueue(folder, named, limits or ServerLimits(), looked_at), port, token)
        address = f"http://{ADDRESS}:{port}/" + (f"?{urlencode({'token': token})}" if token else "")
        config = uvicorn.Config(
            app, log_level="error", access_log=False, server_header=False, timeout_graceful_shutdown=2
        )
        server = uvicorn.Server(config)
        print(f"{address}  (runs: {', '.join(named)}; results in {out}; Ctrl-C ends it)", flush=True)
        if browser:
            threading.Thread(target=_open_when_there, args=(server, address), daemon=True).start()
        server.run(sockets=[door])


def serve_stdio(runs: Sequence[Path], out: Path, studies: Sequence[Path] = ()) -> None:
    """Tools for a program, by standard input and output and no port; arguments and errors as of `serve`."""
    from worldgen.server.tools import serve_tools

    folder, named = ServerFolder(out), name_runs(runs or [SHIPPED])
    with folder.locked():
        remove_partials(folder)
        serve_tools(JobQueue(folder, named, ServerLimits(), name_studies(studies)))


def name_runs(runs: Sequence[Path]) -> dict[str, Path]:
    """Folders by the last part of their path; where two have the same, by more of it.

    Raises:
        FileNotFoundError: No run there.
    """
    for run in runs:
        if not (run / "config.yaml").is_file():
            raise FileNotFoundError(
                f"{run} must be a run folder, with a config.yaml; it is none. Check the path."
            )
    return _name_folders(runs)


def name_studies(studies: Sequence[Path]) -> dict[str, Path]:
    """As `name_runs`; FileNotFoundError where there is no folder."""
    for study in studies:
        if not study.is_dir():
            raise FileNotFoundError(f"{study} must be the folder of a study; it is none. Check the path.")
    return _name_folders(studies)


def _name_folders(folders: Sequence[Path]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for folder in folders:
        parts = folder.resolve().parts
        names = ["/".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        name = next((name for name in names if name not in named), None)
        if name is not None and folder.resolve() not in [other.resolve() for other in named.values()]:
            named[name] = folder
    return named


def open_port(port: int) -> socket.socket:
    """A listening port of loopback.

    Raises:
        ValueError: Somebody has it.
    """
    door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((ADDRESS, port))
        door.listen(128)
    except OSError as error:
        door.close()
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be opened ({error.strerror})"
        raise ValueError(f"Port {port} {why}. Name another with --port, or 0 for any.") from None
    return door


def _open_when_there(server: object, address: str) -> None:
    for _ in range(100):
        if getattr(server, "started", False):
            webbrowser.open(address)
            return
        time.sleep(0.1)
