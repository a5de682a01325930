import numpy as np
import pytest
import torch
import zstandard

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


def test_a_member_that_unpacks_to_more_than_its_shape_is_refused_before_it_is() -> None:
    clip = Clip(torch.zeros(1, 2, 3, 4, 4), torch.tensor([8.0]), ("",), scenes=("<mujoco/>",))
    members = {name: memoryview(data) for name, data in encode_clip(clip, "drop", 0).items()}
    bomb = memoryview(zstandard.ZstdCompressor().compress(bytes(2**28)))
    assert len(bomb) < 10_000
    for name in ("video.u8.zst", "scene.xml.zst"):
        with pytest.raises(ValueError, match="unpacks to 268435456 bytes, more than"):
            decode_clip({**members, name: bomb})
    with pytest.raises(ValueError, match=r"frames of \[2, 4, 4, 3\], where its index has \[2, 4, 5, 3\]"):
        decode_clip(members, shape=(2, 4, 5))
    meta = bytes(members["meta.json"]).replace(b"[2, 4, 4, 3]", b"[200000, 4000, 4000, 3]")
    with pytest.raises(ValueError, match="an array of"):
        decode_clip({**members, "meta.json": memoryview(meta)})
