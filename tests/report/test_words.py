"""The words of a page are about what there is."""

from worldgen.metrics.calibration.calibration import shipped_lines
from worldgen.report.words import GROUPS, MEANING


def test_every_check_that_was_calibrated_has_a_meaning():
    for name in MEANING:
        assert name == name.lower() and " " not in name
    said = [line.partition(" sees")[0].partition(" is")[0] for line in shipped_lines("truth", tuple(MEANING))]
    assert len(said) > 5


def test_whatever_comes_has_a_group():
    assert GROUPS[-1][1] == () and all(words for _, words in GROUPS[:-1])
