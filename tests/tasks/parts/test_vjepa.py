import warnings

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors.torch import load_file
from torch.nn import functional
from torch.testing import assert_close
from transformers import AutoVideoProcessor, VJEPA2Model

from worldgen.cli.main import main
from worldgen.data.batching import stack_clips
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.shards.simulate import simulate_shards
from worldgen.encoders.vjepa2 import VJEPA2, predict_hidden, read_visible
from worldgen.runs.folder import HOME
from worldgen.simulation.clips import simulate_clip
from worldgen.tasks.parts.masking import Masking
from worldgen.tasks.parts.vjepa import VJEPATask, spread_and_rank
from worldgen.types import Clip

SMALL = {
    "dim": 24,
    "layers": 2,
    "heads": 2,
    "predictor_dim": 24,
    "predictor_layers": 1,
    "predictor_heads": 2,
    "size": 32,
    "frames": 6,
    "patch": 8,
    "warmup": 1,
}


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def clip_of(frames):
    return Clip(frames, torch.full((len(frames),), 8.0), ("",) * len(frames))


def lively(task):
    """Weights large enough that tokens differ by more than rounding."""
    generator = torch.Generator().manual_seed(1)
    for module in (task.model, task.teacher):
        for parameter in module.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return task


@pytest.fixture
def task():
    torch.manual_seed(0)
    return lively(VJEPATask(**SMALL))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    simulate_shards(folder, ("drop", "roll"), 12, size=32, frames=6, processes=1)
    return folder


def trainer(folder, steps, **settings):
    return Trainer(
        max_steps=steps,
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        **settings,
    )


# ---------------------------------------------------------------- what the context encoder sees


def test_reading_every_patch_is_the_librarys_encoder(task):
    pixels = noise(2, 6, 3, 32, 32)
    encoder = task.model.encoder
    every = torch.arange(48).expand(2, -1)
    assert_close(read_visible(encoder, encoder.embeddings(pixels), every), encoder(pixels).last_hidden_state)


def test_reading_the_first_frames_is_the_librarys_encoder_on_them(task):
    pixels = noise(2, 6, 3, 32, 32)
    encoder = task.model.encoder
    first = torch.arange(32).expand(2, -1)
    seen = read_visible(encoder, encoder.embeddings(pixels), first)
    assert_close(seen, encoder(pixels[:, :4]).last_hidden_state)


def test_places_count_and_order_does_not(task):
    """Tokens carry their places with them: shuffled patches give the same tokens, moved ones others."""
    patches = task.model.encoder.embeddings(noise(1, 6, 3, 32, 32))
    places = torch.tensor([[3, 10, 17, 40]])
    shuffled = places[:, [2, 0, 3, 1]]
    seen = read_visible(task.model.encoder, patches, places)
    assert_close(read_visible(task.model.encoder, patches, shuffled), seen[:, [2, 0, 3, 1]])
    same = patches[:, :1].expand_as(patches)
    mixed = torch.where(torch.arange(48)[:, None] % 40 == 0, same, -same)
    near, far = (read_visible(task.model.encoder, mixed, torch.tensor([[0, o]])) for o in (1, 41))
    assert (near - far).abs().max() > 1e-4


@pytest.mark.parametrize("mask", [Masking(3, 0.3), Masking(0, seen=(0.4, 0.7))])
def test_hidden_pixels_change_neither_context_nor_prediction(task, mask):
    frames, other = noise(2, 6, 3, 32, 32), noise(2, 6, 3, 32, 32, seed=1)
    split = mask.draw(2, 3, 4, torch.Generator().manual_seed(0))
    shown = torch.zeros(2, 48, dtype=torch.bool).scatter(1, split.visible, True)
    shown = shown.view(2, 3, 1, 4, 4).repeat_interleave(2, 1).repeat_interleave(8, 3).repeat_interleave(8, 4)
    pixels, changed = (task.pixels(clip_of(f)) for f in (frames, torch.where(shown, frames, other)))
    assert (pixels - changed).abs().max() > 0.5
    made = []
    for x in (pixels, changed):
        seen = read_visible(task.model.encoder, task.model.encoder.embeddings(x), split.visible)
        made.append((seen, predict_hidden(task.model.predictor, seen, *split)))
    assert (made[0][0] - made[1][0]).abs().max() == 0.0
    assert (made[0][1] - made[1][1]).abs().max() == 0.0
    whole = [
        task.model.encoder(x).last_hidden_state.gather(1, split.visible[..., None].expand(-1, -1, 24))
        for x in (pixels, changed)
    ]
    assert (whole[0] - whole[1]).abs().max() > 1e-3  # masked after the encoder, it leaks


def test_prediction_is_the_librarys_predictor(task):
    pixels = task.pixels(clip_of(noise(2, 6, 3, 32, 32)))
    split = Masking(2, 0.3).draw(2, 3, 4, torch.Generator().manual_seed(3))
    tokens = task.model.encoder(pixels).last_hidden_state
    expected = task.model.predictor(tokens, [split.visible], [split.hidden]).last_hidden_state
    seen = tokens.gather(1, split.visible[..., None].expand(-1, -1, 24))
    assert_close(predict_hidden(task.model.predictor, seen, *split), expected)
    assert (expected[:, 0] - expected[:, -1]).abs().max() > 1e-4


