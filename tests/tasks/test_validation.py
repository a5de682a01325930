"""What is measured in validation is what the metrics say of the same few clips, and no part of the model."""

import csv
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch

from tests.models import perceiving
from tests.tasks.judged import WINDOWS, generator, read
from worldgen.cli import main as cli
from worldgen.conditioning import Conditioner
from worldgen.data.batching import stack_clips
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.shards.simulate import simulate_shards
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.codec import IdentityCodec
from worldgen.diffusion.dit import DiT
from worldgen.encoders.t5 import T5
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.metrics.surprise import Windows
from worldgen.model import WorldModel
from worldgen.runs.folder import open_run
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.violations.graded import reverse
from worldgen.study.likelihood import PreferenceMetric, denoising_loss
from worldgen.tasks.generator import WorldGenerator
from worldgen.tasks.measures import (
    FidelityMetric,
    PlausibilityMetric,
    Reading,
    ValidationMetric,
    require_own_names,
)
from worldgen.tasks.measures_encoded import GeometryMetric, SurpriseMetric
from worldgen.tasks.validation import first_clips, slot_sensitivities

ROOT = Path(__file__).resolve().parents[2]


def test_preference_counts_pairs_in_which_the_broken_clip_is_likelier(truth):
    model = generator()
    two = stack_clips([truth[0], truth[2]])
    found = read(PreferenceMetric(("reversed",)), two, two, model)
    lost = []
    for index in range(2):
        valid = denoising_loss(model, two[index], index)
        for share in (0.25, 0.5, 1.0):
            broken = denoising_loss(model, reverse(two[index], share), index)
            lost.append(1.0 if valid > broken else 0.5 if valid == broken else 0.0)
    assert found == {name: (pytest.approx(np.mean(lost)), 6) for name in ("reversed", "mean")}
    alone = read(PreferenceMetric(("swap", "duplicate")), two[0], two[0], model)
    assert alone["swap"][1] == 0 and math.isnan(alone["swap"][0])  # one ball has none to change places with
    assert alone["duplicate"][1] == 3 == alone["mean"][1]  # nor does the copy take what pads the batch


# ------------------------------------------------------------------- in a run


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    simulate_shards(folder, ("drop", "collide"), 8, size=32, frames=16, processes=1)
    return folder


def trainer():
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    return lightning.Trainer(max_steps=1, accelerator="cpu", logger=False, num_sanity_val_steps=0, **quiet)


def logged(model, shards, batch_size, stage="validate"):
    folder = {"val" if stage == "validate" else "test": shards}  # and nothing where the other is
    data = ClipDataModule(**folder, batch_size=batch_size)
    (found,) = getattr(trainer(), stage)(model, datamodule=data, verbose=False)
    return {name: value for name, value in found.items() if "/loss" not in name}


def test_the_same_clips_are_measured_whatever_the_batch_size(shards):
    model = generator(
        WorldGenerator, sampled=5, measures=[PlausibilityMetric(("permanence", "damping")), FidelityMetric()]
    )
    small, large = (logged(model, shards, size) for size in (2, 8))
    assert small == large
    assert small["val/fidelity_psnr/n"] == 5 and small["val/score_permanence/n"] == 5
    assert small["val/score_damping/n"] == 0 and "val/score_damping" not in small
    tested = logged(model, shards, 3, "test")
    assert {name.replace("test/", "val/"): value for name, value in tested.items()} == small
    truth = first_clips(ShardedClips(shards), 5)
    assert len(truth) == 5 and torch.equal(truth.frames[4], ShardedClips(shards)[4].frames[0])
    with model.average.applied():
        start = replace(truth, frames=truth.frames[:, :2], masks=None, depth=None, truth=None)
        made = model.model.generate(start, 16, model.seed)
    for name, (value, _) in read(FidelityMetric(), made, truth, model.model).items():
        assert small[f"val/fidelity_{name}"] == pytest.approx(value, rel=1e-4), name


@dataclass(frozen=True)
class Constant(ValidationMetric):
    """Says what it was asked."""

    name: str = "constant"

    def __call__(self, model, made, truth):
        yield Reading("value", 1.0, len(made))


