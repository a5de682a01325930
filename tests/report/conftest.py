"""Clips that the tests of the report share."""

import pytest

from worldgen.simulation.clips import simulate_clip


@pytest.fixture(scope="session")
def clips():
    return {family: simulate_clip(family, 1) for family in ("drop", "collide")}
