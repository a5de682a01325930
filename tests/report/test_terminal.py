"""The terminal says what the page says first, in 80 columns, with whole names."""

from tests.report.pages import report_of
from worldgen.metrics.measure import Row
from worldgen.report.report import Headline
from worldgen.report.terminal import print_report

LONG = "a name of a number that is far longer than its column of the terminal is wide"


def test_the_sentence_and_the_numbers_fit_80_columns_uncut(capsys):
    long = Row(LONG, 0.123456, 0.1, 0.2, "of object-frames", "a note " * 20)
    rows = (long, Row("nothing", None, unit="px"))
    said = Headline("A sentence that must not be cut. " * 6, rows)
    print_report(report_of([], said=said))
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert max(map(len, lines)) <= 80
    assert " ".join(printed.split()).startswith(said.sentence.strip())
    columns = [line[:38].strip() for line in lines]
    assert LONG in " ".join(columns)
    assert "0.123 of object-frames (0.1 to 0.2)" in " ".join(printed.split())
    assert any(line.split() == ["nothing", "-", "px"] for line in lines)


def test_brackets_are_no_markup(capsys):
    print_report(report_of([], said=Headline("An [bold]odd[/bold] name", ())))
    assert "An [bold]odd[/bold] name" in capsys.readouterr().out
