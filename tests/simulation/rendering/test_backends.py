import json

import pytest

from worldgen.simulation.rendering import backends as renderers
from worldgen.simulation.rendering import gl
from worldgen.simulation.rendering.backends import hardware_gl, pick_renderer, probe_gl, renderer_name
from worldgen.simulation.rendering.ray_numba import render_numba
from worldgen.simulation.rendering.ray_numpy import render_multiray


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Sets what the environment asks for, with an empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(renderers.VARIABLE, raising=False)
    return lambda name: monkeypatch.setenv(renderers.VARIABLE, name)


def test_rays_draw_unless_something_else_is_asked_for(asked, monkeypatch):
    def never(*arguments):
        raise AssertionError("no probe without a request")

    monkeypatch.setattr(renderers, "probe_gl", never)
    assert renderer_name() == "numba" and pick_renderer() is render_numba
    for name, renderer in (("numba", render_numba), ("numpy", render_multiray)):
        asked(name)
        assert renderer_name() == name and pick_renderer() is renderer
    asked("opengl")
    with pytest.raises(
        ValueError, match="WORLDGEN_RENDERER must be one of numba, numpy, egl, auto; got 'opengl'"
    ):
        renderer_name()


def test_opengl_in_software_draws_when_it_is_asked_for_by_name(asked, monkeypatch, tmp_path):
    asked("egl")
    monkeypatch.setattr(renderers, "probe_gl", lambda timeout: None)
    with pytest.raises(ValueError, match="asks for egl, but OpenGL through EGL does not work here. Install"):
        renderer_name()
    next((tmp_path / "worldgen").glob("*")).unlink()
    monkeypatch.setattr(renderers, "probe_gl", lambda timeout: "llvmpipe (LLVM 15)")
    assert renderer_name() == "egl" and pick_renderer() is gl.render_gl and hardware_gl() is None


def test_without_numba_the_numpy_renderer_draws(asked, monkeypatch):
    monkeypatch.setattr(renderers, "_compiled", lambda: None)
    assert renderer_name() == "numpy" and pick_renderer() is render_multiray
    asked("numba")
    with pytest.raises(ValueError, match="asks for numba, which cannot be imported here. Install numba"):
        pick_renderer()


def test_hardware_is_probed_once_and_software_counts_as_none(asked, monkeypatch, tmp_path):
    calls = []
    for found, hardware in (("NVIDIA H200/PCIe", True), ("llvmpipe (LLVM 15)", False), (None, False)):
        for old in (tmp_path / "worldgen").glob("*"):
            old.unlink()
        monkeypatch.setattr(renderers, "probe_gl", lambda timeout, found=found: calls.append(found) or found)
        asked("auto")
        assert [renderer_name() for _ in range(3)] == ["egl" if hardware else "numba"] * 3
        assert hardware_gl() == (found if hardware else None)
        (kept,) = (tmp_path / "worldgen").glob("*")
        assert json.loads(kept.read_text()) == {"renderer": found}
    assert len(calls) == 3


def test_a_driver_that_hangs_or_dies_counts_as_none(monkeypatch):
    monkeypatch.setattr(renderers, "_PROBE", "import time; time.sleep(60)")
    assert probe_gl(timeout=0.2) is None
    monkeypatch.setattr(renderers, "_PROBE", "import os; print('RENDERER=card', flush=True); os.abort()")
    assert probe_gl() is None
    monkeypatch.setattr(renderers, "_PROBE", "print('RENDERER=card')")
    assert probe_gl() == "card"
