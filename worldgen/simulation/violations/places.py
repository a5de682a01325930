"""Violations that put bodies where they cannot be: teleport, vanish, duplicate and swap.

Each starts after a third of the clip. Where there is a scene, the bodies are moved in three dimensions and
filmed again, shadows included; where there is none, teleport and vanish cut and paste pixels.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.simulation.engine import object_bodies, spec_of
from worldgen.simulation.violations.patches import dilate, fill_holes, shift
from worldgen.simulation.violations.refilm import NotViolable, refilm, require_scenes
from worldgen.types import Camera, Clip, Trajectory, select


def teleport(clip: Clip, share: float = 0.25) -> Clip:
    """From a third of the clip on, the first object is elsewhere: to the side where there is more room.

    Args:
        clip: With scenes; without, with masks, whose pixels are cut out and pasted.
        share: Jump as a share of the image width.

    Raises:
        NotViolable: The clip has neither scenes nor masks.
        ValueError: A share outside [0, 1).
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must lie in [0, 1) of the image width; got {share:g}.")
    if share == 0:
        return clip
    if clip.scenes is None or clip.truth is None:
        return _paste_elsewhere(clip, share)
    require_scenes(clip)
    start, position = _start(clip), clip.truth.position.clone()
    for item in range(len(clip)):
        length = share * float(_width(_camera(clip, item), position[item, start, 0], start))
        position[item, start:, 0] += _step_aside(clip, item, start, position.shape[1], (length,))
    return refilm(clip, replace(clip.truth, position=position, contacts=None))


def vanish(clip: Clip, share: float = 0.25) -> Clip:
    """The first object is not there, for a share of the clip's frames, and then is again.

    Args:
        clip: With scenes; without, with masks, whose pixels are filled from their borders.
        share: In [0, 2/3].

    Raises:
        NotViolable: The clip has neither scenes nor masks.
        ValueError: A share outside [0, 2/3].
    """
    start, stop = _span(clip, share)
    if start == stop:
        return clip
    truth = clip.truth
    if truth is not None:
        present = truth.present.clone()
        present[:, start:stop, 0] = False
        truth = replace(truth, present=present, contacts=None)
    if clip.scenes is not None and truth is not None:
        return refilm(clip, truth)
    if clip.masks is None:
        raise NotViolable(
            "vanish needs masks to cut the object out; the clip has none. Use a simulated clip."
        )
    frames, masks = clip.frames.clone(), clip.masks.clone()
    masks[:, start:stop, 0] = False
    for item in range(len(clip)):
        where = clip.masks[item, start:stop, 0]
        grown, late = dilate(where[:, None], 1), frames[item, start:stop]
        frames[item, start:stop] = torch.where(grown, fill_holes(late, where), late)
    return replace(clip, frames=frames, masks=masks, depth=None, truth=truth, sound=None, imu=None)


def duplicate(clip: Clip, share: float = 0.25) -> Clip:
    """A second copy of the first object appears beside it, for a share of the clip's frames, and goes again.

    The copy is one object more in masks, truth and scene.

    Args:
        clip: With scenes and truth.
        share: In [0, 2/3].

    Raises:
        NotViolable: The clip has no scenes.
        ValueError: A share outside [0, 2/3].
    """
    start, stop = _span(clip, share)
    if start == stop:
        return clip
    scenes, truth = require_scenes(clip), clip.truth
    assert truth is not None

    def again(states: Tensor, axis: int) -> Tensor:
        return torch.cat([states, states.narrow(axis, 0, 1)], dim=axis)

    twice = replace(
        truth,
        position=again(truth.position, 2),
        rotation=again(truth.rotation, 2),
        velocity=again(truth.velocity, 2),
        spin=again(truth.spin, 2),
        mass=again(truth.mass, 1),
        extent=again(truth.extent, 1),
        present=again(truth.present, 2),
        contacts=None,
    )
    twice.present[:, :start, -1] = twice.present[:, stop:, -1] = False
    for item in range(len(clip)):
        lengths = tuple(float(truth.extent[item, 0].max()) * times for times in (2.5, 3.5, 5.0, 7.0))
        twice.position[item, :, -1] += _step_aside(clip, item, start, stop, lengths)
    return refilm(clip, twice, tuple(_with_copy(scene) for scene in scenes))


def swap(clip: Clip, share: float = 0.25) -> Clip:
    """The first two objects change places, for a share of the clip's frames, and change back.

    Each stands as far above the ground as the other did; they keep their turns.

    Args:
        clip: With scenes and truth.
        share: In [0, 2/3].

    Raises:
        NotViolable: The clip has no scenes, or fewer than two objects in every frame.
        ValueError: A share outside [0, 2/3].
    """
    start, stop = _span(clip, share)
    if start == stop:
        return clip
    require_scenes(clip)
    truth = clip.truth
    assert truth is not None
    if truth.position.shape[2] < 2 or not bool(truth.present[:, start:stop, :2].all()):
        raise NotViolable("swap needs two objects that are there in every frame; the clip has fewer.")
    position, velocity = truth.position.clone(), truth.velocity.clone()
    other = [1, 0]
    position[:, start:stop, :2] = truth.position[:, start:stop, other]
    position[:, start:stop, :2, 2] += (truth.extent[:, :2, 2] - truth.extent[:, other, 2])[:, None]
    velocity[:, start:stop, :2] = truth.velocity[:, start:stop, other]
    return refilm(clip, replace(truth, position=position, velocity=velocity, contacts=None))


