"""A long description of a clip, from the truth alone: what there is and where, what happens, the camera.

Generators that are trained on long, faithful captions follow prompts better (Betker et al. 2023, "Improving
Image Generation with Better Captions", DALL-E 3; Sora's re-captioning). Here nothing has to be guessed: the
words come from the scene's objects, its states and its contacts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Protocol

import numpy as np

from worldgen.simulation.scenes.events import (
    BEGINNINGS,
    CameraView,
    Event,
    EventKind,
    find_events,
    size_of,
    view_bodies,
)
from worldgen.types import Camera, Trajectory

_STREAM = 20_231_019  # apart from the short prompt's draws, which come from the same seed
_MOST_EVENTS = 12
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_PARTS = (
    (0.25, "a quarter"),
    (1 / 3, "a third"),
    (0.5, "half"),
    (2 / 3, "two thirds"),
    (0.75, "three quarters"),
)
_OPENINGS = ("The clip shows {}.", "The video shows {}.", "In this clip there {be} {}.", "There {be} {}.")
_LEADS = ("After about {} {}, {}.", "About {} {} in, {}.", "At about {} {}, {}.")
_FIRST = ("At first, {}.", "At the start, {}.", "In the beginning, {}.")
_LARGER = (
    "{A} is larger than {b}.",
    "{B} is smaller than {a}.",
    "Of the two, {a} is the larger one.",
)
_EQUAL = ("They are about the same size.", "Both are about equally large.", "The two are of similar size.")
_HIGHER = ("{A} starts higher than {b}.", "{B} starts lower than {a}.")
_CLOSER = ("{A} is closer to the camera than {b}.", "{B} is farther away than {a}.")
_COLLISIONS = ("{} collides with {}", "{} bumps into {}", "{} runs into {}", "{} strikes {}")
_FIXED = (
    "The camera stands still and looks at the scene {} with {} in the background.",
    "A fixed camera films the scene {} before {}.",
    "The camera does not move; it looks {} and shows {} behind the scene.",
)
_MOVED = (
    "The camera moves while it films the scene {} with {} in the background.",
    "A moving camera films the scene {} before {}.",
)


class Named(Protocol):
    """What a description wants to know of an object; one without a ``shape`` is a ball."""

    @property
    def color(self) -> str:
        """Such as "red"."""
        ...

    @property
    def material(self) -> str:
        """Such as "wooden"; "" when it is not known."""
        ...


def describe_at_length(
    things: Sequence[Named],
    trajectory: Trajectory,
    camera: Camera,
    gravity: float,
    backdrop: str,
    wording: int,
    visible: np.ndarray | None = None,
    stands: Sequence[str] = (),
) -> str:
    """One paragraph on one clip; the same input gives the same words.

    Args:
        things: The N objects, in the trajectory's order.
        trajectory: B = 1, with contacts where impacts are to be told.
        camera: B = 1.
        gravity: m/s^2, downward.
        backdrop: What stands behind, such as `worldgen.simulation.scenes.naming.name_backdrop` says.
        wording: Seed of the choice of words.
        visible: (T N) whether any pixel of an object can be seen.
        stands: What else stands there and does not move, such as "ramp" or "screen".

    Raises:
        ValueError: Not one clip, or not as many things as the trajectory has objects.
    """
    batch, _, count, _ = trajectory.position.shape
    if batch != 1 or count != len(things):
        raise ValueError(
            "A description needs one clip with a name for every object; "
            f"got {batch} clips of {count} objects and {len(things)} names."
        )
    view = view_bodies(trajectory, camera)
    events = find_events(trajectory, view, gravity, visible)
    return _Writer(things, size_of(trajectory), view, wording, stands).write(events, camera, backdrop)


class _Writer:
    """Puts facts into sentences, drawing each choice of words from its own generator."""

    def __init__(
        self, things: Sequence[Named], size: np.ndarray, view: CameraView, wording: int, stands: Sequence[str]
    ) -> None:
        self.rng = np.random.default_rng([wording, _STREAM])
        self.size, self.view, self.stands = size, view, stands
        self.shapes = [str(getattr(thing, "shape", "ball")) for thing in things]
        self.full = [
            " ".join(word for word in (thing.color, thing.material, shape) if word)
            for thing, shape in zip(things, self.shapes, strict=True)
        ]
        self.order, self.row = self._arrange()
        self.names = self._tell_apart([thing.color for thing in things])
        self.hits: Counter[tuple[int, int]] = Counter()
        self.subject = -1
        self.clock = ""

    def write(self, events: list[Event], camera: Camera, backdrop: str) -> str:
        """The paragraph."""
        later = [event for event in events if event.kind not in BEGINNINGS][:_MOST_EVENTS]
        blows = [event.time for event in later if event.kind is EventKind.COLLIDES]
        story = [self._beginning([event for event in events if event.kind in BEGINNINGS])]
        for event in later:
            story.append(self._timed(event))
            follows = [time for time in blows if event.time < time < event.time + 0.2]
            goes_on = max(*np.abs(event.way), *np.abs(event.way_of_other)) > 0.1
            if event.kind is EventKind.COLLIDES and len(blows) < 3 and not follows and goes_on:
                story.append(self._outcome(event))
        scene = [self._opening(), *self._comparison()]
        if self.stands:
            seen = _join([_a(stand) for stand in self.stands])
            scene.append(self._choose(("There is also {}.", "The scene also has {}.")).format(seen))
        angle = self._angle(camera, backdrop)
        parts = [angle, *scene, *story] if self.rng.random() < 0.3 else [*scene, *story, angle]
        return " ".join(_capital(part) for part in parts)

    def _arrange(self) -> tuple[list[int], str]:
        """The order in which objects are named, and the words for it: "" when they stand in no row."""
        view, count = self.view, len(self.full)
        reach = view.radius[0]
        for values, words in (
            (view.right[0], "from left to right"),
            (view.up[0], "from bottom to top"),
            (view.depth[0] / np.maximum(view.depth[0].mean(), 1e-6), "from front to back"),
        ):
            order = np.argsort(values, kind="stable").tolist()
            pairs = list(zip(order, order[1:], strict=False))
            if all(values[b] - values[a] > 0.4 * (reach[a] + reach[b]) for a, b in pairs):
                return order, words
        return list(range(count)), ""

    def _tell_apart(self, colors: list[str]) -> list[str]:
        """The shortest name of each object that no other has, with its place in the row as a last resort."""
        short = [f"{color} {shape}" for color, shape in zip(colors, self.shapes, strict=True)]
        for names in (short, self.full):
            if len(set(names)) == len(names):
                return [f"the {name}" for name in names]
        kinds, seen = Counter(self.full), Counter()
        told = [""] * len(self.full)
        side = f" {self.row.partition(' to ')[0]}".replace("from", "from the") if self.row else ""
        for index in self.order:
            name = self.full[index]
            seen[name] += 1
            place = f"{_ORDINALS[seen[name] - 1]} " if kinds[name] > 1 else ""
            told[index] = f"the {place}{name}{side if place else ''}"
        return told

    def _opening(self) -> str:
        count, shapes = len(self.full), set(self.shapes)
        be = "is" if count == 1 else "are"
        if count == 1:
            x = float(self.view.right[0, 0])
            place = "on the left" if x < -1 / 3 else "on the right" if x > 1 / 3 else "in the middle"
            return self._choose(_OPENINGS).format(f"{_a(self.full[0])} {place} of the picture", be=be)
        number = _NUMBERS[count]
        noun = _plural(shapes.pop()) if len(shapes) == 1 else "objects"
        if len(set(self.full)) == 1:
            words = f"{number} {_plural(self.full[0])}" + (f" in a row {self.row}" if self.row else "")
            return self._choose(_OPENINGS).format(words, be=be)
        listed = [_several(name, len([*same])) for name, same in groupby(self.full[i] for i in self.order)]
        if count == 2 and self.row:
            sides = {
                "from left to right": ("on the left", "on the right"),
                "from bottom to top": ("below", "above"),
                "from front to back": ("in front", "behind"),
            }[self.row]
            listed = [f"{name} {side}" for name, side in zip(listed, sides, strict=True)]
        lead = f" {self.row}" if self.row and count > 2 else ""
        return self._choose(_OPENINGS).format(f"{number} {noun}{lead}: {_join(listed)}", be=be)

    def _comparison(self) -> list[str]:
        """Sizes, and what the row does not say: heights and distances."""
        if len(self.full) < 2:
            return []
        small, large = int(self.size.argmin()), int(self.size.argmax())
        ratio = float(self.size[large] / self.size[small])
        if len(self.full) > 2:
            if ratio < 1.3:
                return []
            return [f"{self.names[large]} is the largest and {self.names[small]} is the smallest."]
        found = [self._choose(_EQUAL) if ratio < 1.1 else self._pair(_LARGER, large, small)]
        reach, up, depth = float(self.view.radius[0].sum()), self.view.up[0], self.view.depth[0]
        if self.row != "from bottom to top" and abs(up[0] - up[1]) > 0.5 * reach:
            found.append(self._pair(_HIGHER, int(up.argmax()), int(up.argmin())))
        if self.row != "from front to back" and abs(depth[0] - depth[1]) > self.size.sum():
            found.append(self._pair(_CLOSER, int(depth.argmin()), int(depth.argmax())))
        return found

    def _beginning(self, events: list[Event]) -> str:
        """How everything starts, objects that do the same told together."""
        together: dict[tuple[str, str], list[int]] = {}
        order = {body: place for place, body in enumerate(self.order)}
        for event in sorted(events, key=lambda event: order[event.body]):
            together.setdefault(self._start_words(event), []).append(event.body)
        clauses = []
        for (one, many), bodies in together.items():
            everything = len(bodies) == len(self.full) > 2
            if everything:
                subject = "all of them"
            elif len(bodies) == len(self.full) == 2:
                subject = str(self._choose(("both {}", "the two {}"))).format(self._noun())
            else:
                subject = _join([self.names[body] for body in bodies])
            clauses.append(f"{subject} {one if len(bodies) == 1 else many}")
        if len(events) == 1:
            self.subject = events[0].body
        return self._choose(_FIRST).format(_join(clauses))

    def _start_words(self, event: Event) -> tuple[str, str]:
        """The verb of a beginning, for one object and for several that begin alike."""
        way, pace = _direction(event.way), _speed(event.way)
        if event.kind is EventKind.FLIES and abs(event.way[1]) > 0.5 * abs(event.way[0]) and "to the" in way:
            way += " and upward" if event.way[1] > 0 else " and downward"
        if event.kind is EventKind.ROLLS and self.shapes[event.body] == "box":
            return f"tips {way}", f"tip {way}"
        one, many = {
            EventKind.FALLS: ("falls", "fall"),
            EventKind.FLIES: (f"flies {way}{pace}", f"fly {way}{pace}"),
            EventKind.SLIDES: (f"slides {way}{pace}", f"slide {way}{pace}"),
            EventKind.ROLLS: (f"rolls {way}{pace}", f"roll {way}{pace}"),
            EventKind.SPINS: ("spins in place", "spin in place"),
            EventKind.TUMBLES: (f"tumbles {way}{pace}", f"tumble {way}{pace}"),
            EventKind.STARTS: (f"starts to move {way}", f"start to move {way}"),
            EventKind.RESTS: ("is at rest", "are at rest"),
        }[event.kind]
        return one, many

    def _timed(self, event: Event) -> str:
        name = "it" if event.body == self.subject and self.rng.random() < 0.6 else self.names[event.body]
        clause = self._clause(event, name)
        self.subject = event.body if event.other < 0 else -1  # with two in a sentence, "it" could be either
        clock = f"{round(event.time, 1):g}"
        same, self.clock = clock == self.clock, clock
        if same:
            return self._choose(("Then {}.", "Right after that, {}.", "Just then, {}.")).format(clause)
        if clock == "0":
            return f"Almost at once, {clause}."
        return self._choose(_LEADS).format(clock, "second" if clock == "1" else "seconds", clause)

    def _clause(self, event: Event, name: str) -> str:
        if event.kind is EventKind.HITS:
            self.hits[event.body, -1] += 1
            again = " again" if self.hits[event.body, -1] > 1 else ""
            return f"{name} hits {_surface(event.normal)}{again}{_bounce(event)}"
        if event.kind is EventKind.COLLIDES:
            pair = min(event.body, event.other), max(event.body, event.other)
            self.hits[pair] += 1
            again = " again" if self.hits[pair] > 1 else ""
            return self._choose(_COLLISIONS).format(name, self.names[event.other]) + again
        if event.kind is EventKind.PASSES_BEHIND:
            return f"{name} passes behind {self.names[event.other]}"
        if event.kind is EventKind.SWINGS_BACK:
            return f"{name} turns around and moves back {_direction(event.way)}"
        if event.kind is EventKind.SETS_OFF:
            return f"{name} starts to move {_direction(event.way)}"
        if event.kind is EventKind.HIDES and "screen" in self.stands:
            return f"{name} disappears behind the screen"
        if event.kind is EventKind.LEAVES:
            return f"{name} leaves the picture {_direction(event.way)}"
        words = {
            EventKind.TOPPLES: ("topples over", "falls over"),
            EventKind.HIDES: ("disappears from sight", "is hidden from view"),
            EventKind.REAPPEARS: ("comes back into sight", "can be seen again"),
            EventKind.STOPS: ("comes to rest", "comes to a stop"),
        }[event.kind]
        return f"{name} {self._choose(words)}"

    def _outcome(self, event: Event) -> str:
        self.subject = -1
        return (
            f"{self._choose(('Afterwards', 'From then on'))}, {self.names[event.body]} {_motion(event.way)} "
            f"and {self.names[event.other]} {_motion(event.way_of_other)}."
        )

    def _angle(self, camera: Camera, backdrop: str) -> str:
        axes = self.view.axes
        eyes = camera.position.double().numpy().reshape(-1, 3)
        still = np.ptp(eyes, axis=0).max() < 0.02 and np.ptp(axes, axis=0).max() < 0.01
        down = float(np.degrees(np.arcsin(np.clip(axes[0, 2, 2], -1, 1))))  # the camera looks along -z
        angle = "from the side, slightly from above," if down > 4 else "from the side"
        angle = "from above" if down > 30 else angle
        return self._choose(_FIXED if still else _MOVED).format(angle, backdrop)

    def _pair(self, templates: tuple[str, ...], first: int, second: int) -> str:
        a, b = self.names[first], self.names[second]
        return self._choose(templates).format(a=a, b=b, A=_capital(a), B=_capital(b))

    def _noun(self) -> str:
        return _plural(self.shapes[0]) if len(set(self.shapes)) == 1 else "objects"

    def _choose(self, words: tuple[str, ...]) -> str:
        return words[int(self.rng.integers(len(words)))]


def _direction(way: tuple[float, float, float]) -> str:
    right, up, toward = way
    largest = max(abs(right), abs(up), abs(toward))
    if abs(right) > 0.3 * largest:  # sideways is what a picture shows best
        return "to the right" if right > 0 else "to the left"
    if abs(up) >= abs(toward):
        return "upward" if up > 0 else "downward"
    return "toward the camera" if toward > 0 else "away from the camera"


def _speed(way: tuple[float, float, float]) -> str:
    """In numbers: what "quickly" means is another thing in each family's short prompt."""
    speed = f"{round(float(np.linalg.norm(way)), 1):g}"
    return f" at about {speed} {'meter' if speed == '1' else 'meters'} per second"


def _motion(way: tuple[float, float, float]) -> str:
    return f"moves {_direction(way)}" if np.linalg.norm(way) > 0.1 else "stands still"


def _surface(normal: tuple[float, float, float]) -> str:
    return "the floor" if normal[2] > 0.98 else "the slope" if normal[2] > 0.3 else "the wall"


def _bounce(event: Event) -> str:
    rebound = event.rebound
    if rebound is None:
        return " and bounces up" if event.way[1] > 0.3 else ""
    if rebound > 0.9:
        return " and bounces to almost its former height"
    if rebound < 0.15:
        return " and hardly bounces"
    part = min(_PARTS, key=lambda part: abs(part[0] - rebound))[1]
    return f" and bounces to about {part} of its former height"


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _several(noun: str, count: int) -> str:
    return _a(noun) if count == 1 else f"{_NUMBERS[min(count, 10)]} {_plural(noun)}"


def _plural(noun: str) -> str:
    return f"{noun}es" if noun.endswith(("x", "s", "ch", "sh")) else f"{noun}s"


def _join(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
