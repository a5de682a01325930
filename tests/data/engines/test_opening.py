"""An engine by its name, or a sentence."""

import pytest

from worldgen.data.engines.local import LocalEngine
from worldgen.data.engines.opening import open_engine


def test_local_is_this_process_and_processes_are_as_many_as_asked_for():
    assert isinstance(open_engine("local", 8), LocalEngine) and open_engine("local", 8).processes == 1
    assert open_engine("processes", 3).processes == 3


def test_what_is_no_engine_is_refused():
    with pytest.raises(ValueError, match="must be local, processes, ray or slurm; got 'cloud'"):
        open_engine("cloud", None)
