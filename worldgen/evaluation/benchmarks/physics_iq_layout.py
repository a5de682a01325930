"""The folders and file names of Physics-IQ: 66 scenarios, each filmed twice from three sides.

Real videos are ``0001_testing-videos_30FPS_perspective-left_take-1_trimmed-NAME.mp4``, official masks
``0001_video-masks_30FPS_...``, generated ones ``0001_perspective-left_trimmed-NAME.mp4``; take 2 of number N
has the number N + 198. Names of the scenarios: google-deepmind/physics-IQ-benchmark (CC BY 4.0).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worldgen.data.reading.folders import VIDEO_SUFFIXES
from worldgen.metrics.measure import Missing

VIEWS = ("perspective-left", "perspective-center", "perspective-right")
SCENARIOS = tuple(
    """
    ball-and-block-fall ball-behind-rotating-paper ball-hits-duck ball-hits-nothing ball-in-basket
    ball-in-sand ball-ramp ball-rolls-off ball-rolls-on-glass ball-train balls-collide block-domino
    blow-balloon cut-orange cut-paper domino-in-juice dominos-with-space double-cradle duck-and-dominos
    duck-falls-in-box duck-static fill-glass-red-drink glass-stays-same juice-in-water light-on-block
    light-on-mug light-on-mug-block light-on-statue liquid-on-duck liquid-overfill lit-candle magnet-domino
    magnet-transparent-peakaboo magnet-wrench marble-run-x marble-run-y match match-blows-balloon
    mirror-ball-fall mirror-ball-rotate mirror-teapot-rotate mug-breaks napkin-soak paint-on-glass
    paper-fall-water paper-in-water paper-smoke potato-in-water roll-behind-box roll-front-box roll-in-box
    rolling-reflection silk-cover single-cradle siphon smiley-ball-rotates solid-ball-peakaboo stable-blocks
    teapot-rotates two-balls-pass unstable-block-stack water-in-juice weight-on-ceramic weight-on-paper
    weight-on-pillow weight-protects-duck
    """.split()  # noqa: SIM905 sixty-six quoted names are harder to read
)
"""In the order of their numbers."""
TAKES = (1, 2)
RATE = 30
"""Frames per second of the real videos; others are made of these."""
_REAL = re.compile(
    r"(\d{4})_(testing-videos|video-masks)_(\d+)FPS_(perspective-\w+)_take-([12])_trimmed-(.+)\.mp4"
)
_NUMBER = re.compile(r"\d{4}_")
_VIEW = re.compile(r"perspective-[a-z]+")
_SCENARIO = re.compile(r"trimmed-([a-z0-9-]*[a-z0-9])")


@dataclass(frozen=True)
class Take:
    """One take of a view, at one frame rate."""

    rate: int
    video: Path
    mask: Path | None
    """Official masks, where there are some."""


@dataclass(frozen=True)
class Slot:
    """What belongs together: a view of a scenario."""

    number: int
    scenario: str
    view: str

    @property
    def generated_name(self) -> str:
        return f"{self.number:04d}_{self.view}_trimmed-{self.scenario}.mp4"

    def real_name(self, take: int, number: int) -> str:
        return f"{number:04d}_testing-videos_{RATE}FPS_{self.view}_take-{take}_trimmed-{self.scenario}.mp4"


@dataclass(frozen=True)
class FilledSlot:
    """A slot of which everything is there."""

    slot: Slot
    generated: Path
    takes: tuple[tuple[Take, ...], tuple[Take, ...]]
    """Take 1 and take 2, each at one or more rates."""


@dataclass(frozen=True)
class Layout:
    """What two folders hold."""

    pairs: tuple[FilledSlot, ...]
    slots: tuple[Slot, ...]
    """All that there ought to be."""
    missing: tuple[Missing, ...]


def find_pairs(generated: Path, real: Path) -> Layout:
    """Match generated videos (by number) with both real takes.

    A folder with other scenarios than the official ones, in the official layout, is a benchmark of its own.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No real or no generated videos with official names.
    """
    for what, folder in (("generated", generated), ("real", real)):
        if not folder.is_dir():
            raise FileNotFoundError(f"No folder of {what} videos at {folder}. Check the path.")
    videos, masks, names = _find_real(real)
    if not videos:
        raise ValueError(
            f"{real} must hold real videos named as {Slot(1, SCENARIOS[0], VIEWS[0]).real_name(1, 1)}; "
            "got none. Give the folder physics-IQ-benchmark."
        )
    slots = tuple(_slots(names))
    made, missing = _find_generated(generated, {slot.number: slot for slot in slots})
    refused = {one.file[:5] for one in missing}
    if not made and not any(map(_NUMBER.match, refused)):
        raise ValueError(
            f"{generated} must hold videos named as {Slot(1, SCENARIOS[0], VIEWS[0]).generated_name}; got "
            "none. Name them with the benchmark's numbers."
        )
    half = len(slots)
    pairs = []
    for slot in slots:
        takes = []
        for take in TAKES:
            found = tuple(
                Take(rate, path, masks.get((slot.scenario, slot.view, take, rate)))
                for (scenario, view, number, rate), path in sorted(videos.items())
                if (scenario, view, number) == (slot.scenario, slot.view, take)
            )
            if not found:
                number = slot.number + half * (take - 1)
                missing.append(Missing(slot.real_name(take, number), "real video missing"))
            takes.append(found)
        if slot.number in made and all(takes):
            pairs.append(FilledSlot(slot, made[slot.number], (takes[0], takes[1])))
        elif slot.number not in made and f"{slot.number:04d}_" not in refused:
            missing.append(Missing(slot.generated_name, "generated video missing"))
    return Layout(tuple(pairs), slots, tuple(missing))


def find_runs(generated: Path) -> tuple[Path, ...]:
    """The folder itself; or its sub-folders, where it has no videos and they have: a run, or seed, each."""
    if not generated.is_dir() or _videos_in(generated):
        return (generated,)
    inner = sorted(path for path in generated.iterdir() if path.is_dir() and not path.name.startswith("."))
    return tuple(path for path in inner if any(map(_is_numbered, _videos_in(path)))) or (generated,)


def _find_generated(generated: Path, slots: dict[int, Slot]) -> tuple[dict[int, Path], list[Missing]]:
    """Videos by number, and why the others are not judged."""
    paths = _videos_in(generated)
    counts = Counter(path.name[:4] for path in paths if _is_numbered(path))
    made: dict[int, Path] = {}
    missing = []
    for path in paths:
        why = _refusal(path, slots, counts[path.name[:4]])
        if why:
            missing.append(Missing(path.name, why))
        else:
            made[int(path.name[:4])] = path
    folders = sorted(path for path in generated.iterdir() if path.is_dir())
    missing += [
        Missing(f"{folder.name}/", "not looked into: there are videos beside it")
        for folder in folders
        if paths and any(map(_is_numbered, _videos_in(folder)))
    ]
    return made, missing


def _refusal(path: Path, slots: dict[int, Slot], count: int) -> str:
    """Why a generated video is not judged; "" where it is."""
    if not _is_numbered(path):
        return "its name must begin with a number of the benchmark, as 0001_"
    if path.suffix.lower() != ".mp4":
        return "generated videos must be .mp4; convert it"
    number = int(path.name[:4])
    if number not in slots:
        first = number - len(slots)
        official = len(slots) == len(SCENARIOS) * len(VIEWS)
        if official and first in slots:
            return f"{number:04d} is the second take of {first:04d}, whose number generated videos have"
        return f"no real video has the number {number:04d}"
    if count > 1:
        return (
            f"{count} videos have the number {number:04d}; keep one, or give each seed a folder of its own, "
            "with the same names"
        )
    slot = slots[number]
    scenarios = [part for part in re.split(r"[_.]|trimmed-", path.name) if part in SCENARIOS]
    said = [*_VIEW.findall(path.name), *(_SCENARIO.findall(path.name) or scenarios)]
    if all(part in (slot.view, slot.scenario) for part in said):
        return ""
    return f"it is named {' of '.join(said)}, but {number:04d} is {slot.view} of {slot.scenario}"


def _videos_in(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()
    )


def _is_numbered(path: Path) -> bool:
    return _NUMBER.match(path.name) is not None


def _find_real(
    real: Path,
) -> tuple[dict[tuple[str, str, int, int], Path], dict[tuple[str, str, int, int], Path], dict[str, dict]]:
    """Videos and masks by scenario, view, take and rate; and the number of each scenario's views."""
    videos: dict[tuple[str, str, int, int], Path] = {}
    masks: dict[tuple[str, str, int, int], Path] = {}
    numbers: dict[str, dict[str, int]] = {}
    for path in sorted(real.rglob("*.mp4")):
        match = _REAL.fullmatch(path.name)
        if match is None:
            continue
        number, kind, rate, view, take, scenario = match.groups()
        if kind != "testing-videos" and "generated" in path.relative_to(real).parts:
            continue
        key = (scenario, view, int(take), int(rate))
        found = videos if kind == "testing-videos" else masks
        if key in found:
            raise ValueError(
                f"{real} must hold each video once; {found[key].relative_to(real)} and "
                f"{path.relative_to(real)} are of one scene, view, take and rate. Move one away."
            )
        found[key] = path
        if kind == "testing-videos" and take == "1":
            numbers.setdefault(scenario, {})[view] = int(number)
    return videos, masks, numbers


def official_slots() -> Iterator[Slot]:
    """All 198 views of the benchmark, in order."""
    for index, scenario in enumerate(SCENARIOS):
        for side, view in enumerate(VIEWS):
            yield Slot(len(VIEWS) * index + side + 1, scenario, view)


def _slots(names: dict[str, dict[str, int]]) -> Iterator[Slot]:
    if set(names) & set(SCENARIOS):
        yield from official_slots()
        return
    for scenario, views in sorted(names.items(), key=lambda item: min(item[1].values())):
        for view, number in sorted(views.items(), key=lambda item: item[1]):
            yield Slot(number, scenario, view)
