"""Which renderer draws, and its name for the clip's metadata.

Unless asked, it is a ray renderer: compiled by Numba where Numba can be imported and knows the shapes, in
NumPy otherwise. These draw the same picture on every machine but for rounding, and the same bits in every
process; pictures by OpenGL differ from driver to driver, so a graphics card is used only on request. The
environment variable ``WORLDGEN_RENDERER`` asks: ``numba``, ``numpy``, ``egl``, or ``auto`` for hardware
OpenGL where a child process finds it and rays elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from worldgen.files import write_atomically
from worldgen.simulation.engine import mujoco
from worldgen.simulation.rendering.film import Film
from worldgen.simulation.rendering.ray_numpy import render_multiray

VARIABLE = "WORLDGEN_RENDERER"
NAMES = ("numba", "numpy", "egl", "auto")

_SOFTWARE = ("llvmpipe", "softpipe", "swrast", "swiftshader")
_PROBE = """
from mujoco.egl import GLContext
context = GLContext(32, 32)
context.make_current()
from OpenGL import GL
print("RENDERER=" + GL.glGetString(GL.GL_RENDERER).decode())
"""


def renderer_name(model: mujoco.MjModel | None = None) -> str:
    """What `render` draws this model, or a scene of primitive shapes, with: "numba", "numpy" or "egl".

    Raises:
        ValueError: The environment asks for a renderer that is unknown or not to be had.
    """
    asked = os.environ.get(VARIABLE, "")
    if asked and asked not in NAMES:
        raise ValueError(f"{VARIABLE} must be one of {', '.join(NAMES)}; got {asked!r}.")
    if asked == "numba" and _compiled() is None:
        raise ValueError(
            f"{VARIABLE} asks for numba, which cannot be imported here. Install numba, or ask for numpy."
        )
    if asked == "egl" and not _found_gl():
        raise ValueError(
            f"{VARIABLE} asks for egl, but OpenGL through EGL does not work here. Install worldgen[gl] and a "
            "driver, or leave it unset: rays need neither."
        )
    if asked == "auto" and hardware_gl():
        return "egl"
    if asked in ("numba", "numpy", "egl"):
        return asked
    rays = _compiled()
    return "numba" if rays is not None and (model is None or rays[0](model)) else "numpy"


def pick_renderer(model: mujoco.MjModel | None = None) -> Callable[..., Film]:
    """`render_numba`, `render_multiray` or `gl.render_gl`, as `renderer_name` says; the same errors."""
    name = renderer_name(model)
    if name == "egl":
        from worldgen.simulation.rendering.gl import (
            render_gl,
        )  # OpenGL is loaded where it was asked for, and only there

        return render_gl
    if name == "numpy":
        return render_multiray
    rays = _compiled()
    assert rays is not None
    return rays[1]


@cache
def _compiled() -> tuple[Callable[[mujoco.MjModel], bool], Callable[..., Film]] | None:
    """`can_draw` and `render_numba`, imported when something is drawn; None where Numba cannot be."""
    try:
        from worldgen.simulation.rendering.ray_numba import can_draw, render_numba
    except ImportError:  # it is not built for every platform
        return None
    return can_draw, render_numba


def hardware_gl(timeout: float = 60.0) -> str | None:
    """The graphics card that draws with OpenGL through EGL here, such as "NVIDIA H200"; None without one.

    A child process tries, since a broken driver can take the process with it; OpenGL in software counts as
    none, for the ray renderers are faster. The answer is kept in the user's cache folder until MuJoCo or the
    machine's devices change.

    Args:
        timeout: Seconds after which a driver that does not answer counts as none.
    """
    name = _found_gl(timeout)
    return name if name and not any(software in name.lower() for software in _SOFTWARE) else None


def probe_gl(timeout: float = 60.0) -> str | None:
    """What OpenGL through EGL calls itself here, software included; None where there is none."""
    environment = {**os.environ, "MUJOCO_GL": "off", "PYOPENGL_PLATFORM": "egl"}
    try:
        child = subprocess.run(
            [sys.executable, "-c", _PROBE], env=environment, capture_output=True, text=True, timeout=timeout
        )
    except (subprocess.TimeoutExpired, OSError):
        return None
    lines = [line for line in child.stdout.splitlines() if line.startswith("RENDERER=")]
    return lines[0].removeprefix("RENDERER=") if child.returncode == 0 and lines else None


def _found_gl(timeout: float = 60.0) -> str | None:
    """The answer of `probe_gl`, asked once per machine."""
    place = _cache_path()
    try:
        return json.loads(place.read_text())["renderer"]
    except (OSError, ValueError, KeyError, TypeError):
        name = probe_gl(timeout)
        _keep(place, name)
        return name


def _cache_path() -> Path:
    """One file per machine, its graphics devices and MuJoCo's version."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    devices = sorted(str(path) for path in [*Path("/dev").glob("nvidia*"), *Path("/dev/dri").glob("*")])
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    known = json.dumps([os.uname().nodename if hasattr(os, "uname") else "", devices, visible])
    key = hashlib.sha256(f"{known} {version('mujoco-core')} {sys.executable}".encode()).hexdigest()[:16]
    return root / "worldgen" / f"gl-{key}.json"


def _keep(place: Path, name: str | None) -> None:
    with suppress(OSError):  # a home that cannot be written costs a second probe and nothing else
        write_atomically(place, json.dumps({"renderer": name}).encode())
