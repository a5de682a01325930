"""Protocols by which judges are asked about physics: VideoPhy-2 and PhyGenEval.

The words of every question can be changed; by default they are ours. Raters that were trained on certain
words, such as VideoPhy-2's own, want those.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.metrics.intervals import exact_interval, mean_interval
from worldgen.metrics.measure import Measure
from worldgen.metrics.vlm.judge import Judge

BLIND_TO = ("what the judge does not see or know", "small errors of speed and place")
_MATCH = (
    "These are frames of a video, in order. On a scale from 1 (not at all) to 5 (perfectly), how well does "
    'the video show this: "{caption}"? Reply with the number alone.'
)
_PHYSICAL = (
    "These are frames of a video, in order. On a scale from 1 (grave violations) to 5 (none), how well does "
    "what happens obey the laws of physics? Reply with the number alone."
)
_RULE = (
    'These are frames of a video, in order. Does the video obey this rule: "{rule}"? Reply with the number '
    "alone: 0 for no, 1 for yes, 2 if it cannot be told."
)
_GRADE = (
    'Look at this frame of a video. From 0 (not at all) to 3 (clearly), does it show this: "{text}"? Reply '
    "with the number alone."
)
_SEQUENCE = (
    'Do these frames, in this order, show what is described here: "{text}"? Begin your reply with Yes or No.'
)
_OPTIONS = (
    'These are frames of a video of "{caption}", in order. It should show {law}. Which of these is true of '
    "it?\n{options}\nReply with the name of one of the four alone."
)
GRADES = ("Completely Fantastical", "Highly Unrealistic", "Slightly Unrealistic", "Almost Realistic")


_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBER = rf"(\d+|{'|'.join(_WORDS)})"
_SCALE = r"(?:\s*(?:/|out of)\s*(?:\d+|five))?"
_BARE = re.compile(rf"\W*{_NUMBER}{_SCALE}\W*")
_LEADING = re.compile(rf"\W*(\d+){_SCALE}\W*?(?:\n|[.,:;)\u2013\u2014-]\W*\s)")
_NO_RANGE = r"(?![\d.,]*\d)(?!\s*(?:-|\u2013|to\b)\s*\d)"
_LABELED = re.compile(
    rf"\b(?:rating|score|answer|grade|rate(?:\s+(?:it|this|the\s+video|this\s+video))?)\b[\"'*\s]*"
    rf"(?:(?:is|of|as|at|with)\b|[:=])?[\"'*\s]*(?:an?\s+)?[\"'*]*\b{_NUMBER}\b{_NO_RANGE}"
)
_FENCE = re.compile(r"^\s*```(?:json)?\s*|\s*```\s*$")
_YES_NO = re.compile(r"\W*(yes|no)\b(?!\s*(?:and|or|/)\s*(?:yes|no)\b)")
_CHOICE = re.compile(r"[\"']choice[\"']\s*:\s*[\"']([^\"']*)[\"']")


@dataclass(frozen=True)
class VideoPhy2Verdict:
    """What the judge said of one video; None where its reply was no answer."""

    semantic: int | None
    """Semantic adherence, 1 to 5."""
    physical: int | None
    """Physical commonsense, 1 to 5."""
    rules: tuple[int | None, ...] = ()
    """0 broken, 1 kept, 2 cannot be told."""

    @property
    def joint(self) -> bool | None:
        """Both at least 4; None unless both are known: one low rating alone would only count failures."""
        if self.semantic is None or self.physical is None:
            return None
        return min(self.semantic, self.physical) >= 4


@dataclass(frozen=True)
class VideoPhy2:
    """VideoPhy-2 (Bansal et al. 2025, 2503.06800): two ratings from 1 to 5, and rules kept or not."""

    match: str = _MATCH
    """With {caption}."""
    physical: str = _PHYSICAL
    rule: str = _RULE
    """With {rule}."""

    def judge(
        self, judge: Judge, frames: Float[Tensor, "T 3 H W"], caption: str, rules: Sequence[str] = ()
    ) -> VideoPhy2Verdict:
        """Ask about one video."""
        return VideoPhy2Verdict(
            read_rating(judge.ask(frames, self.match.replace("{caption}", caption)), 1, 5),
            read_rating(judge.ask(frames, self.physical), 1, 5),
            tuple(read_rating(judge.ask(frames, self.rule.replace("{rule}", rule)), 0, 2) for rule in rules),
        )


def measure_videophy2(verdicts: Sequence[VideoPhy2Verdict]) -> tuple[Measure, ...]:
    """Joint share, both mean ratings and the share of rules kept, each over what was answered."""
    joint = [verdict.joint for verdict in verdicts]
    rules = [rule for verdict in verdicts for rule in verdict.rules]
    told = [rule for rule in rules if rule in (0, 1)]
    untold = sum(rule == 2 for rule in rules)
    return (
        _share("VideoPhy-2 joint", [one for one in joint if one is not None], len(joint), "videos", 0.5),
        _mean("VideoPhy-2 semantic adherence", [verdict.semantic for verdict in verdicts]),
        _mean("VideoPhy-2 physical commonsense", [verdict.physical for verdict in verdicts]),
        _share(
            "VideoPhy-2 rules kept",
            [rule == 1 for rule in told],
            len(rules) - untold,
            "rules",
            0.5,
            f"{untold} could not be told" if untold else "",
        ),
    )


@dataclass(frozen=True)
class PhyGenItem:
    """What PhyGenBench asks about one prompt."""

    caption: str
    law: str
    frame: str
    """What the last frame ought to show."""
    steps: tuple[str, str, str]
    """What the first half, the second half and the whole ought to show."""
    options: tuple[str, str, str, str]
    """Descriptions from fantastical to realistic."""


@dataclass(frozen=True)
class PhyGenVerdict:
    """Grades from 0 to 3 by one judge; None where a reply was no answer."""

    single: int | None
    multi: int | None
    video: int | None

    @property
    def grade(self) -> int | None:
        """Their mean, rounded; None unless all three are known."""
        if self.single is None or self.multi is None or self.video is None:
            return None
        return round((self.single + self.multi + self.video) / 3)


@dataclass(frozen=True)
class PhyGenEval:
    """PhyGenEval (Meng et al. 2024, 2410.05363): one frame, three steps and the whole video, 0 to 3 each.

    Two departures from the official code. There a VQA model's probability of "yes" grades the frame, in
    quarters; a judge that only talks is asked for the grade. And frames that CLIP retrieves are replaced by
    the middle one.
    """

    frame: str = _GRADE
    """With {text}."""
    steps: str = _SEQUENCE
    """With {text}."""
    video: str = _OPTIONS
    """With {caption}, {law} and {options}."""

    def judge(self, judge: Judge, frames: Float[Tensor, "T 3 H W"], item: PhyGenItem) -> PhyGenVerdict:
        """Ask about one video."""
        first, middle, last = frames[:1], frames[len(frames) // 2][None], frames[-1:]
        single = read_rating(judge.ask(last, self.frame.replace("{text}", item.frame)), 0, 3)
        shown = (torch.cat([first, middle]), torch.cat([middle, last]), torch.cat([first, middle, last]))
        told = [
            read_yes_no(judge.ask(part, self.steps.replace("{text}", text)))
            for part, text in zip(shown, item.steps, strict=True)
        ]
        options = "\n".join(f"{name}: {text}" for name, text in zip(GRADES, item.options, strict=True))
        question = self.video
        for name, value in (("{options}", options), ("{law}", item.law), ("{caption}", item.caption)):
            question = question.replace(name, value)
        return PhyGenVerdict(
            single,
            None if any(one is None for one in told) else sum(one is True for one in told),
            read_option(judge.ask(frames, question), GRADES),
        )


def phygeneval_item(closed: int, opened: int) -> int:
    """Grade of a video from that of a closed and an open judge: their mean, rounded down."""
    return (closed + opened) // 2


def measure_phygeneval(
    closed: Sequence[PhyGenVerdict], opened: Sequence[PhyGenVerdict] | None = None
) -> Measure:
    """Mean grade of the videos as a share of 3, over those that were answered in full.

    Args:
        closed: By one judge.
        opened: By another, on the same videos; the first one's again when None.

    Raises:
        ValueError: The two are not of the same videos.
    """
    opened = closed if opened is None else opened
    if len(closed) != len(opened):
        raise ValueError(f"Both judges must see the same videos; got {len(closed)} and {len(opened)}.")
    grades = [
        None if one.grade is None or two.grade is None else phygeneval_item(one.grade, two.grade)
        for one, two in zip(closed, opened, strict=True)
    ]
    return _mean("PhyGenEval", [None if grade is None else grade / 3 for grade in grades], "of 3 points", 0.5)


def read_rating(reply: str, low: int, high: int) -> int | None:
    """A whole number between the two: bare ("4", "four", "4/5"), in front ("4. It ...") or after a label.

    Labels are rating, score, grade, answer and rate; several that disagree are no answer.
    """
    text = _plain(reply)
    match = _BARE.fullmatch(text) or _LEADING.match(text + "\n")
    found = {match[1]} if match else {label[1] for label in _LABELED.finditer(text)}
    numbers = {_WORDS.index(word) if word in _WORDS else int(word) for word in found}
    if len(numbers) != 1:
        return None
    number = numbers.pop()
    return number if low <= number <= high else None


def read_yes_no(reply: str) -> bool | None:
    """Whether it is a yes: the first word, or that of a field "Choice"."""
    match = _YES_NO.match(_choice(reply))
    return None if match is None else match[1] == "yes"


def read_option(reply: str, options: Sequence[str]) -> int | None:
    """Index of the one option that is named, in a field "Choice" or in the whole reply."""
    text = _choice(reply)
    named = [
        index
        for index, option in enumerate(options)
        if re.search(rf"\b{re.escape(option.lower())}\b", text) is not None
    ]
    return named[0] if len(named) == 1 else None


def _share(name: str, told: Sequence[bool], asked: int, what: str, limit: float, note: str = "") -> Measure:
    notes = [f"{asked - len(told)} of {asked} {what} without an answer that can be read"]
    notes += [note] if note else []
    if not told:
        return Measure(name, None, f"of {what}", "higher", limit, "opinion", 0, note="; ".join(notes))
    low, high = exact_interval(sum(told), len(told))
    return Measure(
        name, sum(told) / len(told), f"of {what}", "higher", limit, "opinion", len(told), low, high,
        note="; ".join(notes), blind_to=BLIND_TO,
    )  # fmt: skip


def _mean(name: str, ratings: Sequence[float | None], unit: str = "of 1 to 5", limit: float = 4.0) -> Measure:
    told = [float(rating) for rating in ratings if rating is not None]
    note = f"{len(ratings) - len(told)} of {len(ratings)} videos without an answer that can be read"
    if not told:
        return Measure(name, None, unit, "higher", limit, "opinion", 0, note=note)
    low, high = mean_interval(told)
    return Measure(
        name, sum(told) / len(told), unit, "higher", limit, "opinion", len(told), low, high,
        note=note, blind_to=BLIND_TO,
    )  # fmt: skip


def _plain(reply: str) -> str:
    """Lower case, without fences; of a json object its only number, where it has one."""
    text = _FENCE.sub("", reply).replace("*", "").strip().lower()
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, dict):
        for name in ("score", "rating", "answer"):
            if name in value:
                return str(value[name])
    return text


def _choice(reply: str) -> str:
    text = _FENCE.sub("", reply).strip().lower()
    match = _CHOICE.search(text)
    return match[1] if match else text
