import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch.testing import assert_close

from worldgen.conditioning import Conditioner
from worldgen.data.batching import stack_clips
from worldgen.data.cache.precision import Exact, Float16, Int8
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.shards.simulate import simulate_shards
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.codec import IdentityCodec
from worldgen.diffusion.context import hold
from worldgen.diffusion.dit import DiT
from worldgen.diffusion.process import CleanFlowMatching
from worldgen.diffusion.sampler import Sampler
from worldgen.diffusion.state_codec import StateCodec
from worldgen.encoders.base import Encoder, Placed, Tokens
from worldgen.encoders.lora import Lora
from worldgen.encoders.t5 import T5
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.model import Latents, WorldModel
from worldgen.runs.folder import open_run
from worldgen.simulation.clips import simulate_clip
from worldgen.tasks.encoding import unread_members
from worldgen.tasks.generator import WorldGenerator
from worldgen.tasks.validation import slot_sensitivities

ROOT = Path(__file__).resolve().parents[2]
NANO = ROOT / "assets" / "nano"


def build(kind=WorldModel, **changes):
    torch.manual_seed(0)
    return kind(
        codec=StateCodec(),
        conditioner=Conditioner(dim=16, queries=2),
        denoiser=lambda *sizes: DiT(*sizes, dim=24, depth=1, heads=2, patch=(1, 1, 1)),
        process=CleanFlowMatching(),
        sampler=Sampler(steps=2),
        **changes,
    )


@pytest.fixture(scope="module")
def clip():
    return simulate_clip("collide", 5, size=16, frames=8)


def arguments(model, clip, seed=0):
    latents = model.encode(clip)
    eps = torch.randn(latents.z.shape, generator=torch.Generator().manual_seed(seed))
    return latents, torch.ones(1, dtype=torch.long), torch.tensor([0.7]), eps, torch.tensor([True])


def test_an_untrained_denoiser_has_the_loss_of_predicting_stillness(clip):
    model = build()
    latents, which, sigma, eps, keep = arguments(model, clip)
    x = latents.z - latents.still[:, 1]
    assert_close(model.loss(latents, which, sigma, eps, keep), (x.square() / 0.49).flatten(1).mean(dim=1))


def test_what_is_known_is_given_exactly(clip):
    model = build()
    latents = model.encode(clip)
    assert_close(latents.still[:, 1, :2], latents.z[:, :2])
    assert (latents.still[:, 0, 1] - latents.z[:, 1]).abs().max() > 1e-3


def test_motion_lies_beside_the_noise_and_one_frame_has_none(clip):
    latents = build().encode(clip)
    assert latents.motion.shape == (1, 2, 2, 1, 1)
    assert not latents.motion[:, 0].any() and latents.motion[:, 1].any()


def test_loss_reaches_every_trained_weight_and_no_frozen_one(clip):
    model = build()
    torch.nn.init.normal_(model.denoiser.to_patch.weight, std=0.1)
    torch.nn.init.normal_(model.denoiser.modulation[-1].weight, std=0.1)
    torch.nn.init.normal_(model.denoiser.blocks[0].cross_attention.out.weight, std=0.1)
    model.loss(*arguments(model, clip)).sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.numel() and name != "conditioner.null":  # of use only when the condition is dropped
            assert parameter.grad.abs().max() > 0, name


