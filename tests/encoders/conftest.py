"""The authors' ImageBind, where it is installed."""

import importlib.util
import sys
import types

import pytest


@pytest.fixture(scope="module")
def official():
    """The authors' model module; the package around it would import what is long gone."""
    spec = importlib.util.find_spec("imagebind")
    if spec is None:
        pytest.skip("the official package is not here: see the group imagebind-parity in pyproject.toml")
    shell = types.ModuleType("imagebind")
    shell.__path__ = list(spec.submodule_search_locations)
    sys.modules["imagebind"] = shell
    from imagebind.models import imagebind_model, multimodal_preprocessors

    yield types.SimpleNamespace(model=imagebind_model, inputs=multimodal_preprocessors)
    for name in [name for name in sys.modules if name.partition(".")[0] == "imagebind"]:
        del sys.modules[name]
