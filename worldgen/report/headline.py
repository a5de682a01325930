"""What a report says first: one sentence, no stronger than its intervals, and the five numbers under it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from worldgen.metrics.checks.scoring import PASSING
from worldgen.metrics.intervals import FEWEST, exact_interval, jackknife_interval, mean_interval
from worldgen.metrics.measure import Row
from worldgen.report.cases import Case, Exhibit, Tally
from worldgen.report.report import Headline, Report
from worldgen.report.words import GROUPS, KEY_ROWS

_PIXELS = "physics_iq"
"""Checks that compare pixels with the truth's: they name no law, and the truth cannot fail them."""
_MOST = 5
"""Numbers in the first view."""


def headline_of(report: Report) -> Headline:
    """The sentence and the numbers of a report; of its cases where it does not say them itself."""
    if report.said is not None or not report.cases:
        return report.said or Headline("", report.summary[:_MOST])
    rows = [*_check_rows(report), *(row for row in report.summary if row.name in KEY_ROWS)]
    return Headline(_sentence(report), tuple(rows[:_MOST]))


def group_rows(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Rows under the headlines of `words.GROUPS`, each row once, in the order of the groups."""
    groups: dict[str, list[Row]] = {title: [] for title, _ in GROUPS}
    for row in rows:
        title = next(title for title, words in GROUPS if not words or any(word in row.name for word in words))
        groups[title].append(row)
    return [(title, found) for title, found in groups.items() if found]


def say_tallies(tallies: Sequence[Tally]) -> str:
    """What exhibits of one kind fail, the most frequent first, and over how many checks that is said."""
    applied = [item for item in tallies if item.applied]
    if not any(item.clips for item in tallies):
        return "was not checked."
    failed = sorted((item for item in applied if item.caught), key=lambda item: -item.caught / item.applied)
    silent = sum(1 for item in tallies if item.clips and not item.applied)
    left = f"; {_checks(silent)} did not apply" if silent else ""
    if not applied:
        return f"was not judged: none of {_checks(silent)} applied."
    if not failed:
        return f"fails none of the {_checks(len(applied))} that applied{left}."
    listed = [f"{item.check.replace('_', ' ')} ({item.caught} of {item.applied})" for item in failed]
    return f"fails {', '.join(listed)}{left}."


def _sentence(report: Report) -> str:
    judged = [found for case in report.cases if (found := _fails(case, "judged"))]
    whose = _label(report)
    unjudged = _unjudged(report)
    if not judged:
        return f"Nothing can be said of the physics: no check applied to any clip. {unjudged}".strip()
    pairs = [
        (made, true)
        for case in report.cases
        if (made := _fails(case, "judged")) and (true := _fails(case, "truth"))
    ]
    failed, applied = sum(map(sum, judged)), sum(map(len, judged))
    over = "1 clip" if len(judged) == 1 else f"{len(judged)} clips"
    if len(pairs) >= FEWEST:
        first = _beside_truth(whose, pairs)
    elif failed:
        share = _percent(_share_row("", judged))
        first = f"{whose} fails {share} of the applied checks: {failed:.0f} of {applied}, in {over}."
    else:
        first = f"{whose} fails none of {applied} applied checks in {over}; these checks saw nothing wrong."
    return f"{first} {unjudged}".strip()


def _beside_truth(whose: str, pairs: Sequence[tuple[list[float], list[float]]]) -> str:
    """Shares of failed checks beside the truth's, paired by clip."""
    counts = [(sum(one), len(one), sum(other), len(other)) for one, other in pairs]

    def change(drawn: np.ndarray) -> float:
        failed, applied, failed_truth, applied_truth = drawn.sum(axis=0)
        return failed / applied - failed_truth / applied_truth

    failed, applied, failed_truth, applied_truth = map(sum, zip(*counts, strict=True))
    made, true = failed / applied, failed_truth / applied_truth
    low, high = jackknife_interval(counts, change)
    both = f"{100 * made:.0f} % against {100 * true:.0f} %, in {len(pairs)} clips"
    gap = f"difference {100 * (made - true):+.0f} points"
    if low is None or high is None:  # as far in every clip: by the sign test of `FEWEST` or more
        low = high = made - true
    else:
        gap = f"{gap}, {100 * low:+.0f} to {100 * high:+.0f}"
    if low > 0:
        return f"{whose} fails more of the checks than the truth does: {both} ({gap})."
    if high < 0:
        return f"{whose} fails fewer of the checks than the truth, as it is tracked: {both} ({gap})."
    return f"{whose} cannot be told from the truth by how many checks it fails: {both} ({gap})."


def _unjudged(report: Report) -> str:
    found = [item for item in report.tallies if item.kind.label == _judged_label(report) and item.clips]
    silent = [item.check for item in found if not item.applied]
    if not silent:
        return ""
    remedy = f"; {report.remedy}" if report.remedy else ""
    return f"{len(silent)} of {len(found)} checks were not judged in any clip{remedy}."


def _check_rows(report: Report) -> list[Row]:
    """The checks as numbers over clips, for what is judged."""
    judged = [found for case in report.cases if (found := _fails(case, "judged"))]
    if not judged:
        return []
    rows = [_share_row("checks failed", judged)]
    truth = [found for case in report.cases if (found := _fails(case, "truth"))]
    if truth:
        beside = _share_row("", truth)
        rows[0] = Row(
            rows[0].name, rows[0].value, rows[0].low, rows[0].high, rows[0].unit,
            f"{rows[0].note}; the truth, tracked alike: {_percent(beside)}",
        )  # fmt: skip
        return rows
    if len(judged) > 1:
        failing = sum(map(any, judged))
        ends = exact_interval(failing, len(judged)) if len(judged) >= FEWEST else (None, None)
        note = f"n = {len(judged)} clips"
        rows.append(Row("clips that fail any check", failing / len(judged), *ends, "of clips", note))
    given = [len(item.report.checks) for case in report.cases if (item := _find(case, "judged"))]
    counts = [float(len(found)) for found in judged] + [0.0] * (len(given) - len(judged))
    rows.append(_row("checks that apply", counts, f"of {max(given)} per clip", most=max(given)))
    stay = [
        check.value
        for case in report.cases
        if (item := _find(case, "judged"))
        for check in item.report.checks
        if check.name == "permanence" and check.value is not None
    ]
    if stay:
        rows.append(_row("objects that stay", stay, "of object-frames"))
    return rows


def _share_row(name: str, found: Sequence[Sequence[float]]) -> Row:
    width = max(map(len, found))
    table = [[*one, *[np.nan] * (width - len(one))] for one in found]
    flat = [value for one in found for value in one]
    note = f"{sum(flat):.0f} of {len(flat)} in {len(found)} clip{'s' * (len(found) > 1)}"
    return _row(name, table, "of applied checks", note, fmean(flat))


def _row(
    name: str, values: Sequence, unit: str, note: str = "", value: float | None = None, most: float = 1.0
) -> Row:
    """A mean over clips of what lies between 0 and ``most``."""
    mean = fmean(values) if value is None else value
    low, high = mean_interval(values, limits=(0.0, most)) if len(values) >= FEWEST else (None, None)
    return Row(name, mean, low, high, unit, note or f"n = {len(values)} clips")


def _within(row: Row) -> str:
    return "" if row.low is None or row.high is None else f" ({100 * row.low:.0f} to {100 * row.high:.0f} %)"


def _percent(row: Row) -> str:
    return f"{100 * (row.value or 0):.0f} %{_within(row)}"


def _fails(case: Case, which: str) -> list[float]:
    """1 for each applied check that fails and 0 for one that passes, of one exhibit of a case."""
    item = _find(case, which)
    if item is None:
        return []
    checks = [check for check in item.report.checks if not check.name.startswith(_PIXELS)]
    return [float(check.score < PASSING) for check in checks if check.score is not None]


def _find(case: Case, which: str) -> Exhibit | None:
    """What is judged, or the truth beside it; replays and controls are neither."""
    plain = [item for item in case.exhibits if not item.is_violation and item.report.source != "replay"]
    found = [item for item in plain if item.label.startswith("truth") is (which == "truth")]
    return found[0] if found else None


def _judged_label(report: Report) -> str:
    return next((item.label for case in report.cases if (item := _find(case, "judged"))), "")


def _label(report: Report) -> str:
    label = _judged_label(report)
    return {"generated": "The generated video", "video": "What moves in these videos"}.get(
        label, f"What is judged ({label})"
    )


def _checks(number: int) -> str:
    return "1 check" if number == 1 else f"{number} checks"
