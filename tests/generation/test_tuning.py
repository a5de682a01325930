"""One-shot tuning with the shipped generator: one clip is learned, and what cannot be is refused."""

import json
from dataclasses import replace

import pytest
import torch

from worldgen.data.shards.simulate import simulate_shards
from worldgen.encoders.lora import Lora, linear_maps
from worldgen.generation.tuning import Tuning, learn_clip, read_tuned_clip, tune
from worldgen.runs.folder import HOME, open_run
from worldgen.runs.trained_on import read_training

RUN = HOME / "assets" / "nano" / "generator"
PROMPT = "a red ball drops onto the floor and bounces"


def test_the_clip_is_learned_and_the_generator_stays_as_it_was(videos):
    model, trained = open_run(RUN), read_training(RUN)
    clip = read_tuned_clip(str(videos / "drop.mp4"), PROMPT, trained)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    maps = [model.denoiser.get_submodule(name) for name in linear_maps(model.denoiser)]
    count, losses = sum(4 * (one.in_features + one.out_features) for one in maps), []
    for lr in (1e-9, 1e-2):  # the same draws, without learning and with
        lora = Lora(name="tuned", rank=4, alpha=4.0, targets=linear_maps(model.denoiser))
        losses.append(learn_clip(model, lora, clip, trained.frames, Tuning(steps=30, rank=4, lr=lr)))
        assert lora.count(model.denoiser) == count
        lora.eject(model.denoiser)
    assert sum(losses[1][-10:]) < 0.9 * sum(losses[0][-10:])
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())


def test_same_seed_same_bits_and_a_folder_of_before_is_replaced(tuned, videos, tmp_path):
    how = Tuning(steps=4, rank=2, lr=1e-2)
    (tmp_path / "lora").mkdir()
    with pytest.raises(ValueError, match="--out must be a new folder, or one of `worldgen tune`"):
        tune(RUN, str(videos / "drop.mp4"), PROMPT, tmp_path / "lora", how)
    (tmp_path / "lora").rmdir()
    weights = "adapter_model.safetensors"
    for seed, same in ((1, False), (0, True)):
        tune(RUN, str(videos / "drop.mp4"), PROMPT, tmp_path / "lora", replace(how, seed=seed))
        found = (tmp_path / "lora" / weights).read_bytes()
        assert (found == (tuned.folder / weights).read_bytes()) is same
    assert json.loads((tmp_path / "lora" / "tuned.json").read_text())["seed"] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lora"]


def test_clips_of_shards_have_their_own_words_and_long_ones_are_learned_in_pieces(videos, tmp_path):
    trained = read_training(RUN)
    simulate_shards(tmp_path / "data", ("drop",), 1, processes=1)
    simulate_shards(tmp_path / "coarse", ("drop",), 1, size=32, processes=1)
    clip = read_tuned_clip(f"{tmp_path / 'data'}:0", None, trained)
    assert "ball" in clip.prompts[0] and clip.scenes is not None
    assert read_tuned_clip(f"{tmp_path / 'data'}:0", "a box", trained).prompts == ("a box",)
    with pytest.raises(ValueError, match="frames of 64 x 64 at 25 fps; .* has 32 x 32 at 25 fps"):
        read_tuned_clip(f"{tmp_path / 'coarse'}:0", None, trained)
    still = tune(RUN, str(videos / "still.mp4"), "a red ball", tmp_path / "still", Tuning(1, 1, 1e-3))
    assert still.told["frames"] == 40


@pytest.mark.parametrize(
    "name, prompt, sentence",
    [
        ("small.mp4", PROMPT, "CLIP must have frames of 64 x 64 at 25 fps; .*small.mp4 has 32 x 32"),
        ("short.mp4", PROMPT, "CLIP must have 16 frames at 25 fps; .*short.mp4 has 5"),
        ("drop.mp4", None, "--prompt must say what .*drop.mp4 shows; got none"),
        ("none.mp4", PROMPT, "No video at .*none.mp4"),
    ],
)
def test_what_cannot_be_learned_is_refused_and_nothing_is_written(videos, name, prompt, sentence, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        tune(RUN, str(videos / name), prompt, tmp_path / "out", Tuning(1))
    assert not list(tmp_path.iterdir())


def test_numbers_that_train_nothing_are_refused():
    with pytest.raises(ValueError, match="--rank must be above 0; got 0"):
        Tuning(rank=0)
