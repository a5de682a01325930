"""A tuned LoRA at work: peft's own file, what it changes, whom it refuses, and a model without a trace."""

import copy
from dataclasses import replace

import peft
import pytest
import torch

from worldgen.generation.generate import generate_by
from worldgen.generation.request import Request, Sampling, Shape, read_request
from worldgen.generation.tuned import acting, open_tuned
from worldgen.runs.folder import HOME, open_run
from worldgen.types import Conditioning

RUN = HOME / "assets" / "nano" / "generator"
PROMPT = "a red ball drops onto the floor and bounces"


def test_plain_peft_loads_it_and_computes_the_same(tuned):
    model = open_run(RUN)
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(model.denoiser), tuned.folder).eval()
    generator = torch.Generator().manual_seed(0)
    condition = Conditioning(
        torch.randn(2, 3, 128, generator=generator),
        torch.ones(2, 3, dtype=torch.bool),
        torch.randn(2, 128, generator=generator),
    )
    shape = (2, 2, model.codec.channels, 4, 4)
    x = torch.randn(shape, generator=generator)
    context = torch.randn(2, 2, _beside(model), 4, 4, generator=generator)
    ask = (x, torch.full((2,), 0.5), context, condition)
    with torch.no_grad():
        own = model.denoiser(*ask)
        with acting(tuned, model):
            ours = model.denoiser(*ask)
        assert torch.equal(ours, theirs(*ask)) and not torch.allclose(ours, own)
        assert torch.equal(model.denoiser(*ask), own)


def _beside(model):
    told = 0 if model.forecast is None else model.forecast.channels * model.codec.temporal_stride
    return model.codec.channels + 2 + model.codec.temporal_stride + told


def test_it_changes_what_is_generated_is_written_down_and_leaves_no_trace(tuned, videos, tmp_path):
    model = open_run(RUN)
    plain = Request(RUN, [PROMPT], videos / "drop.mp4", shape=Shape(frames=4), sampling=Sampling(steps=1))
    asked = replace(plain, sampling=Sampling(steps=1, tuned=tuned.folder))
    names = list(model.state_dict())
    (before,) = generate_by(model, plain, tmp_path / "before.mp4")
    (made,) = generate_by(model, asked, tmp_path / "tuned.mp4")
    (again,) = generate_by(model, asked, tmp_path / "again.mp4")
    (after,) = generate_by(model, plain, tmp_path / "after.mp4")
    assert before.digest == after.digest != made.digest == again.digest
    assert list(model.state_dict()) == names
    request, told = read_request(tmp_path / "tuned.json")
    assert request.sampling.tuned == tuned.folder
    weights = tuned.folder / "adapter_model.safetensors"
    assert len(told["files"][str(weights)]) == 64
    kept = weights.read_bytes()
    try:
        weights.write_bytes(kept[:-1])
        with pytest.raises(ValueError, match="which is gone or another file now"):
            read_request(tmp_path / "tuned.json")
        with pytest.raises(ValueError, match="must hold a LoRA in peft's layout"):
            generate_by(model, asked, tmp_path / "bad" / "broken.mp4")
    finally:
        weights.write_bytes(kept)
    assert not (tmp_path / "bad").exists() and list(model.state_dict()) == names


def test_another_generator_refuses_it(tuned, tmp_path):
    model = open_run(RUN)
    with torch.no_grad():
        next(model.denoiser.parameters()).add_(1)
    with pytest.raises(ValueError, match=f"tuned from this generator, .* from {tuned.trained_with}"):
        open_tuned(tuned.folder, model)
    with pytest.raises(FileNotFoundError, match="must be a folder of `worldgen tune`; .* has no tuned.json"):
        open_tuned(tmp_path, model)
    (tmp_path / "tuned.json").write_text("[")
    with pytest.raises(ValueError, match="tuned.json must be whole, and is not"):
        open_tuned(tmp_path, model)
