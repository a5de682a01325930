"""Hand tracks of real experiments: Tracker files (.trk) become trajectories in metres."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import torch
from torch import Tensor

from worldgen.metrics.tracks import trajectory_of
from worldgen.types import Trajectory


def read_trk(path: str | Path) -> Trajectory:
    """The point masses of a Tracker file (Open Source Physics, XML), in its own axes and scale.

    Args:
        path: A .trk file with a video clip, a coordinate system and at least one point mass.

    Returns:
        B = 1, one object per point mass, from the first marked step to the last; x to the right and z up in
        metres, y = 0, extent 0 (points), ``present`` where a point was marked.

    Raises:
        ValueError: The file is not a Tracker file or lacks one of these parts.
    """
    path = Path(path)
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} must be a Tracker XML file; it does not parse: {error}.") from None
    clip = _part(root, "videoclip", path)
    axes = next(iter(_children(_part(root, "coords", path), "framedata")), None)
    seconds = _number(_part(root, "clipcontrol", path), "delta_t", 0.0) / 1000
    tracks = [item for item in root.iter("object") if (item.get("class") or "").endswith("tracker.PointMass")]
    tracks = [track for track in tracks if _children(track, "framedata")]
    if axes is None or not tracks or seconds <= 0:
        lacking = "axes" if axes is None else "a point mass with points" if not tracks else "a time step"
        raise ValueError(f"{path} must hold axes, a time step and point masses; it lacks {lacking}.")
    start, stride = int(_number(clip, "startframe", 0)), int(_number(clip, "stepsize", 1))
    steps = [
        {
            (int(name.strip("[]")) - start) // stride: _to_world(
                _number(point, "x", 0), _number(point, "y", 0), axes
            )
            for name, point in _named(track, "framedata")
        }
        for track in tracks
    ]
    first = min(min(points) for points in steps)
    frames = 1 + max(max(points) for points in steps) - first
    position = torch.zeros(1, frames, len(tracks), 3, dtype=torch.float64)
    present = torch.zeros(1, frames, len(tracks), dtype=torch.bool)
    for index, points in enumerate(steps):
        for step, point in points.items():
            position[0, step - first, index] = point
            present[0, step - first, index] = True
    return trajectory_of(
        position,
        present,
        torch.tensor([seconds * stride], dtype=torch.float64),
        extent=torch.zeros(1, len(tracks), 3, dtype=torch.float64),
        mass=torch.tensor([[_number(track, "mass", 1.0) for track in tracks]], dtype=torch.float64),
    )


def _to_world(x: float, y: float, axes: ElementTree.Element) -> Tensor:
    """Pixels (y down) to metres (z up) in Tracker's axes, turned counterclockwise by ``angle`` degrees."""
    right, up = x - _number(axes, "xorigin", 0), _number(axes, "yorigin", 0) - y
    angle = math.radians(_number(axes, "angle", 0))
    return torch.tensor(
        [
            (math.cos(angle) * right + math.sin(angle) * up) / _number(axes, "xscale", 1),
            0.0,
            (-math.sin(angle) * right + math.cos(angle) * up) / _number(axes, "yscale", 1),
        ],
        dtype=torch.float64,
    )


def _part(item: ElementTree.Element, name: str, path: Path) -> ElementTree.Element:
    found = item.find(f"property[@name='{name}']/object")
    if found is None:
        raise ValueError(f"{path} must be a Tracker file with a {name}; it has none.")
    return found


def _named(item: ElementTree.Element, name: str) -> Iterator[tuple[str, ElementTree.Element]]:
    for entry in item.findall(f"property[@name='{name}']/property"):
        content = entry.find("object")
        if content is not None:
            yield entry.get("name", ""), content


def _children(item: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [content for _, content in _named(item, name)]


def _number(item: ElementTree.Element, name: str, default: float) -> float:
    found = item.find(f"property[@name='{name}']")
    return default if found is None or found.text is None else float(found.text)