def test_measures_are_no_part_of_the_model(shards, vjepa2_folder):
    def encoder():
        torch.rand(3)  # as encoders with random weights would
        return VJEPA2(str(vjepa2_folder))

    plain = generator(WorldGenerator, sampled=2)
    judged = generator(WorldGenerator, sampled=2, measures=[SurpriseMetric(encoder, WINDOWS), Constant()])
    states = []
    for model in (plain, judged):
        torch.manual_seed(0)
        found = logged(model, shards, 4)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
    assert found["val/surprise_after_4/n"] == found["val/constant_value/n"] == 2
    assert judged.measures[0].judge.model.encoder.training is False
    assert plain.state_dict().keys() == judged.state_dict().keys()
    assert dict(plain.named_parameters()).keys() == dict(judged.named_parameters()).keys()
    assert dict(plain.named_modules()).keys() == dict(judged.named_modules()).keys()
    assert plain.model.frozen_fingerprint() == judged.model.frozen_fingerprint()
    kept = [{}, {}]
    for model, checkpoint in zip((plain, judged), kept, strict=True):
        model.on_save_checkpoint(checkpoint)
    assert kept[0]["state_dict"].keys() == kept[1]["state_dict"].keys()
    plain.on_load_checkpoint(kept[1])


# ------------------------------------------------------------------- refused before anything is spent


def test_an_encoder_that_the_model_has_is_reported(shards, vjepa2_folder):
    own = Conditioner(video=VJEPA2(str(vjepa2_folder)), dim=16, queries=2)
    measure = SurpriseMetric(lambda: VJEPA2(str(vjepa2_folder)), WINDOWS)
    judged = generator(WorldGenerator, conditioner=own, measures=[measure], sampled=2)
    with pytest.warns(UserWarning, match="Measure 'surprise': CIRCULAR: 100% of the weights"):
        logged(judged, shards, 4)
    assert measure.begin(generator(), first_clips(ShardedClips(shards), 2)) == ""


def test_clips_without_truth_are_reported(shards, truth):
    said = PlausibilityMetric().begin(generator(), replace(truth, truth=None))
    assert said.startswith("Measure 'score' needs clips with simulated truth and masks")
    assert PlausibilityMetric().begin(generator(), truth) == ""


def test_what_could_not_be_measured_is_refused_before_clips_are_encoded(shards, vjepa2_folder, tmp_path):
    def encoder():
        return VJEPA2(str(vjepa2_folder))

    def text():
        return T5(str(ROOT / "assets" / "nano" / "t5"))

    for measures, sentence in (
        ([SurpriseMetric(encoder, Windows(16, (8,)))], "must be at most the encoder's 8 frames; got 16"),
        ([SurpriseMetric(encoder, Windows(8, (4,), skip=4))], "A clip must have 8 frames for a window"),
        (
            [SurpriseMetric(text, WINDOWS)],
            "Surprise needs an encoder that predicts, such as VJEPA2; T5 does not",
        ),
        ([GeometryMetric(text)], "tokens lie at four moments of a clip or more; those of T5 lie at none"),
        (
            [FidelityMetric(), FidelityMetric()],
            "must have names of their own; got fidelity, fidelity. Give one another",
        ),
    ):
        model = generator(WorldGenerator, measures=measures, cache=tmp_path / "cache")
        with pytest.raises(ValueError, match=sentence):
            trainer().fit(model, datamodule=ClipDataModule(train=shards, val=shards, batch_size=2))
    assert not (tmp_path / "cache").exists()
    require_own_names([FidelityMetric(), FidelityMetric("again")])
    unasked = generator(WorldGenerator, measures=[SurpriseMetric(text, WINDOWS)], cache=tmp_path / "cache")
    data = ClipDataModule(train=shards, batch_size=2)  # no validation, so nothing is measured
    trainer().fit(unasked, datamodule=data)


