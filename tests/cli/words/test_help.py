"""Help fits a screen."""

import pytest

from worldgen.cli import main as cli

GROUPS = {"data": cli.DATA, "cache": cli.CACHE, "evaluate": cli.EVALUATE}


PAGES = [
    [],
    *([name] for name in cli.COMMANDS),
    *([group, name] for group, members in GROUPS.items() for name in members),
]


@pytest.mark.parametrize("page", PAGES, ids=" ".join)
def test_help_fits_a_screen(page, capsys):
    cli.main([*page, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"usage: worldgen {' '.join(page)}".rstrip())
    assert max(map(len, lines)) <= 80
    assert len(lines) <= (24 if page else 27)  # the table has a line for each command
