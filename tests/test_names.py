"""No public name is unused: each is reached from a command, a config, an experiment or `import worldgen`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = ("pyproject.toml", "configs", "assets/nano", "benchmarks", "experiments", "scripts")
CLASS_PATH = r"worldgen(?:[.:]\w+)+"
ALLOWED = {
    "worldgen.data.media.read_video": "reads back what write_video wrote",
    "worldgen.data.sources.SimulatedClips": "benchmarks/walks.py walks through it, out of a text",
}
"""Full names that nothing reaches, each with the reason why it stays."""


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def defined(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    """The names that a file defines at its top, each with its statement; "" for all other statements."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from ((part.id, node) for part in ast.walk(target) if isinstance(part, ast.Name))
        else:
            yield "", node


def bound(tree: ast.Module, module: str) -> dict[str, str]:
    """What the names of a file stand for, by their full names: imports and definitions."""
    found = {name: f"{module}.{name}" for name, _ in defined(tree) if name}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
    return found


def used(node: ast.AST, names: dict[str, str]) -> set[str]:
    """Full names that code mentions: by a name, as a member of a module, or as a class path in a string."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load) and part.id in names:
            found.add(names[part.id])
        elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id in names:
            found.add(f"{names[part.value.id]}.{part.attr}")
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            found |= {part.value} if re.fullmatch(CLASS_PATH, part.value) else set()
    return found


def unreached(sources: dict[str, str], outside: set[str]) -> list[str]:
    """The full names of public definitions that nothing in ``outside`` leads to.

    What a definition mentions is reached with it; what a file does at its top besides defining is reached.

    Args:
        sources: The text of each module.
        outside: Full names that are mentioned outside of the package.
    """
    trees = {module: ast.parse(source) for module, source in sources.items()}
    names = {module: bound(tree, module) for module, tree in trees.items()}
    leads: dict[str, set[str]] = {}
    waiting = list(outside)
    for module, tree in trees.items():
        for name, node in defined(tree):
            if name != "__all__":
                leads.setdefault(f"{module}.{name}", set()).update(used(node, names[module]))
        waiting += leads.pop(f"{module}.", set())
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        module, _, last = name.rpartition(".")
        if name not in leads:  # handed on by a file that imports it
            name = names.get(module, {}).get(last, name)
        if name in leads and name not in reached:
            reached.add(name)
            waiting += leads[name]
    return sorted(
        name for name in leads if name not in reached and not name.rpartition(".")[2].startswith("_")
    )


def mentioned_outside() -> set[str]:
    handed_out = ast.parse((ROOT / "worldgen/__init__.py").read_text())  # by `import worldgen`
    found = used(handed_out, bound(handed_out, "worldgen"))
    for top in OUTSIDE:
        for path in [ROOT / top, *(ROOT / top).rglob("*")]:
            if path.suffix == ".py":
                tree = ast.parse(path.read_text())
                found |= used(tree, bound(tree, ""))
            elif path.suffix in (".yaml", ".sh", ".toml") or path.is_file() and path.parent.name == "scripts":
                found |= {name.replace(":", ".") for name in re.findall(CLASS_PATH, path.read_text())}
    return found


def package() -> dict[str, str]:
    return {module_of(path): path.read_text() for path in sorted((ROOT / "worldgen").rglob("*.py"))}


def test_no_public_name_is_unused():
    names = unreached(package(), mentioned_outside())
    wrong = [name for name in names if name not in ALLOWED]
    assert not wrong, "\n".join(
        ["No command, config, benchmark or experiment reaches these. Connect them, or delete them:", *wrong]
    )
    stale = [name for name in ALLOWED if name not in names]
    assert not stale, f"These are reached, or gone; take them out of ALLOWED: {', '.join(stale)}."


def test_what_only_itself_or_a_test_mentions_is_noticed():
    sources = {
        "worldgen.a": "from worldgen.b import used\n\ndef main(): return used()\ndef lost(): return lost()",
        "worldgen.b": "from worldgen import c\n\ndef used(): return _inner()\ndef _inner(): return c.LIMIT",
        "worldgen.c": "LIMIT = 3\nSPARE = LIMIT\nclass One: other: 'Two'\nclass Two(One): pass",
        "worldgen.d": "from worldgen.c import LIMIT as MOST\n__all__ = ['forgotten']\ndef forgotten(): pass",
    }
    lost = ["worldgen.a.lost", "worldgen.c.One", "worldgen.c.SPARE", "worldgen.c.Two", "worldgen.d.forgotten"]
    assert unreached(sources, {"worldgen.a.main"}) == lost
    assert "worldgen.c.One" not in unreached(sources, {"worldgen.a.main", "worldgen.c.Two"})
    assert "worldgen.c.LIMIT" not in unreached(sources, {"worldgen.d.MOST"})
    assert "worldgen.c.LIMIT" in unreached(sources, set())