def test_generation_is_seeded_and_keeps_the_known_frames(clip):
    model = build()
    model.codec.renderer = lambda trajectory, scenes, size: (
        trajectory.position.sum(dim=(2, 3)).sigmoid()[:, :, None, None, None].expand(-1, -1, 3, size, size)
    )
    torch.nn.init.normal_(model.denoiser.to_patch.weight, std=0.1)
    first, again, other = (model.generate(clip, 8, seed).frames for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(first[:, :2], clip.frames[:, :2])
    assert len(list(model.generate_steps(clip, 8, 1))) == 2


def test_an_adapter_learns_with_the_generator_and_is_all_that_is_kept_of_its_encoder(clip):
    torch.manual_seed(0)
    text = T5(str(NANO / "t5"), adapter=Lora(rank=2))
    model = WorldModel(
        codec=StateCodec(),
        conditioner=Conditioner(text=text, dim=16, queries=2),
        denoiser=lambda *sizes: DiT(*sizes, dim=24, depth=1, heads=2, patch=(1, 1, 1)),
        process=CleanFlowMatching(),
        sampler=Sampler(steps=2),
    ).train()
    torch.nn.init.normal_(model.denoiser.to_patch.weight)
    for block in model.denoiser.blocks:
        torch.nn.init.normal_(block.cross_attention.out.weight)
    model.loss(*arguments(model, clip)).sum().backward()
    learned = {name: p for name, p in model.named_parameters() if ".lora_" in name}
    assert any(p.grad is not None and p.grad.any() for p in learned.values())
    kept = {name for name in model.trained_state() if name.startswith("conditioner.text.")}
    assert kept and kept <= set(learned)


def test_checkpoints_hold_no_frozen_weight_and_know_their_frozen_parts():
    model, checkpoint = build(WorldGenerator), {}
    model.on_save_checkpoint(checkpoint)
    assert not any(name.startswith("codec.") for name in checkpoint["state_dict"])
    model.on_load_checkpoint(dict(checkpoint))
    with pytest.raises(ValueError, match="The checkpoint must have been trained with"):
        model.on_load_checkpoint({**checkpoint, "frozen": "KLCodec:123456789abc"})


def test_where_tokens_lie_survives_the_cache_and_is_pooled_with_them():
    mask = torch.tensor([[True, True, True, False, False]])
    positions = torch.tensor([[[t, 0.25, 0.75] for t in (0.0, 1.0, 4.0, 5.0, 6.0)]])
    placed = Placed(Tokens(torch.randn(1, 5, 4), mask), positions)
    nowhere = Placed(Tokens(torch.randn(1, 3, 2), torch.ones(1, 3, dtype=torch.bool)), torch.zeros(1, 0, 3))
    latents = Latents(
        torch.zeros(1, 2, 1, 1, 1),
        torch.zeros(1, 1, 2, 1, 1, 1),
        torch.zeros(1, 1, 2, 1, 1),
        (nowhere, placed),
    )
    columns = latents.columns()
    assert len(Latents.names(("text", "video"))) == len(columns)
    for found, expected in zip(Latents.from_columns(columns).slots, latents.slots, strict=True):
        assert all(map(torch.equal, found.tokens, expected.tokens))
        assert torch.equal(found.positions, expected.positions)
    for storage in (Exact(pool=2), Float16(pool=2), Int8(pool=2)):
        bare, pooled = Latents.from_columns(storage.restore(storage.keep(columns))).slots
        assert bare.positions.shape == (1, 0, 3) and bare.tokens.values.shape == (1, 2, 2)
        assert pooled.tokens.mask.tolist() == [[True, True, False]]
        assert_close(pooled.positions[0, :2, 0], torch.tensor([0.5, 4.0]), atol=0.02, rtol=0)
        assert_close(pooled.positions[0, :2, 1:], torch.tensor([[0.25, 0.75]] * 2), atol=0.02, rtol=0)


def perceiving(vjepa2_folder, **changes):
    torch.manual_seed(0)
    model = WorldModel(
        codec=StateCodec(),
        conditioner=Conditioner(
            text=T5(str(NANO / "t5")), video=VJEPA2(str(vjepa2_folder)), dim=16, queries=2
        ),
        denoiser=lambda *sizes: DiT(*sizes, dim=24, depth=1, heads=2, patch=(1, 1, 1)),
        process=CleanFlowMatching(),
        **{"sampler": Sampler(steps=2), **changes},
    )
    for part in (model.denoiser.to_patch, model.denoiser.blocks[0].cross_attention.out):
        torch.nn.init.normal_(part.weight)
    return model.eval()


def test_an_encoder_sees_the_shortest_context_in_training_and_in_sampling(clip, vjepa2_folder):
    model = perceiving(vjepa2_folder, contexts={2: 0.5, 4: 0.5})
    seen = model.encode(clip).slots[1]
    assert seen.tokens.values.shape == (1, 4, 32) and seen.positions.shape == (1, 4, 3)  # one tubelet
    later = replace(clip, frames=torch.cat([clip.frames[:, :2], 1 - clip.frames[:, 2:]], dim=1))
    for other in (later, hold(clip, 4, 4), hold(clip, 2, 2)):
        assert torch.equal(model.encode_condition(other)[1].tokens.values, seen.tokens.values)
    earlier = replace(clip, frames=torch.cat([1 - clip.frames[:, :2], clip.frames[:, 2:]], dim=1))
    assert (model.encode_condition(earlier)[1].tokens.values - seen.tokens.values).abs().max() > 1e-3


def test_guidance_of_a_slot_reaches_the_sample(clip, vjepa2_folder):
    model = perceiving(vjepa2_folder, sampler=Sampler(steps=2, guidance={"video": 0.0}))
    *_, without = model.sample(clip, 8, 0)
    model.sampler = Sampler(steps=2)
    *_, plain = model.sample(clip, 8, 0)
    (values, mask), positions = model.encode_condition(clip)[1]
    slots = (model.encode_condition(clip)[0], Placed(Tokens(values, torch.zeros_like(mask)), positions))
    *_, absent = model.sample(clip, 8, 0, slots)
    assert_close(without, absent)
    assert (without - plain).abs().max() > 1e-3
    with pytest.raises(
        ValueError, match="Sampler.guidance must name slots, text, video, multimodal; got 'sound'"
    ):
        perceiving(vjepa2_folder, sampler=Sampler(guidance={"sound": 2.0}))


def test_validation_tells_which_slot_is_heeded(clip, vjepa2_folder):
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


def test_too_few_first_frames_are_refused(clip):
    with pytest.raises(ValueError, match="needs at least 2 first frames; got 1"):
        build(contexts={2: 1.0}).generate(type(clip)(clip.frames[:, :1], clip.fps, clip.prompts), 8, 0)


# ------------------------------------------------------------------- whole runs, in processes of their own


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    simulate_shards(folder, ("drop", "collide"), 48, size=16, frames=8, processes=1, clips_per_shard=16)
    return folder


def command(shards, out, *more):
    config = out / "config.yaml"
    out.mkdir(parents=True, exist_ok=True)
    config.write_text(
        yaml.safe_dump(
            {
                "model": {
                    "codec": {
                        "class_path": "worldgen.diffusion.state_codec.StateCodec",
                        "init_args": {"objects": 2},
                    },
                    "conditioner": {"text": None, "dim": 16, "queries": 2},
                    "denoiser": {"init_args": {"dim": 24, "depth": 1, "heads": 2, "patch": [1, 1, 1]}},
                    "cache": str(out.parent / "cache"),
                    "sampled": 0,
                },
                "data": {"train": str(shards), "batch_size": 8},
                "trainer": {
                    "max_steps": 60,
                    "logger": {
                        "class_path": "lightning.pytorch.loggers.CSVLogger",
                        "init_args": {"save_dir": str(out), "name": "", "version": ""},
                    },
                    "log_every_n_steps": 1,
                    "callbacks": [
                        {
                            "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                            "init_args": {"every_n_train_steps": 5, "save_last": True, "save_top_k": 0},
                        }
                    ],
                },
            }
        )
    )
    return [
        sys.executable,
        "-m",
        "worldgen",
        "fit",
        "-c",
        str(ROOT / "configs/base.yaml"),
        "-c",
        str(config),
        *more,
    ]


def run(words):
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_a_killed_run_that_is_resumed_ends_with_the_same_bits(shards, tmp_path):
    whole = run(command(shards, tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    checkpoint = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    process = subprocess.Popen(
        command(shards, tmp_path / "killed"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200
    while step_of(checkpoint) < 30 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 30 <= step_of(checkpoint) < 60, "killed too late to show anything"
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    resumed = run(command(shards, tmp_path / "resumed", "--ckpt_path", str(checkpoint)))
    assert resumed.returncode == 0, resumed.stderr
    # All bits of weights and averages in full precision, and the loss of each step after the kill.
    names = ("whole", "resumed")
    expected, found = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in names
    )
    assert expected.keys() == found.keys() and any(name.startswith("average.") for name in expected)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    before, after = (losses(tmp_path / name / "metrics.csv") for name in names)
    assert len(after) >= 2 and all(before[step] == loss for step, loss in after.items())
    shipped = load_file(tmp_path / "resumed" / "model.safetensors")
    model = open_run(tmp_path / "resumed")
    assert_close(model.denoiser.to_patch.weight, shipped["denoiser.to_patch.weight"].float())


def step_of(checkpoint):
    """Training steps in a checkpoint; 0 while there is none (or Lightning is just putting it in place)."""
    try:
        return torch.load(checkpoint, weights_only=True)["global_step"]
    except (OSError, EOFError, RuntimeError):
        return 0


def losses(path):
    with open(path, newline="") as file:
        return {row["step"]: row["train/loss"] for row in csv.DictReader(file) if row["train/loss"]}


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--model.lrr", "1"], "lrr"),
        (["--data.train", "nowhere"], "No folder of clips at nowhere"),
        (["--ckpt_path", "nowhere.ckpt"], "nowhere.ckpt"),
        (["--ckpt_path", str(ROOT / "README.md")], "--ckpt_path must be a whole checkpoint of this model"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(shards, tmp_path, words, sentence):
    done = run(command(shards, tmp_path, *words))
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("worldgen: ") and sentence in last
    assert "Traceback" not in done.stderr


class DepthSeen(Encoder):
    """Says how far away the picture is on the mean; 0 where it is not told."""

    dim, origins = 4, ("depth",)

    def __init__(self):
        super().__init__()
        self.freeze()

    def encode(self, clip):
        far = torch.zeros(len(clip)) if clip.depth is None else clip.depth.mean(dim=(1, 2, 3, 4))
        return Tokens(far[:, None, None].expand(-1, 1, 4), torch.ones(len(clip), 1, dtype=torch.bool))


def test_an_encoder_that_looks_at_depth_is_told_it_in_training_as_in_evaluation(tmp_path):
    simulate_shards(tmp_path / "clips", ("drop",), 2, size=16, frames=4, processes=1)
    task = build(WorldGenerator, cache=tmp_path / "cache")
    model = task.model
    assert unread_members(model) == ("depth", "masks", "scene")
    model.conditioner = Conditioner(multimodal=DepthSeen(), dim=16, queries=2)
    data = ClipDataModule(train=tmp_path / "clips", batch_size=2)
    task._trainer = SimpleNamespace(datamodule=data)  # all that setup asks of one
    task.setup("fit")
    kept = Latents.from_columns(next(iter(data.train_dataloader())))
    seen = sorted(kept.slots[0].tokens.values[:, 0, 0].tolist())
    whole = (model.encode(clip) for clip in map(ShardedClips(tmp_path / "clips").__getitem__, (0, 1)))
    judged = sorted(float(latents.slots[0].tokens.values[0, 0, 0]) for latents in whole)
    assert seen == pytest.approx(judged) and min(seen) > 1
