"""The site's pages: those of the repository under their own paths, the reference, the notebook.

Hooks of MkDocs. A page keeps its path of the repository, so that its links hold on the forge and on the
site; what it links to and is no page (a table, a yaml, a source) comes along as a file. Run as a script, it
executes the notebook and writes what its cells show.
"""

from __future__ import annotations

import ast
import html
import json
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("*.md", "docs/**/*.md", "experiments/**/*.md", "assets/**/*.md", "benchmarks/*.md")
NOTEBOOK, REFERENCE, COMMANDS = "docs/notebook.md", "docs/reference", "docs/commands"
ROOMS = {
    "worldgen": ("Python API", ("worldgen",)),
    "types": ("Types that flow", ("worldgen/types.py",)),
    "model": ("Model", ("worldgen/model.py", "worldgen/conditioning.py", "worldgen/latents.py")),
    "encoders": ("Encoders", ("worldgen/encoders",)),
    "diffusion": (
        "Codecs, processes, samplers",
        ("worldgen/diffusion/[!d]*.py", "worldgen/diffusion/ddpm.py"),
    ),
    "denoisers": ("Denoisers", ("worldgen/diffusion/dit.py", "worldgen/diffusion/denoisers")),
    "physics": ("Laws, readout, dynamics", ("worldgen/physics",)),
    "regularizers": ("Regularizers", ("worldgen/tasks/regularizers",)),
    "checks": ("Checks", ("worldgen/metrics/checks",)),
    "violations": (
        "Scenes and violations",
        ("worldgen/simulation/scenes/families.py", "worldgen/simulation/violations"),
    ),
    "voices": (
        "Voices",
        (
            "worldgen/audio/voice.py",
            "worldgen/audio/hibari.py",
            "worldgen/audio/vits.py",
            "worldgen/audio/foreign_voices.py",
        ),
    ),
}
"""Of each page of the reference: its title, and files or folders of the modules whose docstrings it shows."""
_LINK = re.compile(r"(!?\[[^\]]*\])\(([^)\s#]+)(#[^)\s]*)?\)")


def on_config(config):
    """Put the lists of commands and of reference pages where the nav names their folders."""
    listed = {
        COMMANDS: command_pages(),
        REFERENCE: [{ROOMS[name][0]: f"{REFERENCE}/{name}.md"} for name in ROOMS],
    }
    config.nav = [
        {title: listed.get(inside, inside) if isinstance(inside, str) else inside}
        for entry in config.nav
        for title, inside in entry.items()
    ]
    return config


def on_files(files, config):
    """All pages, what is made for the site, and the files that pages link to."""
    from mkdocs.structure.files import File, Files

    sources = sorted({path for pattern in PAGES for path in ROOT.glob(pattern)})
    named = {path.relative_to(ROOT).as_posix(): path for path in sources}
    for page in sources:
        for target in linked(page.read_text(encoding="utf-8"), page):
            named.setdefault(target.relative_to(ROOT).as_posix(), target)
    made = {f"{REFERENCE}/{name}.md": reference(name) for name in ROOMS}
    made[NOTEBOOK] = shown(json.loads((ROOT / "docs/notebook.ipynb").read_text(encoding="utf-8")))
    theme = [file for file in files if file.src_dir != config.docs_dir]
    return Files(
        [
            *theme,
            *(File.generated(config, name, abs_src_path=str(path)) for name, path in named.items()),
            *(File.generated(config, name, content=text) for name, text in made.items()),
        ]
    )


def on_page_markdown(markdown, page, config, files):
    """Links to folders go to their README; where there is none they are words."""
    where = (ROOT / page.file.src_uri).parent

    def link(match: re.Match[str]) -> str:
        words, target, anchor = match.group(1), match.group(2), match.group(3) or ""
        if not (where / target).is_dir():
            return match.group(0)
        readme = where / target / "README.md"
        return f"{words}({os.path.relpath(readme, where)}{anchor})" if readme.is_file() else words[1:-1]

    return _LINK.sub(link, markdown)


def on_post_page(output, page, config):
    """Refuse a page that loads anything from elsewhere."""
    from mkdocs.exceptions import PluginError

    loaded = re.search(
        r"""<(?:script|img|iframe|source)[^>]*\ssrc=["']?(?:https?:)?//|<link[^>]*(?:stylesheet|preconnect|icon)[^>]*href=["']?(?:https?:)?//""",
        output,
    )
    if loaded:
        raise PluginError(f"{page.file.src_uri} loads from elsewhere: {loaded.group(0)}")
    return output


def command_pages() -> list[dict[str, str]]:
    """In the order of the table of commands, which links to all of them."""
    table = (ROOT / COMMANDS / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[([^\]]+)\]\((\S+?)\)", table, flags=re.MULTILINE)
    return [{"All": f"{COMMANDS}/README.md"}, *({title: f"{COMMANDS}/{name}"} for title, name in rows)]


def linked(text: str, page: Path) -> list[Path]:
    """Files of the repository that a page links to."""
    targets = (page.parent / target for _, target, _ in _LINK.findall(text) if "://" not in target)
    return [Path(os.path.normpath(target)) for target in targets if target.is_file()]


def reference(name: str) -> str:
    """A page that mkdocstrings fills from the docstrings of modules."""
    title, places = ROOMS[name]
    lines = [f"# {title}", ""]
    for module in modules(places):
        lines += [f"::: {module}", ""]
    if name == "worldgen":
        lines = [f"# {title}", "", "::: worldgen", "    options: {members: false}", ""]
        for path in public():
            lines += [f"::: {path}", ""]
    return "\n".join(lines)


def public() -> list[str]:
    """Paths of the functions of ``import worldgen``; its types have pages of their own."""
    import worldgen

    return [path for path in worldgen._PATHS if path.rpartition(".")[2].islower()]


def modules(places: tuple[str, ...]) -> list[str]:
    """Names of all modules in files and folders."""
    found = []
    for place in places:
        path = ROOT / place
        files = (
            sorted(ROOT.glob(place))
            if "*" in place
            else sorted(path.glob("*.py"))
            if path.is_dir()
            else [path]
        )
        names = (".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files)
        found += [name for name in names if not name.endswith("__init__")]
    return found


def shown(notebook: dict) -> str:
    """A notebook with its outputs, as a page."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            data = output["data"]
            rich = (
                "".join(data.get("text/html", ())) or f"<pre>{html.escape(''.join(data['text/plain']))}</pre>"
            )
            parts.append(f'<div class="output">{rich}</div>')
    return "\n\n".join(parts) + "\n"


def executed(notebook: dict) -> dict:
    """The notebook with what its cells show now; they run one after another, in this process."""
    scope: dict[str, object] = {}
    cells, number = [], 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            number += 1
            outputs = _outputs("".join(cell["source"]), scope, number)
            cell = {**cell, "execution_count": number, "outputs": outputs}
        cells.append(cell)
    return {**notebook, "cells": cells}


def _outputs(source: str, scope: dict[str, object], number: int) -> list[dict]:
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, f"cell {number}", "exec"), scope)
    if not isinstance(last, ast.Expr):
        return []
    value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), scope)
    rich = getattr(value, "_repr_html_", None)
    data = (
        {"text/html": [rich()], "text/plain": [f"<{type(value).__name__}>"]}
        if rich
        else {"text/plain": [repr(value)]}
    )
    return [{"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data}]


if __name__ == "__main__":
    path = ROOT / "docs/notebook.ipynb"
    path.write_text(json.dumps(executed(json.loads(path.read_text(encoding="utf-8"))), indent=1) + "\n")
