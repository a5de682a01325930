"""A section: its plot and its table hold what was given."""

import pytest

from worldgen.report.plots import Bar, plot_intervals
from worldgen.report.report import Section
from worldgen.report.section_page import render_section


def test_a_table_tells_numbers_words_and_gaps_apart():
    html = render_section(Section("Lines", heads=("file", "value"), lines=[("a", 0.123456), ("b", None)]))
    assert '<td>a</td><td class="number">0.123</td>' in html and '<td class="number">–</td>' in html
    assert '<th scope="col">file</th><th scope="col" class="number">value</th>' in html


def test_a_plot_is_drawn_in_the_page_and_named():
    figure = plot_intervals([Bar("ours", 0.25, 0.2, 0.3)], "share", 0.5)
    html = render_section(Section("Bars", "how to read", figure))
    assert html.count("<svg") == 1 and 'aria-label="Bars"' in html and "chance" in html
    assert "how to read" in html and "<table" not in html


def test_a_table_of_uneven_lines_is_one_sentence():
    with pytest.raises(ValueError, match=r"Section 'S' must have 2 cells a line; got \[1, 3\]"):
        Section("S", heads=("a", "b"), lines=[(1, 2, 3), (1,), (1, 2)])
