"""What memory this machine has, and this process."""

from __future__ import annotations

import os
from pathlib import Path

_GIB = 2**30
_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
_STATM, _PAGE = Path("/proc/self/statm"), os.sysconf("SC_PAGE_SIZE")


def available_bytes() -> int:
    """Memory of this machine that a new process can have, a container's limit considered."""
    lines = _MEMINFO.read_text().splitlines() if _MEMINFO.exists() else []
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    limit, used = _CGROUP / "memory.max", _CGROUP / "memory.current"
    if limit.exists() and used.exists() and limit.read_text().strip().isdigit():
        found.append(int(limit.read_text()) - int(used.read_text()))
    return min(found, default=2**63)


def resident_bytes() -> int:
    """What this process holds in memory."""
    return int(_STATM.read_text().split()[1]) * _PAGE if _STATM.exists() else 0


def say_bytes(count: int) -> str:
    """For a person."""
    return f"{count / _GIB:,.2f} GiB" if count >= _GIB / 10 else f"{count / 2**20:,.1f} MiB"
