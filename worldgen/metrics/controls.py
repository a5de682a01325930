"""The controls of `worldgen.simulation.controls`, as the metrics' callers know them."""

from worldgen.simulation.controls import CONTROLS, freeze, reverse, shuffle, teleport

__all__ = ["CONTROLS", "freeze", "reverse", "shuffle", "teleport"]
