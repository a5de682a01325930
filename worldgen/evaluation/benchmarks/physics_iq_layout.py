"""The folders and file names of Physics-IQ: 66 scenarios, each filmed twice from three sides.

Real videos are ``0001_testing-videos_30FPS_perspective-left_take-1_trimmed-NAME.mp4``, official masks
``0001_video-masks_30FPS_...``, generated ones ``0001_perspective-left_trimmed-NAME.mp4``; take 2 of number N
has the number N + 198. Names of the scenarios: google-deepmind/physics-IQ-benchmark (CC BY 4.0).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
_NUMBER = re.compile(r"(\d{4})_")


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
    made = {int(match[1]): path for path in _mp4s(generated) if (match := _NUMBER.match(path.name))}
    if not made:
        raise ValueError(
            f"{generated} must hold videos named as {Slot(1, SCENARIOS[0], VIEWS[0]).generated_name}; got "
            "none. Name them with the benchmark's numbers."
        )
    slots = tuple(_slots(names))
    half = len(slots)
    pairs, missing = [], []
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
        if slot.number not in made:
            missing.append(Missing(slot.generated_name, "generated video missing"))
        elif all(takes):
            pairs.append(FilledSlot(slot, made[slot.number], (takes[0], takes[1])))
    known = {slot.number for slot in slots}
    missing += [
        Missing(path.name, f"no real video has the number {number:04d}")
        for number, path in sorted(made.items())
        if number not in known
    ]
    return Layout(tuple(pairs), slots, tuple(missing))


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
        key = (scenario, view, int(take), int(rate))
        if kind == "testing-videos":
            videos[key] = path
            if take == "1":
                numbers.setdefault(scenario, {})[view] = int(number)
        elif "generated" not in path.relative_to(real).parts:
            masks[key] = path
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


def _mp4s(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".mp4" and path.is_file())
