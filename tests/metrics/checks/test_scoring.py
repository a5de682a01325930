import pytest

from worldgen.metrics.checks.scoring import tolerance


def test_score_is_half_at_the_limit_and_falls():
    assert tolerance(0.0, 0.1) == 1 and tolerance(0.1, 0.1) == 0.5
    assert tolerance(0.3, 0.1) == pytest.approx(0.1)
