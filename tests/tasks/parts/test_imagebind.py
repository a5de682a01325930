"""The binding task: its loss against the formula, who is left out, and what it saves."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from torch.testing import assert_close

from worldgen.audio.impact import add_sound
from worldgen.data.batching import stack_clips
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.shards.simulate import simulate_shards
from worldgen.data.sources import ShardedClips
from worldgen.data.transforms import add_imu
from worldgen.encoders.imagebind import ImageBind
from worldgen.encoders.imagebind_inputs import prepare_text, read_tokenizer
from worldgen.encoders.imagebind_layers import ImageBindConfig, Tower
from worldgen.tasks.parts.imagebind import ImageBindTask, info_nce, train_bpe_tokenizer

CAPTIONS = [
    f"a {color} {material} ball drops onto the floor"
    for color in ("red", "green", "blue")
    for material in ("rubber", "wooden")
]
TOWER = Tower(32, 1, 2)
TINY = ImageBindConfig(
    vision=TOWER,
    text=TOWER,
    audio=TOWER,
    depth=TOWER,
    thermal=None,
    imu=TOWER,
    out_dim=16,
    image_size=16,
    patch=8,
    sensor_patch=8,
    mel_bins=16,
    mel_frames=62,
    imu_length=128,
    vocabulary=540,
    context=77,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve clips; those that tumble are silent."""
    path = tmp_path_factory.mktemp("clips")
    simulate_shards(path, ("drop", "tumble", "collide"), 12, size=16, processes=1)
    return path


@pytest.fixture(scope="module")
def clip(folder):
    source = ShardedClips(folder)
    return stack_clips([source[index] for index in range(6)])


def task_of(config=TINY, captions=CAPTIONS):
    torch.manual_seed(0)
    task = ImageBindTask(config)
    if config.text is not None:
        task.tokenizer = train_bpe_tokenizer(captions, config.vocabulary)
    return task.eval()


def losses_of(task, batch):
    return task._compare(batch, torch.Generator().manual_seed(0))[0]


def test_info_nce_is_the_formula():
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(0)) * 3
    by_hand = 0.0
    for i in range(5):
        row = sum(math.exp(float(logits[i, j])) for j in range(5))
        column = sum(math.exp(float(logits[j, i])) for j in range(5))
        by_hand -= (2 * float(logits[i, i]) - math.log(row) - math.log(column)) / 10
    assert float(info_nce(logits)) == pytest.approx(by_hand, rel=1e-5)
    assert float(info_nce(torch.zeros(7, 7))) == pytest.approx(math.log(7))
    assert float(info_nce(torch.eye(4) * 50)) < 1e-6


def test_what_cannot_be_told_apart_is_no_candidate():
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(1))
    label = torch.tensor([0, 1, 0, 2])
    same = label[:, None] == label
    by_hand = 0.0
    for i in range(4):
        others = [j for j in range(4) if j == i or label[j] != label[i]]
        row = sum(math.exp(float(logits[i, j])) for j in others)
        column = sum(math.exp(float(logits[j, i])) for j in others)
        by_hand -= (2 * float(logits[i, i]) - math.log(row) - math.log(column)) / 8
    assert float(info_nce(logits, same)) == pytest.approx(by_hand, rel=1e-5)
    assert_close(info_nce(logits, torch.eye(4, dtype=torch.bool)), info_nce(logits))


def test_every_pair_is_with_vision_and_has_a_temperature_that_learns(clip):
    task = task_of()
    batch = task.encode(clip)
    assert [tuple(column.shape[1:]) for column in batch] == [
        (3, 2, 16, 16), (4,), (77,), (1, 16, 62), (3, 1, 16, 16), (6, 128)
    ]  # fmt: skip
    losses, logits = task._compare(batch, torch.Generator().manual_seed(0))
    assert [*losses] == ["text", "audio", "depth", "imu"]
    vision, text = (
        F.normalize(task.model.embed(*pair)) for pair in (("vision", batch[0]), ("text", batch[2]))
    )
    assert_close(logits["text"], vision @ text.T / 0.07, atol=1e-4, rtol=1e-4)
    losses["audio"].backward()
    learned = {name for name, weight in task.model.named_parameters() if weight.grad is not None}
    towers = {name.split(".")[1] for name in learned}
    assert towers == {"vision", "audio"}
    assert "modality_postprocessors.audio.1.log_logit_scale" in learned


def test_who_lacks_a_sense_is_left_out_of_its_loss(clip):
    task = task_of()
    batch = task.encode(clip)
    there = batch[1]
    assert there.tolist() == [
        [True, name != "tumble", True, True] for name in ("drop", "tumble", "collide") * 2
    ]
    before = losses_of(task, batch)
    heard = there[:, 1]
    seen = F.normalize(task.model.embed("vision", batch[0][heard]))
    sound = F.normalize(task.model.embed("audio", batch[3][heard]))
    assert_close(before["audio"], info_nce(seen @ sound.T / 0.07), atol=1e-5, rtol=1e-5)
    other = list(batch)
    other[3] = torch.where(heard[:, None, None, None], batch[3], torch.randn_like(batch[3]))
    assert_close(losses_of(task, tuple(other))["audio"], before["audio"], atol=0, rtol=0)
    bare = replace(clip, depth=None, scenes=None, truth=None, prompts=("", *clip.prompts[1:]))
    left = task.encode(bare)
    assert left[1].tolist() == [[row > 0, False, False, False] for row in range(6)]
    assert [*losses_of(task, left)] == ["text"]
    nothing = task.encode(replace(bare, prompts=("",) * 6))
    assert losses_of(task, nothing) == {}


