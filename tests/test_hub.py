"""A hub that does not answer is not waited for."""

import threading
import time

import pytest
from huggingface_hub import constants
from transformers.utils import hub as theirs

import worldgen.hub
from worldgen.data.shards.captioners import Captioner
from worldgen.encoders.clip import CLIP
from worldgen.encoders.compositions import Saved
from worldgen.encoders.imagebind_inputs import read_tokenizer
from worldgen.encoders.t5 import T5
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.hub import require_hub
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


def test_any_answer_will_do(silent, monkeypatch):
    class Session:
        def head(self, url, timeout):
            return type("Answer", (), {"status_code": 403})

    monkeypatch.setattr("huggingface_hub.utils.get_session", Session)
    require_hub("some/model")
    assert not constants.HF_HUB_OFFLINE