def words(shards, out, *more):
    """A small model, after the configs that are tested."""
    small = {
        "model": {
            "conditioner": {"text": None, "dim": 16, "queries": 2},
            "denoiser": {"init_args": {"dim": 24, "depth": 1, "heads": 2}},
            "sampler": {"steps": 1},
            "sampled": 4,
            "cache": str(out / "cache"),
        },
        "data": {"train": str(shards), "val": str(shards), "batch_size": 2},
        "trainer": {
            "accelerator": "cpu",
            "max_steps": 1,
            "val_check_interval": 1,
            "limit_val_batches": 1,
            "enable_progress_bar": False,
            "logger": {
                "class_path": "lightning.pytorch.loggers.CSVLogger",
                "init_args": {"save_dir": str(out), "name": "", "version": ""},
            },
        },
    }
    (out / "small.yaml").write_text(json.dumps(small))
    return [*more, "-c", str(out / "small.yaml")]


def test_the_config_of_all_measures_measures_all(shards, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    configs = ["-c", "configs/base.yaml", "-c", "configs/measures.yaml"]
    cli.main(["fit", *words(shards, tmp_path, *configs)])
    with open(tmp_path / "metrics.csv", newline="") as file:
        row = {name: float(value) for line in csv.DictReader(file) for name, value in line.items() if value}
    counted = {name.removesuffix("/n"): row[name] for name in row if name.endswith("/n")}
    assert {name.removeprefix("val/").split("_")[0] for name in counted} == {
        "score", "fidelity", "physics", "ppe", "surprise", "geometry", "distance"
    }  # fmt: skip
    assert all((name in row) == (n > 0) for name, n in counted.items())
    assert counted["val/surprise_after_8"] == counted["val/distance_jedi"] == 4
    assert 0 <= row["val/ppe_mean"] <= 1 and counted["val/ppe_mean"] > 20
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert not any("judge" in name or "measures" in name for name in kept)
    assert isinstance(open_run(tmp_path), WorldModel)


@pytest.mark.parametrize(
    "measure, sentence",
    [
        ({"class_path": "worldgen.tasks.measures.PlausibilityMetric", "init_args": {"checks": ["bouncy"]}},
         "checks must be of motion, free_fall, ballistic_residual"),
        ({"class_path": "worldgen.study.likelihood.PreferenceMetric", "init_args": {"violations": ["odd"]}},
         "violations must be of reversed, shuffled, frozen"),
        ({"class_path": "worldgen.tasks.measures.Plausibilty"}, "Plausibilty"),
        ({"class_path": "worldgen.tasks.measures.PlausibilityMetric", "init_args": {"cheks": None}}, "cheks"),
    ],
)  # fmt: skip
def test_what_there_is_not_is_one_sentence_at_the_start(
    measure, sentence, shards, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(ROOT)
    given = words(shards, tmp_path, "-c", "configs/base.yaml")
    with pytest.raises(SystemExit) as stop:
        cli.main(["fit", *given, f"--model.measures={json.dumps([measure])}"])
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2 and last.startswith("worldgen: ") and sentence in last
    assert sentence.split()[0] not in ("checks", "violations") or last.endswith(("got bouncy.", "got odd."))
    assert not (tmp_path / "cache").exists()


def test_validation_tells_which_slot_is_heeded(vjepa2_folder):
    clip = simulate_clip("collide", 5, size=16, frames=8)
    model = perceiving(vjepa2_folder)
    other = simulate_clip("drop", 6, size=16, frames=8)
    both = stack_clips([replace(one, masks=None, truth=None, depth=None) for one in (clip, other)])
    model.codec = IdentityCodec()  # which needs no truth
    model.denoiser = DiT(3, 6, 16, dim=24, depth=1, heads=2, patch=(1, 2, 2)).eval()
    for part in (model.denoiser.to_patch, model.denoiser.blocks[0].cross_attention.out):
        torch.nn.init.normal_(part.weight)
    found = dict(slot_sensitivities(model, model.encode(both), 0))
    assert found.keys() == {"text", "video"} and all(change > 1e-3 for change in found.values())
    said = replace(both, prompts=(clip.prompts[0],) * 2)
    found = dict(slot_sensitivities(model, model.encode(said), 0))
    assert found["text"] == 0 and found["video"] > 1e-3
