"""One value: tallied once, and what it says of itself agrees with its cases."""

from tests.report.pages import case_of, report_of
from worldgen.metrics.measure import Measure
from worldgen.report import cases as counting
from worldgen.report import report as module
from worldgen.report.cases import tally
from worldgen.report.report import Report, blind_spots


def test_every_check_of_every_kind_is_tallied_once(clips, monkeypatch):
    report = report_of([case_of(clips["drop"]), case_of(clips["collide"], "other")])
    calls = []
    monkeypatch.setattr(module, "tally", lambda *given: calls.append(given) or counting.tally(*given))
    first = report.tallies
    assert report.tallies is first and len(calls) == len(first) == 3 * 3
    assert first[0] == tally(report.cases, "free_fall", report.kinds[0]) and first[0].applied == 2


def test_calibration_is_that_of_its_sources_and_checks(clips):
    lines = report_of([case_of(clips["drop"])]).calibration
    assert any("free fall" in line for line in lines) and not any("galileo" in line for line in lines)


def test_who_made_it_is_read_where_it_is_not_given(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/bin/worldgen", "demo"])
    assert Report("title", ()).provenance.command == "worldgen demo"


def test_measures_that_are_blind_to_the_same_share_a_line():
    def measure(name, *blind_to):
        return Measure(name, 1.0, "", "higher", 0.5, "physics", 3, blind_to=blind_to)

    found = blind_spots(
        [measure("a: won", "x", "y"), measure("a: AUROC", "x", "y"), measure("b", "z"), measure("c")]
    )
    assert found == (("a", ("x", "y")), ("b", ("z",)))
