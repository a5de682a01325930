"""Every training, killed and resumed beside one that was not, in one process and in two."""

import pytest

from tests.runs import ranks
from worldgen.data.shards.simulate import simulate_shards
from worldgen.runs.folder import HOME
from worldgen.runs.repeating import verify_resume as verifying

SMALL = {
    "fit": ["--model.sampled=0", "--model.measures=[]", "--model.denoiser.init_args.depth=1"],
    "codec": ["--model.codec.init_args.widths=[8,8,8]", "--model.codec.init_args.channels=4"],
    "decoder": ["--model.width=4"],
    "t5": [],
    "vjepa": ["--model.layers=1", "--model.predictor_layers=1"],
    "imagebind": ["--model.config.vocabulary=520", "--model.config.context=128"],
    "dynamics": ["--data.count=24"],
    "readout": ["--model.generator=null", "--model.readout.widths=[8,8,8]"],
    "control": ["--model.width=8"],
}
CACHED = ("fit", "imagebind", "readout", "control")
CASES = [(task, count) for task in SMALL for count in (1, 2)]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    simulate_shards(folder, ("drop", "bounce"), 8, processes=1)
    return folder


def words(task, count, shards, folder):
    fit = ["-c", f"{HOME}/configs/base.yaml", "-c", f"{HOME}/configs/size/nano.yaml"]
    given = ["fit", *fit] if task == "fit" else ["pretrain", task, "-c", f"{HOME}/configs/tasks/{task}.yaml"]
    data = f"--data.cache={folder / 'kept'}" if task == "dynamics" else f"--data.train={shards}"
    given += [data, "--data.batch_size=2", "--trainer.accelerator=cpu", "--trainer.limit_val_batches=0"]
    given += ["--trainer.enable_progress_bar=false", *SMALL[task]]
    given += [f"--model.cache={folder / 'cache'}"] if task in CACHED else []
    given += ["--data.val=null"] if task not in ("dynamics", "fit") else []
    return given + ([f"--trainer.devices={count}", "--trainer.strategy=ddp"] if count > 1 else [])


def run_in(count, monkeypatch):
    """Have each run that is compared be one of so many processes."""

    def run(command, folder, ends):
        codes, said = ranks.run(count, ranks.command, list(command), folder=folder)
        assert codes[0] == -ends, said
        yield 0

    monkeypatch.setattr(verifying, "_run", run)
    monkeypatch.chdir(HOME)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "count"), CASES)
def test_a_training_goes_on_as_if_nothing_had_been(task, count, shards, tmp_path, monkeypatch):
    run_in(count, monkeypatch)
    given = words(task, count, shards, tmp_path)
    verdicts = verifying.verify_resume(given, tmp_path / "runs", 2, 2)
    assert {one.name: one.differs for one in verdicts if one.differs} == {}
    parts = {one.name: one.parts for one in verdicts}
    assert parts["losses"] == 2 * count and parts["weights"] and parts["optimizer"]
    assert parts["place in the data"] and parts["random state"]


def test_a_state_that_the_second_process_forgets_is_named(tmp_path, monkeypatch, capsys):
    run_in(2, monkeypatch)
    forgets = "--trainer.callbacks+=tests.runs.forgetful.ForgetsSecondRank"
    verdicts = verifying.verify_resume(
        [*words("dynamics", 2, None, tmp_path), forgets], tmp_path / "runs", 2, 2
    )
    differing = {one.name: one.differs for one in verdicts if one.differs}
    assert differing == {"random state": "random_state.1.torch: other numbers"}
    assert not verifying.print_verdicts(verdicts, 0.0)
    assert "differs from the straight one, first in its random state" in capsys.readouterr().out
