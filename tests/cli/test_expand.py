"""`worldgen expand`."""

import pytest

from worldgen.cli import main as cli


def test_the_caption_comes_first_and_then_what_was_added(capsys):
    cli.main(["expand", "a red ball falls"])
    caption, blank, *added = capsys.readouterr().out.splitlines()
    assert "the red ball falls" in caption and not blank
    assert all(line.removeprefix("added: ") in caption for line in added) and len(added) == 3


@pytest.mark.parametrize(
    "words, sentence",
    [
        ([" "], "must have words"),
        (["a ball", "--model", "nowhere"], "No language model .* at nowhere"),
        (["a ball", "--model", "x", "--endpoint", "http://x"], "cannot go together"),
        (["a ball", "--endpoint", "http://127.0.0.1:9/v1", "--seconds", "1"], "gave no answer"),
        (["a ball", "--seconds", "0"], "--seconds must be from 0.001"),
    ],
)
def test_bad_requests_get_one_sentence(words, sentence, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["expand", *words])
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and "\n" not in error
    import re

    assert re.search(sentence, error)
