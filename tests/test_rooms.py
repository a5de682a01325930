"""The import table of the house plan, who may import whom; no circles, no name twice, no file untested."""

import ast
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "worldgen"
PLAN = (PACKAGE.parent / "ARCHITECTURE.md").read_text()
FORBIDDEN = {
    "metrics": ("worldgen.physics.dynamics", "worldgen.physics.regularizer", "worldgen.physics.readout"),
    "metrics/tracking": ("worldgen.metrics.checks", "worldgen.metrics.calibration"),
    "metrics/motions": ("worldgen.metrics.tracking", "worldgen.metrics.tracks", "worldgen.metrics.checks"),
    "metrics/checks": ("worldgen.metrics.calibration",),
    "model.py": ("lightning",),
}
"""Modules that a folder may not import, though its room may."""
TESTS = PACKAGE.parent / "tests"
OF_THE_WHOLE = {"test_readme.py", "test_configs.py", "test_rooms.py", "test_names.py", "test_docs.py"}
"""Tests of no single file, as those of ``tests/chains`` are."""


def table(plan: str) -> dict[str, set[str]]:
    """Who may import whom, as ARCHITECTURE.md has it: ``what `x` may`` stands for all that x may."""
    may: dict[str, set[str]] = {}
    section = plan.partition("## Who may import whom")[2]
    for left, right in re.findall(r"^\| (`.*?) \| (.*?) \|$", section, flags=re.MULTILINE):
        names = set(re.findall(r"`(\w+)`", re.sub(r"what `\w+` may", "", right)))
        names = names.union(*(may[other] for other in re.findall(r"what `(\w+)` may", right)))
        may |= {room: names for room in re.findall(r"`(\w+)`", left)}
    return may


BELOW = table(PLAN)


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
        for folder, banned in FORBIDDEN.items():
            if str(path).removeprefix(f"{PACKAGE}/").startswith(folder) and name.startswith(banned):
                wrong.append(f"{path}: {folder} may not import {name!r}.")
        parts = name.split(".")
        if parts[0] != "worldgen" or len(parts) == 1 or parts[1] == "__version__":
            continue
        if parts[1] != room and parts[1] not in BELOW.get(room, set()):
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
        ("metrics/tracking", "from worldgen.metrics.checks.assess import assess"),
        ("metrics/checks", "from worldgen.metrics.calibration.panel import World"),
        ("types", "from worldgen.files import code_mark"),
        ("runs", "from worldgen.evaluation.kept import ResumeCache"),
        ("diffusion", "from worldgen.data.cache.cache import precompute"),
        ("data", "from .shards import ShardIndex"),
        ("tasks", "import worldgen.cli.main"),
        ("simulation", "from worldgen import physics"),
    ],
)
def test_a_forbidden_import_is_noticed(room, source):
    assert violations(Path(f"{room}/x.py"), room.partition("/")[0], source)


def test_no_room_is_called_utils():
    names = {path.stem for path in PACKAGE.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "helper", "misc", "common"}


def circles(sources: dict[str, str]) -> list[str]:
    """A sentence for each circle of files that import each other, wherever in a file the import stands.

    Args:
        sources: The text of each module.
    """
    imports = {}
    for module, source in sources.items():
        names = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        imports[module] = sorted(names & sources.keys() - {module})
    found: dict[frozenset[str], list[str]] = {}

    def walk(path: list[str], done: set[str]) -> None:
        for module in imports[path[-1]]:
            if module in path:
                circle = path[path.index(module) :]
                found.setdefault(frozenset(circle), [*circle, module])
            elif module not in done:
                walk([*path, module], done)
        done.add(path[-1])

    done: set[str] = set()
    for module in sources:
        if module not in done:
            walk([module], done)
    return [f"These files import in a circle: {' -> '.join(circle)}." for circle in found.values()]


def twins(sources: dict[str, str]) -> list[str]:
    """A sentence for each public class name that stands in two files."""
    found: dict[str, list[str]] = {}
    for module, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(module)
    return [
        f"The class name {name} stands in {' and '.join(modules)}; call one of them otherwise."
        for name, modules in found.items()
        if len(modules) > 1
    ]


