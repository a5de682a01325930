"""What the site shows is run: the notebook, the tutorial, the sentences of errors."""

import ast
import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def pages():
    """The hooks of the site, which are no part of the package."""
    spec = importlib.util.spec_from_file_location("pages", ROOT / "docs/pages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """A folder where the paths of the docs hold, and that may be written to."""
    for name in ("configs", "assets", "experiments"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown_by(notebook):
    """Of each output: the kind, and the names of the rows of a table."""
    data = [output["data"] for cell in notebook["cells"] for output in cell.get("outputs", ())]
    return [(list(one), re.findall(r"<th>(.*?)</th>", "".join(one.get("text/html", ())))) for one in data]


def test_the_notebook_goes_from_nothing_to_the_table_that_it_shows(pages, beside):
    stored = json.loads((ROOT / "docs/notebook.ipynb").read_text())
    fresh = pages.executed(stored)
    assert shown_by(fresh) == shown_by(stored), "its outputs are old: python docs/pages.py writes them anew"
    arms = shown_by(fresh)[-2][1]
    assert arms.count("base") == arms.count("no_text") == 2
    assert (beside / "outputs/notebook/study/study.html").is_file()


def sentences(source):
    """All texts of a file, with ... for what is put into them."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_sentence_that_is_explained_is_said():
    quoted = re.findall(r"`([^`]+)`", "".join(
        line.partition(": ")[0] if line.count("`: ") == 0 else line[: line.index("`: ") + 1]
        for line in (ROOT / "docs/troubleshooting.md").read_text().splitlines()
        if line.startswith("* `")
    ))  # fmt: skip
    said = [text for path in (ROOT / "worldgen").rglob("*.py") for text in sentences(path.read_text())]
    assert len(quoted) > 12
    for sentence in quoted:
        wanted = re.compile(".*?".join(map(re.escape, sentence.split("..."))))
        assert any(wanted.search(text) for text in said), f"nothing says: {sentence}"


@pytest.mark.parametrize("page", ["encoder", "metric"])
def test_the_part_that_a_page_writes_works(page, monkeypatch):
    import torch

    import worldgen

    text = (ROOT / f"docs/how/{page}.md").read_text()
    (code,), (yaml,) = (
        re.findall(rf"```{kind}\n(.*?)```", text, flags=re.DOTALL) for kind in ("python", "yaml")
    )
    scope: dict = {"__name__": f"my_{page}"}
    exec(code, scope)
    name = re.findall(r"class_path: my_\w+\.(\w+)", yaml)[0]
    clip = worldgen.simulate("drop", 0, size=16, frames=4)
    if page == "encoder":
        tokens = scope[name](gain=2.0).encode(clip)
        assert tokens.values.shape == (1, 1, 3) and bool(tokens.mask.all())
        torch.testing.assert_close(tokens.values[0, 0], 2 * clip.frames[0, 0].mean(dim=(1, 2)))
    else:
        (reading,) = scope[name]()(None, clip, clip)
        assert reading == ("difference", 0.0, 1)


def test_the_site_leads_to_every_page_and_each_is_there(pages):
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    named = set(re.findall(r": (\S+\.md)$", nav, flags=re.MULTILINE))
    assert [name for name in named if name != pages.NOTEBOOK and not (ROOT / name).is_file()] == []
    listed = {name for entry in pages.command_pages() for name in entry.values()}
    here = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert here == {name for name in named | listed if name.startswith("docs/")} - {pages.NOTEBOOK}


def test_a_page_brings_what_it_links_to_and_the_reference_names_what_is_there(pages):
    page = ROOT / "docs/metrics.md"
    brought = pages.linked(page.read_text(), page)
    assert ROOT / "experiments/metrics/calibration-truth.png" in brought and all(map(Path.is_file, brought))
    for name in pages.ROOMS:
        assert "::: worldgen" in pages.reference(name)
    assert "worldgen.study.ablation.ablate.ablate" in pages.public()
    assert "worldgen.encoders.t5" in pages.modules(("worldgen/encoders",))


def test_the_version_stands_in_one_place_and_its_changes_are_told():
    import worldgen

    assert f"version: {worldgen.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {worldgen.__version__}\n" in (ROOT / "CHANGELOG.md").read_text()
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()
