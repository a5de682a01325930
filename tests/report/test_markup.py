"""Numbers as a reader sees them."""

import pytest

from worldgen.report.markup import format_number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0123456, "0.0123"),
        (-2.0, "−2"),
        (1234.56, "1235"),
        (3e-7, "3e−7"),
        (4e8, "4e8"),
        (0, "0"),
    ],
)
def test_numbers_are_short(value, text):
    assert format_number(value) == text
