import pytest

from worldgen.metrics.measure import Measure, Row


def measure(**changes) -> Measure:
    known = dict(name="psnr", value=20.0, unit="dB", better="higher", limit=10.0, claim="fidelity", n=3)
    return Measure(**(known | changes))


def test_a_row_says_everything_that_its_number_is_believed_by():
    found = measure(
        low=18.0, high=22.0, floor=40.0, note="of whole frames", blind_to=("motion", "order")
    ).row()
    assert found == Row(
        "psnr (fidelity)",
        20.0,
        18.0,
        22.0,
        "dB",
        "n = 3; higher is better; limit 10; floor 40; of whole frames; blind to motion, order",
    )
    assert measure().row().note == "n = 3; higher is better; limit 10"


def test_half_an_interval_and_an_unsaid_reason_are_refused():
    for half in ({"low": 18.0}, {"high": 22.0}):
        with pytest.raises(ValueError, match="'psnr' must have both ends of its interval"):
            measure(**half)
    with pytest.raises(ValueError, match="'psnr' does not apply, and must say why"):
        measure(value=None)
    assert measure(value=None, note="no frames").row().value is None
