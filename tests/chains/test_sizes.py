"""The sizes beyond nano: their classes without weights, and a step of small networks of these classes."""

import diffusers
import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from transformers import T5Config, T5EncoderModel

from worldgen.data.batching import stack_clips
from worldgen.encoders.t5 import T5
from worldgen.hub import sizes_only
from worldgen.runs.folder import HOME
from worldgen.runs.planning.memory import play_step
from worldgen.runs.planning.parts import count_parts
from worldgen.simulation.clips import simulate_clip
from worldgen.tasks.generator import WorldGenerator
from worldgen.tasks.schedule import draw_step

CONFIGS = HOME / "configs"
REAL = HOME.parent / "shared" / "data" / "weights"


def build(*layers):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(WorldGenerator, "model")
    config = parser.get_defaults()
    for layer in layers:
        section = layer if isinstance(layer, dict) else yaml.safe_load((CONFIGS / layer).read_text())
        config = parser.parse_object({"model": section.get("model", {})}, cfg_base=config)
    return parser.instantiate_classes(config).model


def test_every_class_of_the_research_size_is_built_without_weights():
    with sizes_only():
        task = build("base.yaml", "size/base.yaml")
    found = {part.name: (part.kind, part.parameters, part.learning) for part in count_parts(task)}
    slots = ("codec", "conditioner.text", "conditioner.video", "conditioner.multimodal")
    frozen = {name: found[f"model.{name}"] for name in slots}
    assert [kind for kind, _, _ in frozen.values()] == ["DiffusersCodec", "T5", "VJEPA2", "ImageBind"]
    millions = [round(count / 1e6) for _, count, _ in frozen.values()]
    assert millions == [127, 335, 326, 1201]
    assert not any(learning for _, _, learning in frozen.values())
    assert found["model.denoiser"][2] > 600e6
    held, peak = play_step(task, 1, (17, 64, 64), lowered=True, again=True)
    assert peak > held > 7e9  # gradients, and what AdamW keeps


def test_the_large_denoiser_has_three_billion_numbers():
    with sizes_only():
        task = build("base.yaml", "size/base.yaml", "size/large.yaml")
    (denoiser,) = [part for part in count_parts(task) if part.name == "model.denoiser"]
    assert 2.5e9 < denoiser.learning < 5e9


def step_of(task, size, frames=9):
    clip = stack_clips([simulate_clip("drop", number, size=size, frames=frames) for number in range(2)])
    latents = task.model.encode(clip)
    loss = task.model.loss(latents, *draw_step(task.model, latents, torch.Generator().manual_seed(0))).mean()
    optimizer = task.optimizer_choice.make(task, 1e-3, 0.0)
    loss.backward()
    optimizer.step()
    again = task.model.loss(latents, *draw_step(task.model, latents, torch.Generator().manual_seed(0))).mean()
    return float(loss.detach()), float(again.detach())


def test_a_step_of_small_networks_of_the_very_same_classes(tmp_path, vjepa2_folder, imagebind_folder):
    torch.manual_seed(0)
    sizes = {"base_dim": 8, "z_dim": 4, "dim_mult": [1] * 4, "num_res_blocks": 1}
    wan = diffusers.AutoencoderKLWan(**sizes, latents_mean=[0.0] * 4, latents_std=[1.0] * 4)
    wan.save_pretrained(tmp_path / "wan")
    t5 = T5(str(HOME / "assets/nano/t5"))
    words = t5.model.config.vocab_size
    config = T5Config(d_model=16, d_ff=32, d_kv=8, num_layers=1, num_heads=2, vocab_size=words)
    T5EncoderModel(config).save_pretrained(tmp_path / "t5")
    t5.tokenizer.save_pretrained(tmp_path / "t5")
    small = {"codec": {"init_args": {"checkpoint": str(tmp_path / "wan"), "subfolder": None}}}
    slots = {"text": tmp_path / "t5", "video": vjepa2_folder, "multimodal": imagebind_folder}
    small["conditioner"] = {slot: {"init_args": {"checkpoint": str(path)}} for slot, path in slots.items()}
    small["conditioner"]["multimodal"]["init_args"]["tokenizer"] = None
    small["conditioner"] |= {"dim": 16, "queries": 2}
    small["denoiser"] = {"init_args": {"dim": 24, "depth": 1, "heads": 2}}
    task = build("base.yaml", "size/base.yaml", {"model": small})
    encoders = [type(one).__name__ for one in task.model.conditioner.encoders]
    assert encoders == ["T5", "VJEPA2", "ImageBind"] and type(task.model.codec).__name__ == "DiffusersCodec"
    before, after = step_of(task, 32)
    assert before < 100 and after < 100 and after != before


@pytest.mark.skipif(not REAL.is_dir(), reason="real weights are not here")
def test_the_small_size_takes_a_step_with_real_weights():
    places = {"codec": REAL / "taef2", "text": REAL / "flan_t5_small_encoder"}
    text = {"init_args": {"checkpoint": str(places["text"])}}
    real = {"codec": {"init_args": {"checkpoint": str(places["codec"])}}, "conditioner": {"text": text}}
    task = build("base.yaml", "size/small.yaml", {"model": real})
    before, after = step_of(task, 64)
    assert before < 100 and after < 100 and after != before
