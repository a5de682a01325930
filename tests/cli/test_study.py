import pytest

from tests.study.ablation import tiny_study
from worldgen.cli import main as cli
from worldgen.cli import study
from worldgen.cli.words.options import read_words


def test_reports_stand_in_front():
    from pathlib import Path

    words = ["a", "b", "--out", "c"]
    given = {"reports": [Path("a"), Path("b")], "out": Path("c")}
    assert read_words(study.compare, "compare", words, "reports") == given


@pytest.mark.parametrize(
    "words, told",
    [
        (["compare"], "worldgen compare needs --reports (worldgen compare REPORTS ...); give it."),
        (["sensitivity", "run"], "worldgen sensitivity needs --data; give it."),
        (["calibrate", "--out", "x", "--clip", "3"], "Did you mean --clips?"),
    ],
)
def test_what_is_missing_is_named(words, told, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2 and told in capsys.readouterr().err


def test_a_key_that_an_arm_misspells_is_told_with_its_arm_at_once(tmp_path, capsys):
    arms = {"half": {"options": {"data.clipz": 8}}}
    path = tiny_study.write(tmp_path / "s.yaml", tiny_study.declaration(tmp_path, arms=arms))
    with pytest.raises(SystemExit) as stop:
        cli.main(["ablate", str(path), "--out", str(tmp_path / "out")])
    told = capsys.readouterr().err
    assert stop.value.code == 2 and "s.yaml: arm half: --data.clipz" in told and "Did you mean clips?" in told
    assert not (tmp_path / "out").exists()
