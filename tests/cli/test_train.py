"""The trainings know the keys of the configs that ship."""

from pathlib import Path

import pytest

from worldgen.cli.train import PARTS, TRAININGS

ROOT = Path(__file__).resolve().parents[2]
FIT = TRAININGS["fit"]
BASE = ["-c", str(ROOT / "configs/base.yaml"), "-c", str(ROOT / "configs/size/nano.yaml")]
CONFIGS = [
    path
    for path in sorted((ROOT / "configs").rglob("*.yaml"))
    if path.parent.name not in ("tasks", "recipes", "voices")
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_are_understood(config):
    FIT.check([*BASE, "-c", str(config)])


@pytest.mark.parametrize("name", PARTS)
def test_configs_of_parts_are_understood(name):
    PARTS[name].check(["-c", str(ROOT / f"configs/tasks/{name}.yaml"), "--ckpt_path", "x"])
