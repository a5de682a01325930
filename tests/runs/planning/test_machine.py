import torch

from worldgen.runs.planning import machine
from worldgen.runs.planning.machine import available_bytes, resident_bytes, say_bytes


def test_what_a_process_holds_grows_by_what_it_is_given():
    before = resident_bytes()
    given = torch.ones(2**26)  # 256 MiB, each page touched
    grown = resident_bytes() - before
    assert 0.9 * 2**28 < grown < 1.3 * 2**28
    del given


def test_a_limit_of_the_group_bounds_what_is_available(tmp_path, monkeypatch):
    assert 2**20 < available_bytes() < 2**50
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 4000 kB\n")
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    assert available_bytes() == 4000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert available_bytes() == 4000 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    assert available_bytes() == 4000


def test_sizes_are_said_in_units_of_a_person():
    assert say_bytes(3 * 2**29) == "1.50 GiB" and say_bytes(5 * 2**20) == "5.0 MiB"
