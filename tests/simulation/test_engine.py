import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_opengl_is_asked_for():
    environment = {key: value for key, value in os.environ.items() if key != "MUJOCO_GL"}
    code = "import worldgen.simulation.engine, os; print(os.environ['MUJOCO_GL'])"
    assert _run(code, {**environment, "PYTHONPATH": str(ROOT)}) == "off"


def _run(code: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    return done.stdout.strip()
