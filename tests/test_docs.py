"""What the site shows is run: the notebook, the tutorial, the sentences of errors."""

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
