"""What is said of how videos were filmed."""

import pytest

from worldgen.evaluation.foreign.capture import choose_capture


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("big", None, None), "--scale must be metres per pixel of the file, or g .*; got 'big'"),
        (("-1", None, None), "--scale must be above 0 metres per pixel, or g; got -1"),
        (("nan", None, None), "--scale must be above 0 metres per pixel, or g; got nan"),
        ((None, -1.0, None), "--gravity must be 0 m/s.2 or more"),
        (("g", 0.0, None), "above 0 with --scale g; got 0"),
        ((None, None, 0.0), "--rate must be above 0 frames per second; got 0"),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(given, told):
    with pytest.raises(ValueError, match=told):
        choose_capture(*given)
