import pytest

from worldgen.cli.main import main


def test_help_says_what_they_take(capsys):
    main(["reproduce", "--help"])
    assert "Folder for the run, empty or missing" in " ".join(capsys.readouterr().out.split())
    main(["runs", "--help"])
    assert "bundle ..." in capsys.readouterr().out


@pytest.mark.parametrize("words", [["reproduce", "nowhere"], ["runs", "bundle", "nowhere"]])
def test_what_is_not_there_is_one_sentence(words, capsys):
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2 and "nowhere" in capsys.readouterr().err
