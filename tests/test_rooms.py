"""The import table of the house plan: who may import whom."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "worldgen"
BELOW = {
    "types": set(),
    "files": {"types"},
    "simulation": {"types", "files"},
    "physics": {"types", "files"},
    "encoders": {"types", "files"},
    "diffusion": {"types", "files"},
    "conditioning": {"types", "files", "encoders"},
    "model": {"types", "files", "encoders", "conditioning", "diffusion", "physics"},
    "data": {"types", "files", "simulation"},
    "audio": {"types", "files", "data"},
    "metrics": {"types", "files", "physics", "simulation", "encoders", "data"},
    "report": {"types", "files", "metrics", "data"},
}
BELOW["tasks"] = {*BELOW} - {"report"}
BELOW["runs"] = {*BELOW}
BELOW["evaluation"] = {*BELOW}
BELOW["study"] = {*BELOW}
BELOW["cli"] = {*BELOW}
FORBIDDEN = {"metrics": ("worldgen.physics.dynamics",)}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found += [f"{module}.{alias.name}" for alias in node.names] if module == "worldgen" else [module]
    return found


def violations(path: Path, room: str, source: str) -> list[str]:
    wrong = []
    for name in imports_of(ast.parse(source)):
        if name.startswith("."):
            wrong.append(f"{path} imports {name!r}: imports of ours are absolute.")
        parts = name.split(".")
        if parts[0] != "worldgen" or len(parts) == 1 or parts[1] == "__version__":
            continue
        if parts[1] != room and parts[1] not in BELOW.get(room, set()):
            wrong.append(f"{path}: the room {room!r} may not import {name!r}.")
        if any(name.startswith(banned) for banned in FORBIDDEN.get(room, ())):
            wrong.append(f"{path}: the room {room!r} may not import {name!r}.")
    return wrong


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_every_file_imports_only_what_its_room_may(path):
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    assert room in BELOW, f"{path} is in no room of the plan."
    assert not violations(path, room, path.read_text()), "\n".join(violations(path, room, path.read_text()))


@pytest.mark.parametrize(
    "room, source",
    [
        ("physics", "from worldgen.simulation.scenes.families import drop"),
        ("metrics", "from worldgen.physics.dynamics import GraphDynamics"),
        ("diffusion", "from worldgen.data.cache.cache import precompute"),
        ("data", "from .shards import ShardIndex"),
        ("tasks", "import worldgen.cli.main"),
        ("simulation", "from worldgen import physics"),
    ],
)
def test_a_forbidden_import_is_noticed(room, source):
    assert violations(Path(f"{room}/x.py"), room, source)


def test_no_room_is_called_utils():
    names = {path.stem for path in PACKAGE.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "helper", "misc", "common"}
