"""MuJoCo, imported without a graphics context: the one place that decides it.

``MUJOCO_GL=egl`` or ``osmesa`` on a machine without those libraries breaks ``import mujoco`` itself, and
what draws with OpenGL (`gl`) makes its own context when asked, so it is off unless the environment wants it.
"""

import os

os.environ.setdefault("MUJOCO_GL", "off")

import mujoco  # noqa: E402

__all__ = ["mujoco"]
