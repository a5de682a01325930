from __future__ import annotations

import numpy as np

from worldgen.metrics.physics_iq.resize import shrink, shrink_mask


def test_shrinking_by_four_is_the_mean_of_the_middle():
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    middle = image.reshape(6, 4, 8, 4, 3)[:, 1:3, :, 1:3].astype(np.int64).sum(axis=(1, 3))
    np.testing.assert_array_equal(shrink(image, (6, 8)), (middle + 2) // 4)
    mask = (image[..., 0] > 128).view(np.uint8)
    count = mask.reshape(6, 4, 8, 4)[:, 1:3, :, 1:3].sum(axis=(1, 3))
    np.testing.assert_array_equal(shrink_mask(255 * mask, (6, 8)), count >= 2)


def test_shrinking_to_any_size_stays_within_a_gray_level_of_linear_interpolation():
    image = np.random.default_rng(1).integers(0, 256, (23, 31, 3), dtype=np.uint8)
    rows, columns = (np.arange(7) + 0.5) * 23 / 7 - 0.5, (np.arange(9) + 0.5) * 31 / 9 - 0.5
    exact = np.stack(
        [[np.interp(rows, np.arange(23), column) for column in plane.T] for plane in image.transpose(2, 0, 1)]
    )
    exact = np.stack([[np.interp(columns, np.arange(31), row) for row in plane.T] for plane in exact])
    assert np.abs(shrink(image, (7, 9)).transpose(2, 0, 1) - exact).max() < 1
