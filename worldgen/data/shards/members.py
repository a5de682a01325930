"""One clip as the members of a tar shard, and back.

``video.u8.zst``       frames, uint8 (T H W 3), zstd-3 like every ``.zst`` here
``depth.f16.zst``      metres, float16 (T H W): at 12 m rounded to 4 mm
``masks.u8.zst``       object k of a pixel is bit k % 8 of byte k // 8, uint8 (T ceil(N/8) H W)
``state.safetensors``  fps, truth.*, contacts.*, joints.*, camera.*, sound, imu, as in `worldgen.types`
``scene.xml.zst``      MJCF
``caption.txt``        the prompt
``description.txt``    the long caption
``meta.json``          family, seed, versions, platform, shapes

A member is there when the clip has it.
"""

from __future__ import annotations

import json
import math
import platform
import threading
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib.metadata import version

import numpy as np
import torch
import zstandard
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from torch import Tensor

from worldgen import __version__
from worldgen.joints import Joints
from worldgen.simulation.engine import require_closed
from worldgen.simulation.rendering.backends import renderer_name
from worldgen.types import Camera, Clip, Contacts, Trajectory

MUJOCO = version("mujoco-core")  # asked once: it takes as long as compressing ten clips
CAPTION = "caption.txt"
"""The member that is read as the prompt."""
_MOST_BYTES = 2**32
"""Of one array of a clip: 4K frames for five seconds."""
_MOST_OF_A_SCENE = 2**26
"""Bytes of its MJCF."""
_OF_THREAD = threading.local()
"""What unpacks, made once for each thread."""


def encode_clip(clip: Clip, family: str, seed: int | None) -> dict[str, bytes]:
    """The members of one clip (B = 1) by suffix, in the order in which they are written."""
    compress = zstandard.ZstdCompressor(level=3).compress
    frames = _to_bytes(clip.frames[0])  # (T, H, W, 3)
    shapes = {"video": list(frames.shape)}
    members = {"video.u8.zst": compress(frames.tobytes())}
    if clip.depth is not None:
        depth = clip.depth[0, :, 0].to(torch.float16)  # (T, H, W)
        shapes["depth"] = list(depth.shape)
        members["depth.f16.zst"] = compress(depth.contiguous().numpy().tobytes())
    if clip.masks is not None:
        bits = _pack_masks(clip.masks[0].numpy())  # (T, ceil(N/8), H, W)
        shapes["masks"] = list(clip.masks.shape[1:])
        members["masks.u8.zst"] = compress(bits.tobytes())
    members["state.safetensors"] = save_arrays(_state_of(clip))
    if clip.scenes is not None:
        members["scene.xml.zst"] = compress(clip.scenes[0].encode())
    members[CAPTION] = clip.prompts[0].encode()
    if clip.descriptions is not None:
        members["description.txt"] = clip.descriptions[0].encode()
    meta = {
        "family": family,
        "seed": seed,
        "shapes": shapes,
        "metric": clip.truth.metric if clip.truth is not None else None,
        "worldgen": __version__,
        "mujoco": MUJOCO,
        "renderer": renderer_name() if clip.scenes is not None else None,
        "platform": f"{platform.system()}-{platform.machine()}",
    }
    members["meta.json"] = json.dumps(meta, sort_keys=True).encode()
    return members


