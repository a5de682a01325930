from pathlib import Path

import pytest

from worldgen.cli.main import main
from worldgen.runs.repeating.bundle import read_bundle
from worldgen.runs.repeating.reproduce import describe_losses, find_changes, find_missing

ROOT = Path(__file__).resolve().parents[3]


def test_the_difference_of_losses_is_said_with_its_interval():
    same = [(0, 0.5, 0.5), (1, 0.25, 0.25)]
    assert describe_losses(same) == "The training losses of 2 steps are the same, to the bit."
    apart = [(0, 0.5, 0.6), (1, 0.25, 0.25), (2, 0.2, 0.25)]
    assert describe_losses(apart) == (
        "The training losses of 3 steps differ by +0.05 in the mean (95 % interval -0.0742 to +0.174)."
    )
    assert "of so few" in describe_losses([(0, 0.5, 0.6)]) and "No loss" in describe_losses([])


def test_a_bundle_is_run_again_to_the_same_bits_and_says_what_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [
        "pretrain", "dynamics", "-c", f"{ROOT}/configs/tasks/dynamics.yaml", "--data.count=24",
        "--data.batch_size=16", f"--data.cache={tmp_path / 'cache'}", "--trainer.accelerator=cpu",
        "--trainer.max_steps=4", "--trainer.limit_val_batches=0", "--trainer.log_every_n_steps=1",
        f"--trainer.logger.init_args.save_dir={tmp_path / 'runs'}",
    ]  # fmt: skip
    main(words)
    run = tmp_path / "runs" / "dynamics" / "version_0"
    main(["runs", "bundle", str(run), "--out", str(tmp_path / "bundle")])
    main(["reproduce", str(tmp_path / "bundle"), "--out", str(tmp_path / "again")])
    told = capsys.readouterr().out
    assert "The training losses of 4 steps are the same, to the bit." in told
    assert (tmp_path / "again" / "run" / "again" / "config.yaml").is_file()
    with pytest.raises(SystemExit) as left:
        main(["reproduce", str(tmp_path / "bundle"), "--out", str(tmp_path / "again")])
    assert left.value.code == 2 and "must be empty or missing" in capsys.readouterr().err
    bundle = read_bundle(tmp_path / "bundle")
    assert find_missing(bundle) == [] and find_changes(bundle) == []
    file = tmp_path / "bundle" / "bundle.json"
    text = file.read_text()
    file.write_text(
        text.replace('"data": {}', '"data": {"train": "1234"}').replace('"python": "', '"python": "2.')
    )
    assert find_changes(read_bundle(tmp_path / "bundle"))[0].startswith("python was 2.")
    with pytest.raises(SystemExit):
        main(["reproduce", str(tmp_path / "bundle"), "--out", str(tmp_path / "more")])
    assert "cannot be run again here: clips of data.train are missing" in capsys.readouterr().err