def _start(clip: Clip) -> int:
    return clip.frames.shape[1] // 3


def _span(clip: Clip, share: float) -> tuple[int, int]:
    """First frame of the violation and the one after it."""
    if not 0 <= share <= 2 / 3 + 1e-9:
        raise ValueError(f"share must lie in [0, 2/3] of the clip's frames; got {share:g}.")
    start, frames = _start(clip), clip.frames.shape[1]
    return start, min(start + round(share * frames), frames)


def _camera(clip: Clip, item: int) -> Camera:
    if clip.camera is None:
        raise NotViolable("this control needs the clip's camera to stay in view; the clip has none.")
    return select(clip.camera, slice(item, item + 1)).over(clip.frames.shape[1])


def _width(camera: Camera, place: Float[Tensor, " 3"], frame: int) -> Float[Tensor, ""]:
    """Metres across the image at the depth of a place."""
    depth = -((place - camera.position[0, frame]) @ camera.rotation[0, frame])[2]
    return 2 * depth * torch.tan(torch.deg2rad(camera.fovy[0]) / 2)


def _step_aside(
    clip: Clip, item: int, start: int, stop: int, lengths: tuple[float, ...]
) -> Float[Tensor, " 3"]:
    """A step sideways, in metres, that takes the first object clear of the others and keeps it in view.

    The first of the lengths that does, to either side; where none does, the one that comes closest.
    """
    truth, camera = clip.truth, _camera(clip, item)
    assert truth is not None
    position, extent = truth.position[item, start:stop], truth.extent[item].max(dim=-1).values
    sideways = camera.rotation[0, start:stop, :, 0].to(position)  # (T', 3)
    offset = ((position[:, 0] - camera.position[0, start:stop]) * sideways).sum(dim=-1)
    half = _width(camera, position[0, 0], start) / 2
    best, most = torch.zeros(3), -torch.inf
    for length in lengths:
        for sign in (-1.0, 1.0) if float(offset[0]) > 0 else (1.0, -1.0):
            step = sign * length * sideways[0]
            others = (position[:, :1] + step - position[:, 1:]).norm(dim=-1) - extent[0] - extent[1:]
            gap = others.min() if others.numel() else torch.tensor(torch.inf)
            room = float(torch.minimum(gap, (half - extent[0] - (offset + sign * length).abs()).min()))
            if room > 0:
                return step
            if room > most:
                best, most = step, room
    return best


def _with_copy(scene: str) -> str:
    """The scene with one body more, free to move: the shapes of its first object."""
    spec = spec_of(scene)
    model = spec.compile()
    source = spec.bodies[object_bodies(model)[0]]
    body = spec.worldbody.add_body(name="copy", pos=source.pos, quat=source.quat)
    body.add_freejoint(name="copy")
    for number, geom in enumerate(source.geoms):
        body.add_geom(
            name=f"copy{number}", type=geom.type, size=geom.size, pos=geom.pos, quat=geom.quat,
            rgba=geom.rgba, density=geom.density, mass=geom.mass, meshname=geom.meshname,
            material=geom.material, condim=geom.condim, priority=geom.priority, friction=geom.friction,
            solref=geom.solref, solimp=geom.solimp,
        )  # fmt: skip
    return spec.to_xml()


def _paste_elsewhere(clip: Clip, share: float) -> Clip:
    if clip.masks is None:
        raise NotViolable(
            "teleport needs masks to cut the object out; the clip has none. Use a simulated clip."
        )
    frames, masks = clip.frames.clone(), clip.masks.clone()
    truth: Trajectory | None = clip.truth
    position = None if truth is None else truth.position.clone()
    height, width = frames.shape[-2:]
    start = _start(clip)
    for item in range(len(clip)):
        mask = masks[item, start:, 0]  # (T', H, W)
        columns = mask.any(dim=(0, 1)).nonzero()
        if not len(columns):
            continue
        left, right = int(columns.min()), width - 1 - int(columns.max())
        jump = round(share * width) * (1 if right >= left else -1)
        late = frames[item, start:]
        grown = dilate(mask[:, None], 1)  # (T', 1, H, W): with the partly covered border
        emptied = torch.where(grown, fill_holes(late, mask), late)
        frames[item, start:] = torch.where(shift(grown, jump), shift(late, jump), emptied)
        masks[item, start:] &= ~shift(mask, jump)[:, None]
        masks[item, start:, 0] = shift(mask, jump)
        if position is not None and clip.camera is not None:
            camera = clip.camera
            where = camera.project(position, height, width)
            moved = camera.unproject(where + torch.tensor([float(jump), 0.0]), height, width)
            position[item, start:, 0] += (moved - camera.unproject(where, height, width))[item, start:, 0]
    if truth is not None:
        truth = replace(truth, position=position, contacts=None)
    return replace(clip, frames=frames, masks=masks, truth=truth, depth=None, sound=None, imu=None)
