"""Hand tracks of real experiments: Tracker files (.trk) become trajectories in metres, and back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from worldgen.metrics.tracks.sightings import (
    Sightings,
    TrackFile,
    assemble,
    believable_rate,
    frame_of,
    given_rate,
)
from worldgen.types import Trajectory

_SCALE = 100.0
"""Pixels per metre of files written here; only their axes see it."""
_FILE = """<?xml version="1.0" encoding="UTF-8"?>
<object class="org.opensourcephysics.cabrillo.tracker.TrackerPanel">
<property name="length_unit" type="string">{unit}</property>
<property name="videoclip" type="object"><object class="org.opensourcephysics.media.core.VideoClip">
<property name="video_framecount" type="int">{frames}</property>
<property name="startframe" type="int">0</property>
<property name="stepsize" type="int">1</property>
<property name="stepcount" type="int">{frames}</property>
</object></property>
<property name="clipcontrol" type="object">
<object class="org.opensourcephysics.media.core.StepperClipControl">
<property name="delta_t" type="double">{milliseconds}</property>
</object></property>
<property name="coords" type="object">
<object class="org.opensourcephysics.media.core.ImageCoordSystem">
<property name="framedata" type="array"
 class="[Lorg.opensourcephysics.media.core.ImageCoordSystem$FrameData;">
<property name="[0]" type="object">
<object class="org.opensourcephysics.media.core.ImageCoordSystem$FrameData">
<property name="xorigin" type="double">0.0</property>
<property name="yorigin" type="double">0.0</property>
<property name="angle" type="double">0.0</property>
<property name="xscale" type="double">{scale}</property>
<property name="yscale" type="double">{scale}</property>
</object></property></property></object></property>
<property name="tracks" type="collection" class="java.util.ArrayList">{tracks}
</property></object>
"""
_MASS = """
<property name="item" type="object"><object class="org.opensourcephysics.cabrillo.tracker.PointMass">
<property name="mass" type="double">{mass}</property>
<property name="name" type="string">{name}</property>
<property name="framedata" type="array" class="[Lorg.opensourcephysics.cabrillo.tracker.PointMass$FrameData;">
{points}</property></object></property>"""
_POINT = """<property name="[{frame}]" type="object">
<object class="org.opensourcephysics.cabrillo.tracker.PointMass$FrameData">
<property name="x" type="double">{x}</property><property name="y" type="double">{y}</property>
</object></property>
"""


def read_trk(path: str | Path, fps: float | None = None) -> TrackFile:
    """The point masses of a Tracker file (Open Source Physics, XML), in its own axes and scale.

    Args:
        path: A .trk file with a video clip, a coordinate system and at least one point mass.
        fps: Frames per second of its video, if it is not as the file says.

    Returns:
        B = 1, one object per point mass, from the first marked step to the last; x to the right and z up in
        metres, y = 0, extent 0 (points), ``present`` where a point was marked. Where only every n-th step is
        marked, those are the frames; a note says so.

    Raises:
        ValueError: The file is not a Tracker file, lacks one of these parts, or holds what is no number.
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
    start, stride = int(_number(clip, "startframe", 0)), max(int(_number(clip, "stepsize", 1)), 1)
    rate = believable_rate(1 / seconds, f"{path}: delta_t") if fps is None else given_rate(fps, str(path))
    objects = []
    for number, track in enumerate(tracks):
        one = Sightings(
            track.findtext("property[@name='name']") or f"object {number}", mass=_number(track, "mass", 1.0)
        )
        for name, point in _named(track, "framedata"):
            step, between = divmod(frame_of(name.strip("[]"), f"{path}, {one.name}") - start, stride)
            if step >= 0 and not between:  # Tracker hides what was marked outside its steps
                one.points[step] = _to_world(_number(point, "x", 0), _number(point, "y", 0), axes)
        objects.append(one)
    metric = root.findtext("property[@name='length_unit']") != "px"
    return assemble(path, objects, rate / stride, metric)


def trk_of(tracks: Trajectory) -> str:
    """A Tracker file of one clip's tracks: a point mass per object, x to the right and z up, without video.

    Depth (y), sizes and rotations have no place in it. Pixels without scale get the length unit px.
    """
    seconds, frames = float(tracks.dt[0]), tracks.position.shape[1]
    scale = _SCALE if tracks.metric else 1.0
    masses = []
    for number in tracks.present[0].any(dim=0).nonzero()[:, 0].tolist():
        points = "".join(
            _POINT.format(
                frame=frame,
                x=repr(scale * float(tracks.position[0, frame, number, 0])),
                y=repr(-scale * float(tracks.position[0, frame, number, 2])),
            )
            for frame in tracks.present[0, :, number].nonzero()[:, 0].tolist()
        )
        mass = repr(float(tracks.mass[0, number]))
        masses.append(_MASS.format(mass=mass, name=f"object {number}", points=points))
    return _FILE.format(
        unit="m" if tracks.metric else "px",
        frames=frames,
        milliseconds=repr(1000 * seconds),
        scale=scale,
        tracks="".join(masses),
    )


def _to_world(x: float, y: float, axes: ElementTree.Element) -> tuple[float, float, float]:
    """Pixels (y down) to metres (z up) in Tracker's axes, turned counterclockwise by ``angle`` degrees."""
    right, up = x - _number(axes, "xorigin", 0), _number(axes, "yorigin", 0) - y
    angle = math.radians(_number(axes, "angle", 0))
    return (
        (math.cos(angle) * right + math.sin(angle) * up) / _number(axes, "xscale", 1),
        0.0,
        (-math.sin(angle) * right + math.cos(angle) * up) / _number(axes, "yscale", 1),
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
    text = item.findtext(f"property[@name='{name}']")
    try:
        value = float(text) if text else default
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"A Tracker file's {name} must be a finite number; got {text!r}. Delete that point.")
    return value
