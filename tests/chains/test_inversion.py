"""A chain of rooms: decoders of V-JEPA 2's tokens; one is shown the whole clip and says so, one is not."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from transformers import VJEPA2Model, VJEPA2VideoProcessor

from tests.tiny import tiny_vjepa2
from worldgen.diffusion.context import hold
from worldgen.evaluation.cases import HeldOut, Unread
from worldgen.evaluation.generator import Extent, evaluate_run
from worldgen.evaluation.page import write_evaluation
from worldgen.simulation.clips import simulate_clip
from worldgen.tasks.generator import WorldGenerator

ROOT = Path(__file__).resolve().parents[2]
TINY = tiny_vjepa2(size=64, frames=16, dim=24, layers=1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vjepa2")
    torch.manual_seed(0)
    VJEPA2Model(TINY).save_pretrained(folder)
    VJEPA2VideoProcessor(crop_size=64).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def clip():
    return simulate_clip("drop", 3)


def build(name, checkpoint):
    """The generator of a config, small and awake, with a tiny V-JEPA 2 of random weights."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(WorldGenerator, "model")
    config = parser.get_defaults()
    small = {"denoiser": {"init_args": {"dim": 24, "depth": 1, "heads": 2}}, "sampler": {"steps": 2}}
    for path in ("base.yaml", "size/nano.yaml", f"{name}.yaml", None):
        model = yaml.safe_load((ROOT / "configs" / path).read_text())["model"] if path else small
        text = yaml.safe_dump(model).replace("assets/nano/vjepa2", str(checkpoint))
        config = parser.parse_object({"model": yaml.safe_load(text)}, cfg_base=config)
    torch.manual_seed(0)
    model = parser.instantiate_classes(config).model.model.eval()
    for weight in model.denoiser.parameters():
        torch.nn.init.normal_(weight, std=0.05)
    return model


def with_another_future(clip, known):
    frames = clip.frames.clone()
    frames[:, known:] = frames[:, known:].flip(4)
    return replace(clip, frames=frames)


def test_a_decoder_of_whole_clips_knows_no_frame_and_draws_what_it_was_shown(checkpoint, clip):
    model = build("vjepa_pixels", checkpoint)
    assert model.contexts == (0,) and model.conditioner.sees_future == ("video",)
    latents = model.encode(clip)
    assert not latents.still.any() and not latents.motion.any()
    assert latents.slots[0].tokens.values.shape == (1, 8 * 4 * 4, 24)
    with pytest.raises(ValueError, match="is shown the whole clip, and there is none: .*worldgen evaluate"):
        model.generate(clip, 16, 0)
    other = with_another_future(clip, 2)
    one, same, two = (
        model.generate(hold(context, 0, 1), 16, 0, model.encode_condition(shown)).frames
        for context, shown in ((clip, clip), (other, clip), (clip, other))
    )
    assert torch.equal(one, same) and (one - two).abs().max() > 1e-4


def test_a_decoder_of_predicted_tokens_does_not_look_at_the_future(checkpoint, clip):
    model = build("vjepa_predicted", checkpoint)
    assert model.contexts == (2,) and model.conditioner.sees_future == ()
    one, same, two = (
        model.encode_condition(shown)[0]
        for shown in (clip, with_another_future(clip, 2), with_another_future(clip, 1))
    )
    assert one.tokens.values.shape == (1, 8 * 4 * 4, 24) and one.positions.shape == (1, 8 * 4 * 4, 3)
    assert torch.equal(one.tokens.values, same.tokens.values)
    assert (one.tokens.values - two.tokens.values).abs().max() > 1e-3
    whole = build("vjepa_pixels", checkpoint).encode_condition(clip)[0]
    assert torch.equal(one.positions, whole.positions)
    assert torch.equal(
        model.generate(hold(clip, 2, 2), 16, 0).frames,
        model.generate(clip, 16, 0, model.encode_condition(clip)).frames,
    )


@pytest.mark.parametrize("name, known", [("vjepa_pixels", 0), ("vjepa_predicted", 2)])
def test_the_report_says_what_was_shown_and_names_the_codecs_ceiling(
    name, known, checkpoint, tmp_path, capsys
):
    model = build(name, checkpoint)
    held_out = [Unread("drop", partial(_simulate, 80_000_000 + index)) for index in range(2)]
    verdict = evaluate_run(model, held_out, known, seed=0, extent=Extent(pictured=1, regression_clips=30))
    found = {row.name: row for row in verdict.rows}
    assert found["codec alone: median trajectory error"].value < 0.5
    assert 60 > found["codec alone: PSNR"].value > 30 > found["generated: PSNR"].value
    gap = found["generated: PSNR on moving pixels, below the codec's"]
    expected = found["codec alone: PSNR on moving pixels"].value
    assert gap.value == pytest.approx(expected - found["generated: PSNR on moving pixels"].value, abs=1e-6)
    assert gap.low <= gap.value <= gap.high
    page = write_evaluation(verdict, tmp_path, "title", known)
    assert "LPIPS is left out: it needs AlexNet" in page.read_text()
    said = "RECONSTRUCTION, NOT A FORECAST: the encoder of video was shown the whole clip"
    for text in (page.read_text(), " ".join(capsys.readouterr().out.split())):
        assert (said in text) == (known == 0)


def _simulate(seed):
    return HeldOut(f"drop-{seed}", "drop", simulate_clip("drop", seed))
