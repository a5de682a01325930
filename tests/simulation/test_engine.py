import os
import subprocess
import sys
from pathlib import Path

import pytest

from worldgen.simulation.engine import freed_model_of, model_of, spec_of

ROOT = Path(__file__).parents[2]


def test_no_opengl_is_asked_for():
    environment = {key: value for key, value in os.environ.items() if key != "MUJOCO_GL"}
    code = "import worldgen.simulation.engine, os; print(os.environ['MUJOCO_GL'])"
    assert _run(code, {**environment, "PYTHONPATH": str(ROOT)}) == "off"


SCENE = """
<mujoco><asset>{asset}</asset><worldbody><geom type="sphere" size="1"/>{body}</worldbody>{end}</mujoco>
"""


@pytest.mark.parametrize(
    "parts",
    [
        {"body": '<include file="secret.xml"/>'},
        {"body": "<include\n file='secret.xml'/>"},
        {"asset": '<mesh name="m" file="/etc/passwd"/>'},
        {"asset": '<texture name="t" type="cube" fileright = "a.png"/>'},
        {"asset": '<hfield name="h" file="a.png" size="1 1 1 1"/>'},
        {"asset": '<model name="other" file="other.xml"/>'},
        {"end": '<extension><plugin plugin="mujoco.elasticity.cable"/></extension>'},
        {"end": '< extension>< plugin plugin="mujoco.elasticity.cable"/></extension>'},  # MuJoCo reads that
        {"end": '<sensor><plugin plugin="mujoco.sensor.touch_grid"/></sensor>'},
    ],
)
@pytest.mark.parametrize("open_scene", [model_of, freed_model_of, spec_of])
def test_a_scene_opens_no_file_and_no_plugin(parts, open_scene, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.xml").write_text('<mujoco><geom type="sphere" size="1"/></mujoco>')
    text = SCENE.format(**{"asset": "", "body": "", "end": "", **parts})
    with pytest.raises(ValueError, match="A scene must hold everything itself, without files and plugins"):
        open_scene(text)
    assert open_scene(SCENE.format(asset="", body="", end=""))


def _run(code: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    return done.stdout.strip()
