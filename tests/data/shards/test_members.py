import numpy as np
import pytest

from worldgen.data.shards.members import _pack_masks


@pytest.mark.parametrize("objects", [0, 1, 3, 8, 11])
def test_masks_are_packed_as_numpy_packs_bits(objects: int) -> None:
    masks = np.random.default_rng(objects).random((2, objects, 4, 5)) > 0.5
    np.testing.assert_array_equal(_pack_masks(masks), np.packbits(masks, axis=1, bitorder="little"))
