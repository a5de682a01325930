"""Which objects of a crowd ever come near each other: only these pairs are looked at frame by frame."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import KDTree

_FEW = 16
"""Objects up to which every pair is looked at."""


def near_pairs(
    position: Float[np.ndarray, "T N 3"], present: Bool[np.ndarray, "T N"], reach: Float[np.ndarray, " N"]
) -> list[tuple[int, int]]:
    """Pairs ``(one, two)``, two < one, whose spheres of these radii meet in some frame; all pairs of a few.

    Args:
        position: Any unit; only looked at where present.
        present: Where an object is.
        reach: Radius of the sphere around each object; one of radius 0 meets nothing, unless there are few.
    """
    count = len(reach)
    if count <= _FEW:
        return [(one, two) for one in range(count) for two in range(one)]
    met = np.zeros((count, count), dtype=bool)
    for places, there in zip(position, present, strict=True):
        own = np.flatnonzero(there & (reach > 0))
        if len(own) > 1:
            tree = KDTree(places[own])
            two, one = own[tree.query_pairs(2 * reach[own].max(), output_type="ndarray")].T  # two < one
            met[one, two] |= np.linalg.norm(places[one] - places[two], axis=1) <= reach[one] + reach[two]
    return [(int(one), int(two)) for one, two in np.argwhere(met)]
