"""What torch allocates, as its own profiler counts it."""

from collections.abc import Callable

import torch


def most_allocated(work: Callable[[], object]) -> int:
    """The bytes that are alive at once, at most, of what some work makes."""
    of_cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(profile_memory=True, activities=of_cpu) as seen:
        work()
    live = most = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            most = max(most, live)
    return most