def unmirrored(modules: set[str], tests: set[str]) -> list[str]:
    """A sentence for each file without its test, and for each test without its file.

    Args:
        modules: Files of the package, as in ``data/media.py``.
        tests: Files of the tests, as in ``data/test_media.py``.
    """
    wanted = {
        str(path.with_name(f"test_{path.name}")): module
        for module in modules
        if not (path := Path(module)).name.startswith("__")
    }
    mirrors = {
        test
        for test in tests
        if Path(test).name.startswith("test_") and not test.startswith("chains/") and test not in OF_THE_WHOLE
    }
    return [
        *(
            f"worldgen/{wanted[test]} has no tests of its own; write tests/{test}."
            for test in sorted(wanted.keys() - mirrors)
        ),
        *(
            f"tests/{test} mirrors no file of worldgen/; move its tests to where what they test is."
            for test in sorted(mirrors - wanted.keys())
        ),
    ]


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path.read_text()
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.stem != "__init__"
    }


def test_no_files_import_in_a_circle(sources):
    assert not circles(sources), "\n".join(circles(sources))


def test_no_public_class_name_stands_twice(sources):
    assert not twins(sources), "\n".join(twins(sources))


def test_each_file_has_its_tests_and_each_test_its_file():
    modules, tests = (
        {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")} for folder in (PACKAGE, TESTS)
    )
    assert not unmirrored(modules, tests), "\n".join(unmirrored(modules, tests))


def test_a_file_without_tests_and_a_test_without_a_file_are_noticed():
    modules = {"__init__.py", "model.py", "data/__init__.py", "data/media.py"}
    tests = {"conftest.py", "test_model.py", "chains/test_all.py", "test_rooms.py", "data/films.py"}
    assert unmirrored(modules, tests | {"data/test_media.py"}) == []
    assert unmirrored(modules, tests | {"test_media.py"}) == [
        "worldgen/data/media.py has no tests of its own; write tests/data/test_media.py.",
        "tests/test_media.py mirrors no file of worldgen/; move its tests to where what they test is.",
    ]


@pytest.mark.parametrize(
    "last",
    [
        "from worldgen.a import x",
        "import worldgen.a",
        "from worldgen import a",
        "def late():\n    from worldgen.a import x",
        "if TYPE_CHECKING:\n    from worldgen.a import x",
    ],
)
def test_a_circle_is_noticed_wherever_its_imports_stand(last):
    made_up = {
        "worldgen.a": "import worldgen.b",
        "worldgen.b": "from worldgen.c import y",
        "worldgen.c": last,
    }
    (sentence,) = circles({"worldgen.outside": "import worldgen.a", **made_up})
    assert sentence == (
        "These files import in a circle: worldgen.a -> worldgen.b -> worldgen.c -> worldgen.a."
    )
    assert not circles({**made_up, "worldgen.c": "import torch"})


def test_a_class_name_that_stands_twice_is_noticed():
    made_up = {"worldgen.a": "class Thing: ...", "worldgen.b": "if True:\n    class Thing: ..."}
    assert twins(made_up) == [
        "The class name Thing stands in worldgen.a and worldgen.b; call one of them otherwise."
    ]
    assert not twins({"worldgen.a": "class _Thing: ...", "worldgen.b": "class _Thing: ..."})


def test_what_samples_and_evaluates_needs_no_lightning():
    rooms = "worldgen.model, worldgen.generation.generate, worldgen.evaluation.generator"
    rooms += ", worldgen.study.likelihood"
    code = f"import sys, {rooms}; sys.exit('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent).returncode == 0


def test_a_room_past_its_budget_of_lines_is_asked_about():
    budgets = re.findall(r"([a-z]+(?: and [a-z]+)?) (\d+)[,.]", PLAN.partition("Budgets of lines")[2])
    assert len(budgets) >= 10
    for rooms, most in budgets:
        folders = [PACKAGE / room for room in rooms.split(" and ")]
        lines = sum(len(path.read_text().splitlines()) for folder in folders for path in folder.rglob("*.py"))
        if lines > int(most):
            warnings.warn(
                f"{rooms} has {lines} lines, past its budget of {most}: does it hold too much?", stacklevel=1
            )
