"""Judge tracks without their video, and export clips and tracks for other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from worldgen.data.shards.shards import read_index
from worldgen.data.sources import ShardedClips
from worldgen.evaluation.cases import SHOWN_VIOLATIONS
from worldgen.files import atomic_folder, progress_bar
from worldgen.metrics.checks.assess import assess
from worldgen.metrics.checks.replay import assess_replay
from worldgen.metrics.measure import Row
from worldgen.metrics.tracks.files import SUFFIXES, read_tracks, write_tracks
from worldgen.report.cases import Case, Exhibit
from worldgen.report.report import Report
from worldgen.report.terminal import print_report
from worldgen.report.write import write_report
from worldgen.simulation.exports import blender_script_of, mjcf_of, mocap_mjcf_of
from worldgen.simulation.violations.graded import freeze, reverse
from worldgen.simulation.violations.refilm import take_states
from worldgen.types import Clip, Trajectory

_SIZE = 96
"""Pixels of the drawing that stands in for a video."""
_SHORTEST = 3
_PICTURED = 600
"""Frames that are drawn at most; of longer tracks every n-th is."""
_SHOWN: tuple[tuple[str, Callable[[Clip], Clip]], ...] = (
    ("tracks", lambda clip: clip),
    (f"{SHOWN_VIOLATIONS[0]} (control)", freeze),
    (f"{SHOWN_VIOLATIONS[1]} (control)", reverse),
)
NOTES = (
    "These are tracks without a video: the pictures are drawings of them.",
    "Objects without a size are points: they touch nothing, and their replay is a flight without a floor.",
)


def evaluate_tracks(path: Path, out: Path, fps: float | None = None) -> Path:
    """Check the tracks of a file, their replay and their controls, and report.

    Args:
        path: A track file; see `metrics.tracking.files.read_tracks`.
        out: Folder of the report.
        fps: Frames per second, where the file does not say.

    Raises:
        FileNotFoundError: No such file.
        ValueError: A file that cannot be read, or tracks of fewer than three frames.
    """
    found = read_tracks(path, fps)
    tracks = found.tracks
    frames, count = tracks.position.shape[1:3]
    if frames < _SHORTEST:
        raise ValueError(f"{path} must hold tracks of {_SHORTEST} frames or more to be judged; got {frames}.")
    floor = _floor_of(tracks)
    every = -(-frames // _PICTURED)
    with progress_bar("steps") as bar:
        task = bar.add_task(f"Judging {count} objects over {frames} frames", total=2 * len(_SHOWN))
        exhibits = []
        for exhibit in _exhibits(path.stem, tracks, floor, every):
            exhibits.append(exhibit)
            bar.advance(task)
    case = Case(path.stem, "", 0, tuple(exhibits))
    pictured = (
        (f"Pictures, plots and the tracks of report.json hold every {every}-th frame; all are judged.",)
        if every > 1
        else ()
    )
    rate, unit = 1 / float(tracks.dt[0]), "metres" if tracks.metric else "pixels without scale"
    report = Report(
        f"Physics of the tracks in {path.name}",
        (Row("objects", float(count)), Row("frames", float(frames))),
        f"{count} objects over {frames} frames, {rate:.4g} a second, in {unit}. The same checks on the same "
        "tracks held still and played backward stand beside them, and a simulation that starts as they do.",
        (case,),
        notes=(*found.notes, *pictured, *NOTES),
        remedy="" if tracks.metric else "tracks in metres turn most of them on",
    )
    print_report(report)
    return write_report(out, report)


def draw_tracks(tracks: Trajectory) -> torch.Tensor:
    """Frames (1 T 3 H W) that show each object of one clip as a disc where it is, seen along y."""
    seen = tracks.present[0]
    places = tracks.position[0][..., [0, 2]].double()
    shown = places[seen] if bool(seen.any()) else places.reshape(-1, 2)[:1]
    radius = tracks.extent[0, :, 2].double()
    low, high = shown.min(dim=0).values - radius.max(), shown.max(dim=0).values + radius.max()
    span = max(float((high - low).max()), 1e-9) * 1.1
    pixel = span / _SIZE
    corner = (low + high) / 2 - span / 2
    grid = (torch.arange(_SIZE) + 0.5).double() * pixel
    x, z = corner[0] + grid, corner[1] + grid.flip(0)
    frames = torch.full((1, len(places), 3, _SIZE, _SIZE), 0.93)
    for frame, number in seen.nonzero().tolist():
        reach = max(float(radius[number]), 1.5 * pixel)
        center = places[frame, number]
        disc = (x - center[0]).square()[None] + (z - center[1]).square()[:, None] < reach**2
        hue = torch.tensor([number * 0.37 % 1.0, 0.2, 1 - number * 0.37 % 1.0]) * 0.8
        frames[0, frame] = torch.where(disc, hue[:, None, None], frames[0, frame])
    return frames


def write_exports(clips: list[Path], out: Path, most: int | None = None) -> list[Path]:
    """Write each clip as NAME.xml (free bodies), .mocap.xml (held ones), .py (Blender) and .tracks.csv.

    Args:
        clips: Folders of shards, single shards (.tar beside their index) or track files.
        out: Folder of what is written; made if it is missing.
        most: Clips to export of each folder or shard; all when None.

    Returns:
        What was written.

    Raises:
        FileNotFoundError: No such folder or file.
        ValueError: Something that is neither, or a clip without states in metres.
    """
    written = []
    for path in clips:
        for name, trajectory, clip in _opened(path, most):
            scene = None if clip is None or clip.scenes is None else clip.scenes[0]
            camera = None if clip is None else clip.camera
            floor = 0.0 if scene else _floor_of(trajectory)
            texts = {
                f"{name}.xml": mjcf_of(trajectory, scene, floor),
                f"{name}.mocap.xml": mocap_mjcf_of(trajectory, scene, floor),
                f"{name}.py": blender_script_of(trajectory, scene, camera, floor),
            }
            with atomic_folder(out) as partial:
                for file, text in texts.items():
                    (partial / file).write_text(text)
                write_tracks(partial / f"{name}.tracks.csv", trajectory)
            written += [out / file for file in (*texts, f"{name}.tracks.csv")]
    if not written:
        raise ValueError("worldgen export needs at least one clip; got none. Name a folder of shards.")
    return written


def _opened(path: Path, most: int | None) -> Iterator[tuple[str, Trajectory, Clip | None]]:
    if path.suffix.lower() in SUFFIXES:
        yield path.stem, read_tracks(path).tracks, None
        return
    shard = path.suffix == ".tar"
    if shard and not path.is_file():
        raise FileNotFoundError(f"No shard at {path}. Check the path.")
    if not shard and not path.is_dir():
        raise FileNotFoundError(
            f"worldgen export takes a folder of shards, a shard (.tar) or tracks ({', '.join(SUFFIXES)}); "
            f"there is none at {path}."
        )
    source = ShardedClips(path.parent if shard else path, skip=("depth", "masks"))
    only = {entry.id for entry in read_index(path)} if shard else None
    places = [place for place in range(len(source)) if only is None or source.name(place) in only]
    for place in places[:most]:
        clip = source[place]
        if clip.truth is None:
            raise ValueError(f"{source.name(place)} of {path} has no states to export; use a simulated clip.")
        yield source.name(place), clip.truth, clip


def _exhibits(name: str, tracks: Trajectory, floor: float | None, every: int) -> Iterator[Exhibit]:
    """All frames judged, and every n-th of them shown."""
    kept = torch.arange(0, tracks.position.shape[1], every)
    rate = 1 / tracks.dt.float()
    blank = torch.zeros(1, 1, 3, 1, 1).expand(-1, tracks.position.shape[1], -1, -1, -1)
    whole = Clip(blank, rate, ("",), truth=tracks)
    pictures = Clip(draw_tracks(_thinned(tracks, kept)), rate / every, ("",))
    for label, change in _SHOWN:
        found, plain = change(whole).truth, change(pictures)
        assert found is not None
        report = assess(found, clip=name, source="readout", floor=floor, expected=_between(found))
        is_control = change is not _SHOWN[0][1]
        yield Exhibit(label, plain, _thinned(found, kept), report, is_violation=is_control)
        report, again = assess_replay(found, clip=name, floor=floor)
        shown = None if again is None else _thinned(again.trajectory, kept)
        drawn = plain if shown is None else replace(plain, frames=draw_tracks(shown))
        yield Exhibit(f"{label}, replayed", drawn, shown, report, is_violation=is_control)


def _thinned(tracks: Trajectory, kept: torch.Tensor) -> Trajectory:
    if len(kept) == tracks.position.shape[1]:
        return tracks
    return replace(take_states(tracks, kept), dt=tracks.dt * int(kept[1] - kept[0]), contacts=tracks.contacts)


def _between(tracks: Trajectory) -> torch.Tensor:
    """Frames (T N) from an object's first sighting to its last: nobody says where it was before or after."""
    seen = tracks.present[0].int()
    return (seen.cummax(dim=0).values & seen.flip(0).cummax(dim=0).values.flip(0)).bool()


def _floor_of(tracks: Trajectory) -> float | None:
    """Objects with a size stand on z = 0, if none is ever below; points have no floor."""
    seen = tracks.present[0].any(dim=0)
    sized = bool((tracks.extent[0, seen, 2] > 0).all())
    lowest = (tracks.position[0, ..., 2] - tracks.extent[0, :, 2])[tracks.present[0]]
    if not (tracks.metric and sized and lowest.numel()):
        return None
    return 0.0 if float(lowest.min()) > -0.1 * float(tracks.extent[0, seen, 2].max()) else None
