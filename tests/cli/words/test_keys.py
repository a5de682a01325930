"""Keys of yaml: nothing that jsonargparse takes is refused, and what it would refuse is refused at once."""

from pathlib import Path

import pytest

from worldgen.cli.train import TRAININGS

ROOT = Path(__file__).resolve().parents[3]
FIT = TRAININGS["fit"]
BASE = ["-c", str(ROOT / "configs/base.yaml"), "-c", str(ROOT / "configs/size/nano.yaml")]


@pytest.mark.parametrize(
    "words",
    [
        ["--model.codec=worldgen.diffusion.codec.load_codec", "--model.codec.checkpoint", "x"],
        ["--model.codec", "load_codec", "--model.codec.anything", "x"],
        ["--model.conditioner", "other.yaml", "--model.conditioner.anything", "x"],
        ["--model", "other.yaml", "--model.anything", "x"],
        ["--model.conditioner.text", "null"],
        ["--model.contexts", "{1: 0.5, 2: 0.5}"],
        ["--model.sampler.guidance.text", "2.0"],
        ["--model.measures+=worldgen.tasks.measures.FidelityMetric", "--model.measures.name", "x"],
        ["--model.storage", "worldgen.data.cache.precision.Int8", "--model.storage.pool=4"],
        ["--trainer.callbacks=EarlyStopping", "--trainer.callbacks.patience=5"],
        ["--trainer.logger", "false"],
        ["--trainer.logger.init_args.version", "-1"],
        ["--trainer.strategy", "ddp", "--seed_everything", "1", "--print_config"],
        ["--optimizer", "Adam", "--optimizer.lr", "1", "--ckpt_path=x", "--weights_only", "true"],
        ["-c{model: {lr: 1.0}}"],
    ],
)
def test_what_jsonargparse_takes_passes(words):
    FIT.check([*BASE, *words])


@pytest.mark.parametrize(
    "words, told",
    [
        (
            ["--model.codec.init_args.chekpoint", "x"],
            r"codec \(load_codec\) has no key chekpoint\. Did you mean checkpoint",
        ),
        (["--model.codec={init_args: {chekpoint: x}}"], "has no key chekpoint"),
        (
            ["--model.conditioner.txt", "null"],
            r"model.conditioner \(Conditioner\) has no key txt\. Did you mean text",
        ),
        (["--model.process", "worldgen.diffusion.process.FlowMatchin"], "Did you mean FlowMatching?"),
        (["--model.process", "worldgen.diffusion.proces.X"], "there is no file worldgen.diffusion.proces"),
        (
            [
                "--trainer.callbacks=[{class_path: lightning.pytorch.callbacks.ModelCheckpoint, "
                "init_args: {save_lst: 1}}]"
            ],
            "save_last",
        ),
        (["--trainer.max_step", "1"], "Did you mean max_steps?"),
        (["--data.batch_sizes", "1"], "Did you mean batch_size?"),
        (["--ckpt-path", "x"], "--ckpt-path is written --ckpt_path"),
        (["configs/base.yaml"], "yaml files behind -c; got 'configs/base.yaml'"),
        (["-c"], "-c takes a yaml file behind it"),
    ],
)
def test_what_cannot_be_meant_is_refused(words, told):
    with pytest.raises(ValueError, match=told):
        FIT.check([*BASE, *words])


@pytest.mark.parametrize(
    "text, told",
    [
        ("modle: {lr: 1}", r"x\.yaml: there is no section modle\. Did you mean model\?"),
        ("model: {warmpu: 1}", r"x\.yaml: model has no key warmpu\. Did you mean warmup\?"),
        ("model: [1", r"x\.yaml must be yaml; it cannot be read from line 1 on"),
        ("just words", r"x\.yaml must have sections"),
        (
            "model: {measures: [{class_path: worldgen.tasks.measures.Plausibility}]}",
            "is called worldgen.tasks.measures.PlausibilityMetric now",
        ),
        (
            "model: {codec: {init_args: {render: worldgen.simulation.render.film_trajectory}}}",
            "worldgen.simulation.rendering.render.film_trajectory now",
        ),
    ],
)
def test_files_are_checked_too(text, told, tmp_path):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ValueError, match=told):
        FIT.check(["-c", str(tmp_path / "x.yaml")])


def test_a_later_file_says_which_class_a_key_is_of(tmp_path):
    (tmp_path / "x.yaml").write_text(
        "model: {process: {class_path: worldgen.diffusion.process.FlowMatching, init_args: {floor: 1}}}"
    )
    FIT.check([*BASE, "--model.process.init_args.floor", "0.2"])
    with pytest.raises(ValueError, match=r"model.process \(FlowMatching\) has no key floor"):
        FIT.check([*BASE, "-c", str(tmp_path / "x.yaml")])
