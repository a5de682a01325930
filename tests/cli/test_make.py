import pytest

from worldgen.cli import main as cli


def test_simulate_then_a_second_run_keeps_what_is_there(tmp_path, capsys):
    words = ["simulate", "--families", "drop", "collide", "--clips", "4", "--size", "16", "--frames", "4"]
    words += ["--processes", "1", "--out", str(tmp_path / "clips")]
    cli.main(words)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "clips").glob("*.tar")}
    cli.main(words)
    assert before and before == {path: path.stat().st_mtime_ns for path in before}
    assert "4 clips in" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, told",
    [
        (["--families", "spin"], "got spin"),
        (["--engine", "cloud"], "--engine must be local, processes, ray or slurm; got 'cloud'."),
    ],
)
def test_what_cannot_be_simulated_is_refused(words, told, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["simulate", "--out", str(tmp_path), *words])
    assert stop.value.code == 2 and told in capsys.readouterr().err