def test_equal_captions_are_not_told_apart(clip):
    task = task_of()
    same = task.encode(replace(clip, prompts=("a red ball",) * 6))
    assert float(losses_of(task, same)["text"]) == pytest.approx(0, abs=1e-6)


def test_a_step_sees_one_frame_of_depth(clip):
    task = task_of()
    batch = task.encode(clip)
    first, again = (float(task._compare(batch, torch.Generator().manual_seed(3))[0]["depth"]) for _ in "12")
    others = {float(task._compare(batch, torch.Generator().manual_seed(s))[0]["depth"]) for s in range(5)}
    assert first == again and len(others) > 1


def test_depth_is_read_by_its_contrast(clip):
    stem = task_of().model.modality_preprocessors["depth"]
    depth = task_of().encode(clip)[4][:, 0]
    assert_close(stem(depth), stem(depth + 3), atol=2e-3, rtol=0)
    assert (stem(depth) - stem(depth.flip(0))).abs().max() > 0.1


def fit(folder, out, steps, config=TINY, task=None):
    torch.manual_seed(0)
    task = task or ImageBindTask(config, lr=1e-3, warmup=5, cache=out / "cache")
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=CSVLogger(out, name="run", version=""),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
        check_val_every_n_epoch=100,
    )
    trainer.fit(task, ClipDataModule(folder, folder, batch_size=12))
    return task


def test_it_trains_and_what_it_saves_is_an_imagebind(folder, tmp_path):
    task = fit(folder, tmp_path, 100)
    source = ShardedClips(folder)
    clips = stack_clips([add_imu(add_sound(source[index])) for index in range(12)])
    trained = losses_of(task.eval(), task.encode(clips))
    constant = math.log(12)  # what equal vectors for everybody would reach
    assert trained["text"] < constant - 1 and trained["depth"] < constant - 0.3, trained
    assert trained["audio"] < math.log(8) - 0.5, trained
    assert trained["imu"] < constant - 0.1, trained
    logged = (tmp_path / "run" / "metrics.csv").read_text()
    assert all(f"val/recall1_{name}" in logged for name in trained)
    encoder = ImageBind(tmp_path / "run" / "imagebind")
    assert encoder.modalities == ("vision", "text", "audio", "depth", "imu")
    expected = F.normalize(task.model.embed("vision", task.encode(clips)[0]))
    assert_close(encoder.embed_vision(clips), expected.detach(), atol=5e-3, rtol=0)  # saved in half precision
    assert not encoder.encode(clips).mask[1, 4:7].any()  # silence
    files = {file.name: file.stat().st_size for file in (tmp_path / "run" / "imagebind").iterdir()}
    assert files.keys() == {"config.json", "model.safetensors", "tokenizer.json"}
    assert (
        files["model.safetensors"] < 2.5 * sum(weight.numel() for weight in task.model.parameters()) + 40_000
    )


def test_the_tokenizer_is_read_as_clips(tmp_path):
    tokenizer = train_bpe_tokenizer(CAPTIONS, 540)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    read = read_tokenizer(tmp_path / "tokenizer.json", 540)
    ids = prepare_text(("A red  Würfel 🎲",), read, 30)[0]
    assert ids[0] == 538 and int(ids.max()) == 539
    assert train_bpe_tokenizer(CAPTIONS, 540).to_str() == tokenizer.to_str()
    ball = prepare_text(("ball",), read, 30)[0]
    assert int((ball > 0).sum()) == 3  # a frequent word is one token, between start and end
    with pytest.raises(
        ValueError, match=r"at most the \d+ merges that these captions give; got 5000. Choose 515 to"
    ):
        train_bpe_tokenizer(CAPTIONS, 5000)
    with pytest.raises(ValueError, match="at least one merge.*got 514"):
        train_bpe_tokenizer(CAPTIONS, 514)


def test_what_cannot_be_bound_gets_a_sentence(clip, folder, tmp_path):
    alone = dict.fromkeys(("text", "audio", "depth", "imu"))
    for config in (replace(TINY, thermal=TOWER), replace(TINY, **alone)):
        with pytest.raises(
            ValueError, match="is trained on vision and some of text, audio, depth and imu; got"
        ):
            ImageBindTask(config)
    with pytest.raises(ValueError, match="needs a folder to train on"):
        fit(None, tmp_path, 1)
    with pytest.raises(ValueError, match="A prompt must be at most 8 tokens"):
        task_of(replace(TINY, context=10)).encode(clip)
    deaf = task_of(replace(TINY, audio=None, imu=None))
    assert deaf.bound == ("text", "depth") and len(deaf.encode(clip)) == 4