# ---------------------------------------------------------------- the objective


def test_the_loss_is_weighted_l1_to_the_layer_normalized_teacher_at_hidden_places(task):
    pixels = task.pixels(clip_of(noise(2, 6, 3, 32, 32)))
    target = task.target(pixels)
    assert_close(target, functional.layer_norm(task.teacher(pixels).last_hidden_state, (24,)))
    assert not target.requires_grad
    weight, splits = 1 + noise(2, 48, seed=3), task.draw(2, 5)
    total = 0
    for visible, hidden in splits:
        seen = read_visible(task.model.encoder, task.model.encoder.embeddings(pixels), visible)
        made = predict_hidden(task.model.predictor, seen, visible, hidden)
        error = torch.stack([(made[b] - target[b, hidden[b]]).abs().mean(dim=-1) for b in range(2)])
        heavy = torch.stack([weight[b, hidden[b]] for b in range(2)])
        total += (heavy * error).sum() / heavy.sum()
    loss, explained = task.loss(pixels, target, weight, splits)
    assert_close(loss, total / 3)
    assert not explained.requires_grad
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in task.model.parameters())
    assert all(parameter.grad is None for parameter in task.teacher.parameters())


def test_tokens_weigh_what_moves_in_them():
    frames = torch.full((1, 6, 3, 32, 32), 0.5)
    frames[:, 2, :, 8:12, 16:24] = 1.0  # half of a patch, in one of the tubelet's two frames
    clip = clip_of(frames)
    assert_close(VJEPATask(**SMALL).weight(clip), torch.ones(1, 48))
    expected = torch.ones(1, 48)
    expected[0, 16 + 4 + 2] += 8.0 / 4
    assert_close(VJEPATask(**SMALL, moving=8.0).weight(clip), expected)


def test_a_prediction_of_the_median_explains_nothing_and_a_perfect_one_all(task, monkeypatch):
    pixels = task.pixels(clip_of(noise(3, 6, 3, 32, 32)))
    target, weight, splits = task.target(pixels), 1 + noise(3, 48), task.draw(3, 0)
    median = target.median(dim=0, keepdim=True).values.expand_as(target)
    for answer, expected in ((median, 0.0), (target, 1.0), ((median + target) / 2, 0.5)):
        monkeypatch.setattr(
            "worldgen.tasks.parts.vjepa.predict_hidden",
            lambda _, __, ___, hidden, answer=answer: answer.gather(1, hidden[..., None].expand(-1, -1, 24)),
        )
        told = task.loss(pixels, target, weight, splits)[1]
        assert_close(told, torch.tensor(expected), atol=1e-6, rtol=0)


def test_the_teacher_is_the_moving_average_in_closed_form(task):
    before = [parameter.clone() for parameter in task.teacher.parameters()]
    for _ in range(5):
        task.follow()
    kept = 0.996**5
    for old, new, aim in zip(before, task.teacher.parameters(), task.model.encoder.parameters(), strict=True):
        assert_close(new.detach(), kept * old + (1 - kept) * aim.detach())


def test_pixels_are_the_exported_processors(task, tmp_path):
    task.save(tmp_path / "vjepa2")
    frames = noise(2, 6, 3, 32, 32)
    expected = AutoVideoProcessor.from_pretrained(tmp_path / "vjepa2")(
        list(frames), do_rescale=False, return_tensors="pt"
    )["pixel_values_videos"]
    assert_close(task.pixels(clip_of(frames)), expected)
    assert_close(VJEPA2(str(tmp_path / "vjepa2")).inputs(clip_of(frames)).values, expected)


# ---------------------------------------------------------------- collapse


def test_spread_and_rank_in_closed_form():
    generator = torch.Generator().manual_seed(0)
    full = torch.randn(64, 16, 8, generator=generator)
    spread, rank = spread_and_rank(full)
    assert abs(spread - 1) < 0.02 and 7.9 < rank <= 8.0
    places = torch.randn(1, 16, 8, generator=generator)
    assert_close(spread_and_rank(full + places), (spread, rank), atol=1e-5, rtol=1e-5)
    spread, rank = spread_and_rank(0.3 * full[..., :1] * torch.ones(8))
    assert abs(spread - 0.3) < 0.02 and abs(rank - 1) < 1e-3
    assert spread_and_rank(places.expand(4, -1, -1))[0] == 0.0  # a place each, whatever the clip


def collapsed(task):
    for parameter in task.teacher.layernorm.parameters():
        parameter.data.zero_()
    task.teacher.layernorm.bias.data.copy_(torch.randn(24, generator=torch.Generator().manual_seed(0)))
    return task


