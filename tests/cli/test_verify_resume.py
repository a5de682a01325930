import pytest

from worldgen.cli.main import main
from worldgen.runs.repeating import verify_resume
from worldgen.runs.repeating.verify_resume import StateVerdict

YAML = ["-c", "configs/tasks/dynamics.yaml"]


def asked(monkeypatch, *words, differs=""):
    """What a command line asks to be verified."""
    told = []

    def verify(*given):
        told.extend(given)
        return [StateVerdict("weights", 3, differs)]

    monkeypatch.setattr(verify_resume, "verify_resume", verify)
    main(["verify-resume", *words])
    return told


def test_its_own_options_are_taken_out_and_all_else_goes_to_the_training(monkeypatch, tmp_path, capsys):
    out = tmp_path / "proof"
    words = ["pretrain", "dynamics", "--before", "7", *YAML, "--after=3", "--model.lr=.1", "--out", str(out)]
    command, folder, before, after, tolerance = asked(monkeypatch, *words)
    assert command == ["pretrain", "dynamics", *YAML, "--model.lr=.1"]
    assert (folder, before, after, tolerance) == (out, 7, 3, 0.0)
    assert "to the bit" in capsys.readouterr().out


@pytest.mark.parametrize("first", [[], ["fit"]])
def test_a_generator_is_meant_where_nothing_is_named(monkeypatch, capsys, first):
    command, folder, *rest = asked(monkeypatch, *first, "-c", "configs/base.yaml", "--tolerance", "1e-5")
    assert command == ["fit", "-c", "configs/base.yaml"] and folder.name == "verify-resume-fit"
    assert rest == [5, 5, 1e-5] and "to a relative 1e-05" in capsys.readouterr().out


def test_a_difference_ends_with_1(monkeypatch, capsys):
    with pytest.raises(SystemExit) as left:
        asked(monkeypatch, "pretrain", "dynamics", *YAML, differs="layer.weight is missing")
    assert left.value.code == 1 and "first in its weights" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*YAML, "--before", "many"], "--before must be a number from 1 to 1,000,000,000; got many"),
        ([*YAML, "--after=1"], "--after must be a number from 2"),
        ([*YAML, "--tolerance", "nan"], "--tolerance must be a number from 0"),
        ([*YAML, "--tolerance"], "--tolerance needs a value"),
        (["pretrain", "dynamics", *YAML, "--model.lrr=1"], "lrr"),
        (["pretrain", "dynamic"], "Did you mean"),
    ],
)
def test_what_is_not_taken_is_refused_before_anything_runs(monkeypatch, capsys, words, said):
    with pytest.raises(SystemExit) as left:
        asked(monkeypatch, *words)
    assert left.value.code == 2 and said in capsys.readouterr().err
