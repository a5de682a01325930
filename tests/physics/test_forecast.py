import pytest

from worldgen.physics.forecast import Forecast


def test_a_forecast_must_say_what_it_draws():
    with pytest.raises(TypeError, match="draw"):
        Forecast()