def test_a_collapse_is_warned_of_once_and_health_is_not(task, shards, tmp_path):
    data = ClipDataModule(train=shards, batch_size=6)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer(tmp_path, 3).fit(task, data)
    assert not [one for one in caught if "features collapse" in str(one.message)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sick = collapsed(lively(VJEPATask(**SMALL)))
        trainer(tmp_path, 3).fit(sick, data)
    told = [str(one.message) for one in caught if "features collapse" in str(one.message)]
    assert len(told) == 1
    assert (
        "at step 0 their standard deviation over clips is 0.000" in told[0] and "of 24. Lower lr" in told[0]
    )


# ---------------------------------------------------------------- training and what it leaves


def test_a_resumed_run_is_the_same_bits(shards, tmp_path):
    def fit(seed, **settings):
        torch.manual_seed(seed)
        task = VJEPATask(**SMALL)
        keep = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=2, save_top_k=-1)
        run = trainer(tmp_path, 5, callbacks=[keep])
        run.fit(task, ClipDataModule(train=shards, batch_size=4), **settings)
        return task.state_dict()

    whole = fit(0)
    resumed = fit(7, ckpt_path=tmp_path / "step=2.ckpt", weights_only=True)
    assert (whole["model.encoder.layernorm.weight"] != 1).any()
    for name, value in whole.items():
        assert (value == resumed[name]).all(), name


def test_the_command_leaves_a_checkpoint_that_transformers_and_our_encoder_load(shards, tmp_path, capsys):
    words = ["pretrain", "vjepa", "--data.train", str(shards), "--data.val", str(shards)]
    words += [f"--model.{name}={value}" for name, value in SMALL.items()]
    words += ["--data.batch_size=4", "--trainer.max_steps=2", "--trainer.accelerator=cpu"]
    words += ["--trainer.logger=lightning.pytorch.loggers.CSVLogger"]
    words += [f"--trainer.logger.save_dir={tmp_path}", "--trainer.enable_progress_bar=false"]
    main(words)
    (folder,) = tmp_path.glob("**/vjepa2")
    assert not list(tmp_path.glob("**/.vjepa2*"))
    assert {str(value.dtype) for value in load_file(folder / "model.safetensors").values()} == {
        "torch.float16"
    }
    plain, found = VJEPA2Model.from_pretrained(folder, output_loading_info=True)
    assert not any(found[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert plain.dtype == torch.float32
    encoder = VJEPA2(str(folder))
    clip = clip_of(noise(2, 6, 3, 32, 32))
    with torch.no_grad():
        expected = plain.eval().encoder(encoder.inputs(clip).values).last_hidden_state
    assert_close(encoder.encode(clip).values, expected)
    assert encoder.predict(clip, 2, 4).values.shape == (2, 32, 24)


def test_what_is_saved_is_the_teacher_with_the_predictor_and_replaces_what_was_there(task, tmp_path):
    folder = tmp_path / "vjepa2"
    folder.mkdir()
    (folder / "old").touch()
    task.save(folder)
    assert not (folder / "old").exists()
    model = VJEPA2Model.from_pretrained(folder)
    for mine, theirs in ((task.teacher, model.encoder), (task.model.predictor, model.predictor)):
        for (name, value), other in zip(mine.state_dict().items(), theirs.state_dict().values(), strict=True):
            assert_close(value, other, atol=1e-4, rtol=1e-3, msg=name)
    first = next(task.model.encoder.parameters())
    assert (first - next(model.encoder.parameters())).abs().max() > 1e-2


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"size": 36}, r"size must be a multiple, 2 or more, of patch \(8 pixels\); got 36"),
        ({"size": 8}, "size must be a multiple, 2 or more, .*; got 8"),
        ({"frames": 5}, r"frames must be a multiple, 2 or more, of tubelet \(2\); got 5"),
        ({"heads": 5}, "Each head must have 12 or more whole channels; got 24 for 5"),
        ({"predictor_heads": 3}, "12 or more whole channels; got 24 for 3"),
        ({"moving": -1.0}, "moving must be 0 or more; got -1.0"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\); got 1.0"),
        ({"short": None, "long": None, "future": None}, "needs at least one mask; got none"),
    ],
)
def test_bad_settings_get_a_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        VJEPATask(**{**SMALL, **settings})


def test_clips_of_another_size_get_a_sentence(task):
    with pytest.raises(
        ValueError, match=r"clips of 6 frames of 32 x 32 pixels here; got 4 of 24 x 40. Set model.frames"
    ):
        task.pixels(clip_of(noise(1, 4, 3, 24, 40)))


# ---------------------------------------------------------------- what ships


def test_the_nano_weights_load_as_any_v_jepa_2_and_their_features_have_not_collapsed():
    folder = HOME / "assets" / "nano" / "vjepa2"
    assert (folder / "model.safetensors").stat().st_size < 7e6
    encoder = VJEPA2(str(folder))
    clip = stack_clips(
        [simulate_clip(family, seed) for seed, family in enumerate(("drop", "roll", "topple"))]
    )
    tokens = encoder.encode(clip).values
    assert tokens.shape == (3, 8 * 4 * 4, 192) and encoder.predict(clip, 2, 14).values.shape == (
        3,
        7 * 16,
        192,
    )
    spread, rank = spread_and_rank(functional.layer_norm(tokens, (192,)))
    assert spread > 0.3 and rank > 8
