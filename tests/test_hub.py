"""A hub that does not answer is not waited for."""

import threading
import time
from functools import partial

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
)
from huggingface_hub import constants
from transformers.utils import hub as theirs

import worldgen.hub
from tests.encoders.networks import made, t5
from worldgen.data.shards.captioners import Captioner
from worldgen.diffusion.sampler import Sampler
from worldgen.encoders.clip import CLIP
from worldgen.encoders.compositions import Saved
from worldgen.encoders.imagebind_inputs import read_tokenizer
from worldgen.encoders.lora import Lora
from worldgen.encoders.t5 import T5
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.hub import require_hub, sizes_only
from worldgen.metrics.tracking.detector import PretrainedDetector
from worldgen.metrics.vlm.judge import LocalJudge

OPENERS = {
    "t5": T5,
    "vjepa2": VJEPA2,
    "clip": CLIP,
    "detector": PretrainedDetector,
    "judge": LocalJudge,
    "captioner": Captioner,
    "tokenizer": lambda name: read_tokenizer(name, 600),
    "gguf": lambda name: T5(f"{name}/model.gguf"),
    "adapter": lambda name: Saved(source=name).add(None),
}


@pytest.fixture
def silent(monkeypatch, tmp_path):
    """A hub that takes the question and never answers, and an empty cache."""

    class Session:
        def head(self, url, timeout):
            threading.Event().wait()

    worldgen.hub._is_reachable.cache_clear()
    monkeypatch.setattr("huggingface_hub.utils.get_session", Session)
    monkeypatch.setattr(worldgen.hub, "_SECONDS", 0.2)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(theirs, "_is_offline_mode", False)
    yield tmp_path / "cache"
    worldgen.hub._is_reachable.cache_clear()


@pytest.mark.parametrize("kind", OPENERS)
def test_an_id_that_cannot_be_reached_gets_a_sentence_soon(kind, silent):
    if kind == "gguf":
        pytest.importorskip("gguf", reason="the package gguf is an extra")
    begun = time.monotonic()
    with pytest.raises(OSError, match="'some/model' must .* does not answer.*hf download some/model"):
        OPENERS[kind]("some/model")
    assert time.monotonic() - begun < 5


def test_what_is_kept_is_read_without_a_question(silent, tmp_path):
    (silent / "models--some--model" / "snapshots").mkdir(parents=True)
    require_hub("some/model")
    assert constants.HF_HUB_OFFLINE and theirs.is_offline_mode()
    with pytest.raises(OSError, match="'some/other' must be .* HF_HUB_OFFLINE is set"):
        require_hub("some/other")
    require_hub(str(tmp_path))


@pytest.mark.parametrize(
    "status, answers", [(200, True), (302, True), (404, True), (403, True), (503, False)]
)
def test_any_answer_will_do_but_an_error_of_the_hub(status, answers, silent, monkeypatch):
    """transformers would ask six times, 25 s in all, where the hub is out of order."""

    class Session:
        def head(self, url, timeout):
            assert url.endswith("/some/model/resolve/main/config.json")
            return type("Answer", (), {"status_code": status})

    monkeypatch.setattr("huggingface_hub.utils.get_session", Session)
    if answers:
        require_hub("some/model")
    else:
        with pytest.raises(OSError, match="does not answer"):
            require_hub("some/model")
    assert not constants.HF_HUB_OFFLINE


def test_a_lora_is_saved_without_a_question(monkeypatch, tmp_path):
    """Peft asks the hub whether the vocabulary of the base that a LoRA names was changed."""
    monkeypatch.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", pytest.fail)
    network = made(t5)
    lora = Lora(rank=2)
    lora.attach(network)
    network.peft_config["default"].base_model_name_or_path = "some/model"
    lora.save(network, tmp_path / "lora")


@pytest.mark.parametrize(
    "make",
    [
        partial(FlowMatchEulerDiscreteScheduler, shift=5.0),
        FlowMatchHeunDiscreteScheduler,
        partial(
            DPMSolverMultistepScheduler,
            prediction_type="flow_prediction",
            use_flow_sigmas=True,
            final_sigmas_type="zero",
        ),
        partial(
            DDIMScheduler,
            rescale_betas_zero_snr=True,
            timestep_spacing="trailing",
            clip_sample=False,
            prediction_type="v_prediction",
        ),
    ],
)
def test_of_schedulers_there_is_more_than_sizes(make):
    """A plan of a model that names one failed: it was looked into, and held nothing."""
    whole = Sampler(4, make())
    with sizes_only():
        counted, weights = Sampler(4, make()), torch.nn.Linear(2, 2)
    assert weights.weight.is_meta
    assert counted.sigma_max == whole.sigma_max > 0.99
    counted.scheduler.set_timesteps(4)
    whole.scheduler.set_timesteps(4)
    assert torch.equal(counted.scheduler.timesteps, whole.scheduler.timesteps)
