"""A generator that heeds its prompt and nothing else is found out, and so is one that heeds nothing."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from torch.testing import assert_close

from worldgen.cli import main as cli
from worldgen.conditioning import Concatenation, Conditioner, JointAttention
from worldgen.data.batching import stack_clips
from worldgen.data.shards.simulate import simulate_shards
from worldgen.diffusion.process import CleanFlowMatching
from worldgen.diffusion.sampler import Sampler
from worldgen.diffusion.state_codec import StateCodec
from worldgen.encoders.imagebind import ImageBind
from worldgen.encoders.t5 import T5
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.model import WorldModel
from worldgen.runs.folder import open_run
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.rendering.render import film_trajectory
from worldgen.simulation.scenes.families import RESTITUTION
from worldgen.study import sensitivity
from worldgen.study.effects import write_sensitivity
from worldgen.study.sensitivity import measure_sensitivity
from worldgen.study.swapping import find_conditions, swap_condition

ROOT = Path(__file__).resolve().parents[2]
NANO = ROOT / "assets" / "nano"


class Obedient(torch.nn.Module):
    """Knows by heart what happens after each prompt, and adds a little of the noise; reads nothing else."""

    def __init__(self, *sizes):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def learn(self, model, clips):
        latents = model.encode(clips)
        self.known = model.conditioner(latents.slots, torch.ones(len(clips), dtype=torch.bool)).tokens
        self.x = latents.z - latents.still[:, -1]
        self.words = latents.slots[0].tokens.mask

    def forward(self, x, sigma, context, condition, residuals=None):
        length = self.words.shape[1]
        apart = (condition.tokens[:, None, :length] - self.known[None, :, :length]).flatten(2).norm(dim=-1)
        said = condition.mask[:, :1, None, None, None]
        return self.x[apart.argmin(dim=1)] * said + 0.01 * x


@pytest.fixture(scope="module")
def clips():
    families = ("drop", "drop", "bounce", "bounce")
    return [simulate_clip(family, 40 + seed, size=32) for seed, family in enumerate(families)]


def model_of(vjepa2_folder, imagebind_folder, denoiser=Obedient):
    torch.manual_seed(0)
    model = WorldModel(
        codec=StateCodec(objects=2, renderer=film_trajectory),
        conditioner=Conditioner(
            text=T5(str(NANO / "t5")),
            video=VJEPA2(str(vjepa2_folder)),
            multimodal=ImageBind(imagebind_folder),
            dim=16,
            queries=2,
            join=Concatenation,
        ),
        denoiser=denoiser,
        process=CleanFlowMatching(),
        sampler=Sampler(steps=2),
        contexts={2: 1.0},
    )
    return model.eval()


@pytest.fixture(scope="module")
def effects(clips, vjepa2_folder, imagebind_folder):
    model = model_of(vjepa2_folder, imagebind_folder)
    model.denoiser.learn(model, stack_clips(clips))
    found = measure_sensitivity(model, clips, ("drop", "drop", "bounce", "bounce"), 2, 0)
    return {(effect.condition, effect.change): effect for effect in found}


def test_what_is_heeded_is_found_and_goes_where_the_swapped_truth_is(effects):
    text = effects["text", "swapped"]
    assert text.verdict == "heeded" and effects["text", "dropped"].verdict == "heeded"
    assert text.floors.low > 1 and text.pixel.low > 0 and text.track.low > 0
    assert abs(text.toward_latent.value - 1) < 0.02  # but for the noise it adds, it is the other truth
    assert 0.8 < text.toward_track.value < 1.2
    prompt = effects["prompt", "swapped"]
    assert prompt.verdict == "heeded" and prompt.latent == text.latent


def test_what_is_not_read_changes_nothing_and_is_said_to_be_unheeded(effects):
    floor = effects["all", "other noise"]
    assert floor.latent.low > 0 and floor.verdict == "" and floor.floors is None
    for name in ("video", "multimodal", "multimodal: vision", "multimodal: depth", "multimodal: text"):
        for change in ("swapped", "dropped"):
            effect = effects[name, change]
            assert (
                effect.verdict.startswith("not heeded beyond 0")
                and effect.latent.value == effect.pixel.value == 0
            )
            assert effect.floors.value == 0
    assert not any("audio" in name or "imu" in name for name, _ in effects)  # these clips have neither


def test_changes_are_measured_by_hand():
    z, frames = torch.zeros(3, 2, 1, 2, 2), torch.zeros(3, 4, 3, 2, 2)
    tracks, seen = torch.zeros(3, 4, 2, 2), torch.ones(3, 4, 2, dtype=torch.bool)
    before = sensitivity._Output(z, frames, tracks)
    shown, moved = frames.clone(), tracks.clone()
    shown[:, 2:] = 0.3
    shown[:, :2] = 9.0  # what is known is given, and counts nowhere
    moved[..., 0, :] = torch.tensor([3.0, 4.0])
    moved[..., 1, :] = 100.0  # of an object that is not seen
    seen[..., 1] = False
    moved[:, :2] = 50.0
    model = SimpleNamespace(latent_std=torch.tensor(2.0))
    after = sensitivity._Output(z + 1, shown, moved)
    found = sensitivity._change(model, after, before, sensitivity._Tracks(tracks, seen), 2)
    for values, expected in ((found.latent, 0.5), (found.pixel, 0.3), (found.track, 5.0)):
        assert_close(values, torch.full((3,), expected))
    # Only the clips that are asked count; of changes and of floors the sums are divided.
    change = sensitivity._Change(torch.tensor([1.0, 1.0, 7.0]), found.pixel, None)
    rows = torch.tensor([True, True, False])
    effect = sensitivity._effect("text", "swapped", change, torch.tensor([1.0, 3.0, 7.0]), rows)
    assert (effect.clips, effect.latent.value, effect.floors.value) == (2, 1.0, 0.5)


def test_the_way_toward_the_swapped_truth_is_a_projection():
    way = torch.tensor([[1.0, 0.0], [2.0, 0.0], [5.0, 0.0]])
    moved = torch.tensor([[0.5, 3.0], [1.0, -4.0], [50.0, 0.0]])  # half of the way, and aside
    rows = torch.tensor([True, True, False])
    found = sensitivity._toward(moved, way, rows)
    assert found.value == 0.5
    assert (found.low, found.high) == (None, None)  # both clips alike: nothing is known of others
    assert (found.least, found.most) == (-float("inf"), float("inf"))
    assert sensitivity._toward(moved, 0 * way, rows) is None


def test_materials_are_asked_of_clips_whose_prompt_names_one(effects, clips):
    named = sum(any(word in prompt for word in RESTITUTION) for clip in clips for prompt in clip.prompts)
    assert 0 < effects["material in the prompt", "swapped"].clips == named


def test_only_what_is_named_is_swapped(clips, vjepa2_folder, imagebind_folder):
    model = model_of(vjepa2_folder, imagebind_folder)
    slots = model.encode_condition(stack_clips(clips))
    conditions = find_conditions(model.conditioner, slots)
    partner = torch.tensor([1, 0, 3, 2])
    ((place, tokens),) = conditions["multimodal: depth"]
    swapped = swap_condition(slots, conditions["multimodal: depth"], partner)
    others = [token for token in range(slots[2].tokens.values.shape[1]) if token not in tokens]
    assert_close(swapped[2].tokens.values[:, tokens], slots[2].tokens.values[partner][:, tokens])
    assert_close(swapped[2].tokens.values[:, others], slots[2].tokens.values[:, others])
    assert swapped[:2] == slots[:2]
    dropped = swap_condition(slots, conditions["multimodal: depth"], None)
    assert not dropped[2].tokens.mask[:, tokens].any()
    assert torch.equal(dropped[2].tokens.mask[:, others], slots[2].tokens.mask[:, others])
    assert bool(slots[2].tokens.mask[:, tokens].any())  # what it was made from is as it was


def test_the_report_is_written_as_json_table_and_picture(effects, tmp_path, capsys):
    write_sensitivity(list(effects.values()), tmp_path)
    rows = json.loads((tmp_path / "sensitivity.json").read_text())
    with open(tmp_path / "sensitivity.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [row["condition"] for row in rows] == [line["condition"] for line in lines]
    text = next(line for line in lines if (line["condition"], line["change"]) == ("text", "swapped"))
    assert float(text["toward_latent_value"]) == pytest.approx(
        effects["text", "swapped"].toward_latent.value, rel=1e-4
    )
    assert (tmp_path / "sensitivity.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "heeded" in printed and "ignored" not in printed and "toward (track)" in printed
    assert not list(tmp_path.glob(".*"))


def test_the_shipped_generator_heeds_its_prompt(tmp_path, capsys):
    simulate_shards(tmp_path / "data", ("drop",), 4, seed=9, processes=1)
    run, data, out = (str(path) for path in (NANO / "generator", tmp_path / "data", tmp_path / "out"))
    cli.main(["sensitivity", run, "--data", data, "--out", out])
    rows = json.loads((tmp_path / "out" / "sensitivity.json").read_text())
    verdicts = {(row["condition"], row["change"]): row["verdict"] for row in rows}
    assert set(verdicts) >= {("all", "other noise"), ("text", "swapped"), ("text", "dropped")}
    # With two frames known its words act by the roll-out that they allow, and hardly by their tokens.
    assert verdicts["prompt", "dropped"] == "heeded"
    assert verdicts["material in the prompt", "swapped"] == "heeded"
    toward = {row["condition"]: row["toward_track"] for row in rows if row["change"] == "swapped"}
    assert toward["material in the prompt"]["value"] > 0.5 > abs(toward["text"]["value"])


def test_a_run_with_all_three_encoders_is_fitted_kept_and_measured(
    tmp_path, monkeypatch, vjepa2_folder, imagebind_folder
):
    monkeypatch.chdir(ROOT)
    simulate_shards(tmp_path / "data", ("drop", "collide"), 16, size=16, frames=8, processes=1)
    logger = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": str(tmp_path)}}
    slots = {"video": vjepa2_folder, "multimodal": imagebind_folder}
    model = {
        "codec": {"class_path": "worldgen.diffusion.state_codec.StateCodec", "init_args": {"objects": 2}},
        "conditioner": {slot: {"init_args": {"checkpoint": str(path)}} for slot, path in slots.items()},
        "denoiser": {"init_args": {"dim": 24, "depth": 1, "heads": 2, "patch": [1, 1, 1]}},
        "sampler": {"guidance": {"text": 2.0}},
        "storage": {"class_path": "worldgen.data.cache.precision.Float16"},
        "cache": str(tmp_path / "cache"),
        "sampled": 0,
    }
    model["codec"]["init_args"]["renderer"] = "worldgen.simulation.rendering.render.film_trajectory"
    trainer = {"max_steps": 2, "logger": logger, "callbacks": [], "accelerator": "cpu"}
    trainer |= {"val_check_interval": 2, "enable_progress_bar": False}
    data = {"train": str(tmp_path / "data"), "val": str(tmp_path / "data"), "batch_size": 8}
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump({"model": model, "data": data, "trainer": trainer}))
    layers = ("configs/base.yaml", "configs/perception.yaml", str(config))
    cli.main(["fit", *(word for layer in layers for word in ("-c", layer))])
    (run,) = {path.parent for path in tmp_path.rglob("model.safetensors")}
    with open(run / "metrics.csv", newline="") as file:
        logged = {name for row in csv.DictReader(file) for name, value in row.items() if value}
    assert {"val/sensitivity_text", "val/sensitivity_video", "val/sensitivity_multimodal"} <= logged
    assert type(open_run(run).conditioner.resampler) is JointAttention
    out = tmp_path / "out"
    cli.main(["sensitivity", str(run), "--data", str(tmp_path / "data"), "--out", str(out), "--clips", "4"])
    rows = json.loads((out / "sensitivity.json").read_text())
    assert {"text", "video", "multimodal", "multimodal: depth", "prompt"} <= {
        row["condition"] for row in rows
    }


def test_bad_input_is_one_sentence(clips, tmp_path, capsys, vjepa2_folder, imagebind_folder):
    model = model_of(vjepa2_folder, imagebind_folder)
    with pytest.raises(ValueError, match="Conditions are swapped between clips: give at least 2; got 1"):
        measure_sensitivity(model, clips[:1], ("drop",), 2, 0)
    with pytest.raises(ValueError, match=r"was trained with \(2,\) known frames; got 1"):
        measure_sensitivity(model, clips, ("drop",) * 4, 1, 0)
    model.conditioner = Conditioner(dim=16, queries=2)
    with pytest.raises(ValueError, match="A run must have an encoder whose condition can be swapped"):
        measure_sensitivity(model, clips, ("drop",) * 4, 2, 0)
    with pytest.raises(SystemExit) as stop:
        cli.main(["sensitivity", str(tmp_path), "--data", str(tmp_path)])
    assert stop.value.code == 2 and "must hold config.yaml" in capsys.readouterr().err
