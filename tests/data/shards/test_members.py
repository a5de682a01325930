import numpy as np
import pytest
import torch

from worldgen.data.shards.members import _pack_masks, decode_clip, encode_clip
from worldgen.types import Clip


@pytest.mark.parametrize("objects", [0, 1, 3, 8, 11])
def test_masks_are_packed_as_numpy_packs_bits(objects: int) -> None:
    masks = np.random.default_rng(objects).random((2, objects, 4, 5)) > 0.5
    np.testing.assert_array_equal(_pack_masks(masks), np.packbits(masks, axis=1, bitorder="little"))


def test_a_scene_with_files_is_refused_when_it_is_read() -> None:
    for scene in ("<mujoco/>", '<mujoco><include file="/etc/passwd"/></mujoco>'):
        clip = Clip(torch.zeros(1, 2, 3, 4, 4), torch.tensor([8.0]), ("",), scenes=(scene,))
        members = {name: memoryview(data) for name, data in encode_clip(clip, "drop", 0).items()}
        if "include" in scene:
            with pytest.raises(ValueError, match="without files and plugins; it has '<include'"):
                decode_clip(members)
        else:
            assert decode_clip(members).scenes == (scene,)
