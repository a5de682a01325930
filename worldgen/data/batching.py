"""Many clips become one batch: equal lengths and sizes, objects padded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TypeVar

import torch
from torch import Tensor

from worldgen.joints import Joints
from worldgen.types import Camera, Clip, Contacts, Trajectory

_Checked = TypeVar("_Checked", Clip, Trajectory)


def stack_clips(clips: Sequence[Clip]) -> Clip:
    """One batch of the clips, in order.

    Clips with fewer objects are padded with objects that are not there: ``present`` False, rotation
    (1, 0, 0, 0), mass 1 kg, zero elsewhere; their masks are empty. Shorter sound and imu are padded with
    zeros. An optional field that some clip lacks is left out of the batch.

    Args:
        clips: Clips of equal (T, H, W), of any batch size.

    Raises:
        ValueError: No clips; unequal lengths or sizes; lengths in metres mixed with lengths in pixels.
    """
    if not clips:
        raise ValueError("stack_clips needs at least one clip; got none.")
    shapes = sorted({tuple(clip.frames.shape[1:]) for clip in clips})
    if len(shapes) > 1:
        raise ValueError(
            f"Clips of one batch must have equal (T, 3, H, W); got {shapes[0]} and {shapes[-1]}. "
            "Read them with the same frames and size."
        )
    sound, imu = _gather(clips, "sound"), _gather(clips, "imu")
    depth, masks = _gather(clips, "depth"), _gather(clips, "masks")
    cameras = [clip.camera for clip in clips if clip.camera is not None]
    truths = [clip.truth for clip in clips if clip.truth is not None]
    scenes = _gather_texts([clip.scenes for clip in clips])
    parts = {
        "frames": _cat_neighbors([clip.frames for clip in clips]),
        "fps": torch.cat([clip.fps for clip in clips]),
        "prompts": tuple(prompt for clip in clips for prompt in clip.prompts),
        "sound": None if sound is None else _cat_padded(sound, axis=1),
        "depth": None if depth is None else torch.cat(depth),
        "masks": None if masks is None else _cat_padded(masks, axis=2),
        "imu": None if imu is None else _cat_padded(imu, axis=1),
        "camera": _stack_cameras(cameras, clips[0].frames.shape[1]) if len(cameras) == len(clips) else None,
        "truth": stack_trajectories(truths) if len(truths) == len(clips) else None,
        "scenes": scenes,
        "descriptions": _gather_texts([clip.descriptions for clip in clips]),
    }
    return _of_checked(Clip, parts)


def stack_trajectories(trajectories: Sequence[Trajectory]) -> Trajectory:
    """One batch of the trajectories, in order, objects padded as in `stack_clips`.

    Raises:
        ValueError: No trajectories; unequal numbers of frames; metres mixed with pixels.
    """
    if not trajectories:
        raise ValueError("stack_trajectories needs at least one trajectory; got none.")
    lengths = sorted({trajectory.position.shape[1] for trajectory in trajectories})
    if len(lengths) > 1:
        raise ValueError(f"Trajectories of one batch must have equally many frames; got {lengths}.")
    if len({trajectory.metric for trajectory in trajectories}) > 1:
        raise ValueError(
            "Trajectories of one batch must all be in metres or all in pixels; got both. Batch them apart."
        )
    contacts: list[Contacts] = []
    for trajectory in trajectories:
        contacts.extend(trajectory.contacts or ())
    rotation = _cat_padded([trajectory.rotation for trajectory in trajectories], axis=2)
    present = _cat_padded([trajectory.present for trajectory in trajectories], axis=2)
    real = _real_objects(trajectories, rotation.shape[2])  # (B, N)
    upright = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=rotation.dtype, device=rotation.device)
    mass = _cat_padded([trajectory.mass for trajectory in trajectories], axis=1)
    parts = {
        "position": _cat_padded([trajectory.position for trajectory in trajectories], axis=2),
        "rotation": torch.where(real[:, None, :, None], rotation, upright),
        "velocity": _cat_padded([trajectory.velocity for trajectory in trajectories], axis=2),
        "spin": _cat_padded([trajectory.spin for trajectory in trajectories], axis=2),
        "mass": torch.where(real, mass, torch.ones_like(mass)),
        "extent": _cat_padded([trajectory.extent for trajectory in trajectories], axis=1),
        "present": present,
        "dt": torch.cat([trajectory.dt for trajectory in trajectories]),
        "contacts": None if any(t.contacts is None for t in trajectories) else tuple(contacts),
        "metric": trajectories[0].metric,
        "joints": _stack_joints([trajectory.joints for trajectory in trajectories]),
    }
    return _of_checked(Trajectory, parts)


def _of_checked(kind: type[_Checked], parts: Mapping[str, object]) -> _Checked:
    """A batch of parts that were checked clip by clip, without looking at every pixel again.

    Args:
        kind: What it is a batch of.
        parts: All fields.
    """
    batch = object.__new__(kind)
    for field in fields(kind):
        object.__setattr__(batch, field.name, parts[field.name])
    return batch


def _stack_joints(parts: Sequence[Joints | None]) -> Joints | None:
    """Those of all, where all are figures of as many joints and bodies; None otherwise."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or len({(part.angle.shape[2], part.feet.shape[1]) for part in known}) > 1:
        return None
    return Joints(
        **{field.name: torch.cat([getattr(part, field.name) for part in known]) for field in fields(Joints)}
    )


def _real_objects(trajectories: Sequence[Trajectory], count: int) -> Tensor:
    shapes = [trajectory.position.shape for trajectory in trajectories]
    own = torch.tensor([objects for batch, _, objects, _ in shapes for _ in range(batch)])
    return (torch.arange(count) < own[:, None]).to(trajectories[0].position.device)


def _stack_cameras(cameras: Sequence[Camera], frames: int) -> Camera:
    if any(camera.moves for camera in cameras):
        cameras = [camera.over(frames) for camera in cameras]
    parts = {
        field.name: torch.cat([getattr(camera, field.name) for camera in cameras]) for field in fields(Camera)
    }
    return Camera(**parts)


def _gather(clips: Sequence[Clip], name: str) -> list[Tensor] | None:
    values = [getattr(clip, name) for clip in clips]
    return None if any(value is None for value in values) else values


def _gather_texts(texts: Sequence[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    known = [group for group in texts if group is not None]
    return tuple(text for group in known for text in group) if len(known) == len(texts) else None


def _cat_neighbors(tensors: Sequence[Tensor]) -> Tensor:
    """``torch.cat``, without copying where the tensors already lie behind each other in memory."""
    first, place = tensors[0], tensors[0].storage_offset()
    memory = first.untyped_storage().data_ptr()
    for tensor in tensors:
        if (
            tensor.untyped_storage().data_ptr() != memory
            or tensor.storage_offset() != place
            or not tensor.is_contiguous()
            or tensor.dtype != first.dtype
        ):
            return torch.cat(list(tensors))
        place += tensor.numel()
    rows = sum(len(tensor) for tensor in tensors)
    return first.as_strided((rows, *first.shape[1:]), first.stride())


def _cat_padded(tensors: Sequence[Tensor], axis: int) -> Tensor:
    longest = max(tensor.shape[axis] for tensor in tensors)
    padded = []
    for tensor in tensors:
        shape = list(tensor.shape)
        shape[axis] = longest - shape[axis]
        padded.append(torch.cat([tensor, tensor.new_zeros(shape)], dim=axis) if shape[axis] else tensor)
    return torch.cat(padded)