def decode_clip(
    members: Mapping[str, memoryview],
    caption_member: str = CAPTION,
    out: Tensor | None = None,
    shape: tuple[int, int, int] | None = None,
) -> Clip:
    """The clip (B = 1) that the members hold.

    Args:
        members: Bytes by suffix.
        caption_member: The one whose text is the prompt.
        out: Where its frames (T 3 H W) go; into memory of their own when None.
        shape: Frames, rows and columns that its index promises.

    Raises:
        ValueError: A member is missing or does not hold what its name and ``meta.json`` say.
    """
    try:
        meta = json.loads(bytes(members["meta.json"]))
        state: dict[str, dict[str, Tensor]] = {}
        for name, array in load_arrays(bytes(members["state.safetensors"])).items():
            part, _, field = name.rpartition(".")
            state.setdefault(part, {})[field] = torch.from_numpy(array)
        shapes = meta["shapes"]
        if shape is not None and shapes["video"] != [*shape, 3]:
            raise ValueError(f"frames of {shapes['video']}, where its index has {[*shape, 3]}")
        frames = _array(members["video.u8.zst"], np.uint8, shapes["video"])
        depth = masks = scenes = None
        if "depth.f16.zst" in members:
            meters = _array(members["depth.f16.zst"], np.float16, shapes["depth"])
            depth = torch.from_numpy(meters.astype(np.float32))[None, :, None]
        if "masks.u8.zst" in members:
            time, count, height, width = shapes["masks"]
            packed = (time, -(-count // 8), height, width)
            bits = _array(members["masks.u8.zst"], np.uint8, packed)
            masks = torch.from_numpy(_unpack_masks(bits, count))[None]  # (1, T, N, H, W)
        if "scene.xml.zst" in members:
            scenes = (_unpack(members["scene.xml.zst"], _MOST_OF_A_SCENE).decode(),)
            require_closed(scenes[0])
        descriptions = None
        if "description.txt" in members:
            descriptions = (bytes(members["description.txt"]).decode(),)
        contacts = (Contacts(**state["contacts"]),) if "contacts" in state else None
        truth = None
        if "truth" in state:
            joints = Joints(**state["joints"]) if "joints" in state else None
            truth = Trajectory(
                **state["truth"], contacts=contacts, metric=bool(meta["metric"]), joints=joints
            )
        return Clip(
            frames=_to_unit(frames, out)[None],
            fps=state[""]["fps"],
            prompts=(bytes(members[caption_member]).decode(),),
            sound=state[""].get("sound"),
            depth=depth,
            masks=masks,
            imu=state[""].get("imu"),
            camera=Camera(**state["camera"]) if "camera" in state else None,
            truth=truth,
            scenes=scenes,
            descriptions=descriptions,
        )
    except (KeyError, ValueError, TypeError, SafetensorError, zstandard.ZstdError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _state_of(clip: Clip) -> dict[str, np.ndarray]:
    state = {"fps": clip.fps}
    for name in ("sound", "imu"):
        if getattr(clip, name) is not None:
            state[name] = getattr(clip, name)
    parts: list[tuple[str, Camera | Trajectory | Contacts | Joints | None]] = [
        ("camera", clip.camera),
        ("truth", clip.truth),
        ("joints", clip.truth.joints if clip.truth is not None else None),
        ("contacts", clip.truth.contacts[0] if clip.truth is not None and clip.truth.contacts else None),
    ]
    for prefix, part in parts:
        if part is not None:
            for field in fields(part):
                value = getattr(part, field.name)
                if isinstance(value, Tensor):
                    state[f"{prefix}.{field.name}"] = value
    return {name: np.ascontiguousarray(value.detach().cpu().numpy()) for name, value in state.items()}


def _array(packed: memoryview, dtype: type[np.generic], shape: Sequence[int]) -> np.ndarray:
    """What was compressed, where it was unpacked: not to be written to."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if not 0 <= size <= _MOST_BYTES:
        raise ValueError(f"an array of {list(shape)}")
    return np.frombuffer(_unpack(packed, size), dtype).reshape(tuple(shape))


def _unpack(packed: memoryview, most: int) -> bytes:
    """What was compressed; a few bytes may hold gigabytes, so that it is asked before it is done."""
    size = zstandard.frame_content_size(packed)
    if size > most:
        raise ValueError(f"a member that unpacks to {size} bytes, more than {most}")
    if not hasattr(_OF_THREAD, "unpacker"):
        _OF_THREAD.unpacker = zstandard.ZstdDecompressor()
    return _OF_THREAD.unpacker.decompress(packed, max_output_size=most)


def _to_unit(frames: np.ndarray, out: Tensor | None) -> Tensor:
    """Bytes (T H W 3) as RGB in [0, 1] (T 3 H W): most of the time of reading goes here."""
    time, height, width, _ = frames.shape
    unit = torch.empty(time, 3, height, width) if out is None else out
    planes = np.ascontiguousarray(frames.transpose(0, 3, 1, 2))  # (T, 3, H, W)
    np.divide(planes, np.float32(255), out=unit.numpy(), dtype=np.float32)
    return unit


def _to_bytes(frames: Tensor) -> np.ndarray:
    """RGB in [0, 1] (T 3 H W) as bytes (T H W 3). numpy turns floats to bytes faster than torch."""
    scaled = frames.permute(0, 2, 3, 1).numpy() * np.float32(255)
    return np.ascontiguousarray(np.rint(scaled, out=scaled).astype(np.uint8))


def _pack_masks(masks: np.ndarray) -> np.ndarray:
    """``np.packbits(masks, axis=1, bitorder="little")``, faster for few objects."""
    time, count, height, width = masks.shape
    bits = np.zeros((time, -(-count // 8), height, width), np.uint8)
    for number in range(count):
        bits[:, number // 8] |= masks[:, number].view(np.uint8) * np.uint8(1 << number % 8)
    return bits


def _unpack_masks(bits: np.ndarray, count: int) -> np.ndarray:
    """What `_pack_masks` packed, likewise faster than numpy's own."""
    time, _, height, width = bits.shape
    masks = np.empty((time, count, height, width), bool)
    for number in range(count):
        np.not_equal(bits[:, number // 8] & np.uint8(1 << number % 8), 0, out=masks[:, number])
    return masks
