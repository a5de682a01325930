"""Speed is counted right; and what configs/training.yaml and muon.yaml name trains together."""

from pathlib import Path

import lightning
import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from worldgen.conditioning import Conditioner
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.shards.simulate import simulate_shards
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.dit import DiT
from worldgen.diffusion.process import CleanFlowMatching
from worldgen.diffusion.sampler import Sampler
from worldgen.diffusion.state_codec import StateCodec
from worldgen.tasks.checkpointing import GradientCheckpointing
from worldgen.tasks.generator import WorldGenerator
from worldgen.tasks.guard import StepGuard
from worldgen.tasks.optimizers import Muon
from worldgen.tasks.speed import _CPU, SpeedLog, count_flops, measure_peak

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    simulate_shards(folder, ("drop", "collide"), 16, size=8, frames=8, processes=1)
    return folder


class Told(WorldGenerator):
    def log(self, name, value, **_):
        self.__dict__.setdefault("told", []).append((name, float(value)))


def fit(shards, folder, callbacks, steps=6, **more):
    torch.manual_seed(0)
    model = Told(
        StateCodec(objects=2), Conditioner(dim=16, queries=2),
        lambda *sizes: DiT(*sizes, dim=24, depth=2, heads=2, patch=(1, 1, 1)),
        CleanFlowMatching(), Sampler(2), cache=folder / "cache", sampled=0, **more,
    )  # fmt: skip
    trainer = lightning.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=callbacks, log_every_n_steps=2,
        precision="bf16-mixed",
    )  # fmt: skip
    trainer.fit(model, ClipDataModule(train=shards, batch_size=4))
    return model


def test_all_that_a_long_run_wants_trains_together(shards, tmp_path):
    speed = SpeedLog(peak=0.001)
    callbacks = [StepGuard(), speed, GradientCheckpointing()]
    model = fit(shards, tmp_path, callbacks, optimizer=Muon())
    told = {}
    for name, value in model.told:
        told.setdefault(name, []).append(value)
    assert len(told["train/tokens_per_second"]) == len(told["train/mfu"]) == 3
    assert min(told["train/tokens_per_second"]) > 0 and set(told["train/left_out"]) == {0.0}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    ((shape, needed),) = speed._counts.items()
    assert shape[:2] == (4, 8)
    for rate, mfu in zip(told["train/tokens_per_second"], told["train/mfu"], strict=True):
        assert mfu == pytest.approx(rate / 32 * needed / 1e9, rel=1e-6)  # 32 tokens in a batch
    # Of a token: 12 d^2 in a block's feed-forward and attention, more in its cross-attention; twice forward.
    least = 3 * 2 * 32 * 2 * 12 * 24**2
    assert least < needed < 2.5 * least


def test_what_is_counted_is_the_same_with_blocks_computed_again(shards, tmp_path):
    counts = []
    for more in ([], [GradientCheckpointing()]):
        speed = SpeedLog(peak=1.0)
        fit(shards, tmp_path, [speed, *more], steps=2)
        counts.append(list(speed._counts.values()))
    assert counts[0] == counts[1]


def test_a_clip_alone_needs_its_share_of_what_a_batch_needs(shards, tmp_path):
    speed = SpeedLog(peak=1.0)
    model = fit(shards, tmp_path, [speed], steps=2).model
    clip = model.encode(ShardedClips(shards)[0])
    (of_batch,) = speed._counts.values()
    assert count_flops(model, clip) == pytest.approx(of_batch / 4, rel=1e-9)


def test_attention_on_a_cpu_is_counted():
    q, k = torch.randn(2, 4, 10, 8), torch.randn(2, 4, 20, 8)
    with FlopCounterMode(display=False, custom_mapping=_CPU) as counter:
        torch.nn.functional.scaled_dot_product_attention(q, k, k)
    assert counter.get_total_flops() == 2 * 2 * (2 * 4 * 10 * 20 * 8)


def test_a_peak_is_that_of_a_machine():
    assert 1e8 < measure_peak(torch.device("cpu"), False) < 1e15
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="SpeedLog.peak must be above 0 TFLOP/s"):
            SpeedLog(wrong)


def test_the_configs_name_what_is_tested_here():
    trainer = yaml.safe_load((CONFIGS / "training.yaml").read_text())["trainer"]
    named = {one["class_path"].rpartition(".")[2] for one in trainer["callbacks+"]}
    assert named == {"StepGuard", "SpeedLog", "GradientCheckpointing"}
    assert trainer["precision"] == "bf16-mixed"
