"""A voice learns from another's speech of captions."""

import lightning
import pytest
from lightning.pytorch.loggers import CSVLogger

from worldgen.audio.letters import LettersToMel
from worldgen.audio.voice import load_voice
from worldgen.data.captions import CaptionDataModule
from worldgen.tasks.parts import voice as voice_code
from worldgen.tasks.parts.voice import VoiceTask

TEXTS = ["a red ball", "a blue ball", "one cube", "two cubes"]


@pytest.fixture
def captions(monkeypatch):
    monkeypatch.setattr("worldgen.data.captions.read_captions", lambda folder: TEXTS * 2)
    return CaptionDataModule("train", "val", batch_size=2)


def test_each_caption_is_spoken_once_and_the_run_is_a_voice(captions, tmp_path, monkeypatch):
    task = VoiceTask(LettersToMel(8, 1, 1), "tests.audio.tones.ToneVoice", 2, cache=tmp_path / "cache")
    trainer = lightning.Trainer(
        max_steps=2, accelerator="cpu", logger=CSVLogger(tmp_path), enable_progress_bar=False,
        enable_checkpointing=False, check_val_every_n_epoch=None, val_check_interval=2,
        num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(task, captions)
    assert (
        len(list((tmp_path / "cache" / "voice").iterdir())) == 4
    )  # two to learn from, and those of validation
    assert trainer.callback_metrics["val/mel"] > 0
    assert load_voice(f"{trainer.log_dir}/voice").speak("a ball").seconds > 0

    def refuse(name):
        raise AssertionError("nobody speaks again")

    monkeypatch.setattr(voice_code, "load_voice", refuse)
    assert set(task.listen(TEXTS)) == set(TEXTS)


@pytest.mark.parametrize(
    "text, told", [("", "A text must have letters"), ("мяч падает", "ToneVoice cannot read")]
)
def test_a_caption_that_cannot_be_spoken_is_named(text, told, tmp_path):
    task = VoiceTask(LettersToMel(8, 1, 1), "tests.audio.tones.ToneVoice", cache=tmp_path)
    sentence = f"Of the caption '{text}' nothing can be learned: {told}"
    with pytest.raises(ValueError, match=f"{sentence}.* Or name a model.teacher that can."):
        task.listen(["a red ball", text])
