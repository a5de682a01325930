"""Run folders, stopping and going on, with a task that takes no time."""

import warnings
from pathlib import Path

from tests.runs.line import fit


def test_a_run_of_another_folder_is_not_written_into(tmp_path):
    first = fit(tmp_path / "a", steps=25)
    (checkpoint,) = Path(first.trainer.log_dir).rglob("last.ckpt")
    other = fit(tmp_path / "b", "--ckpt_path", str(checkpoint))
    assert Path(other.trainer.log_dir) == tmp_path / "b" / "line" / "version_0"


def test_a_run_is_named_by_its_ablations(tmp_path):
    folder = tmp_path / "configs" / "ablations"
    folder.mkdir(parents=True)
    for name in ("no_text", "velocity"):
        (folder / f"{name}.yaml").write_text("model: {frozen: false}\n")
    words = [f"-c={folder}/no_text.yaml", "--config", f"{folder}/velocity.yaml"]
    assert Path(fit(tmp_path, *words, steps=1).trainer.log_dir).parent.name == "no_text+velocity"
    named = fit(tmp_path, *words, "--trainer.logger.init_args.name=mine", steps=1)
    assert Path(named.trainer.log_dir).parent.name == "mine"


def test_it_ends_with_folder_numbers_and_what_to_do_next_and_advertises_nothing(tmp_path, capsys, caplog):
    with warnings.catch_warnings(record=True) as warned:
        cli = fit(tmp_path, "--model.frozen=true", steps=4)
    folder, loss, then = capsys.readouterr().out.strip().splitlines()[-3:]
    assert folder == f"4 steps are done. Run folder: {cli.trainer.log_dir}"
    assert loss.split()[0] == "val/loss" and float(loss.split()[1]) > 0
    assert then == f"Next: worldgen evaluate run {cli.trainer.log_dir}"
    said = caplog.text + "".join(str(one.message) for one in warned)
    assert "max_steps=4" in said, "what Lightning says is looked at"
    assert not any(word in said for word in ("litlogger", "litmodels", "FLOPs", "eval mode", "treespec"))
