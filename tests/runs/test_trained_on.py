"""What a run says of its training clips."""

import pytest
import torch
from torch.testing import assert_close

from tests.models import NANO, build
from worldgen.conditioning import Conditioner
from worldgen.data.shards.simulate import simulate_shards
from worldgen.data.sources import SimulatedClips
from worldgen.diffusion.codec import IdentityCodec
from worldgen.encoders.t5 import T5
from worldgen.runs.trained_on import (
    describe_training,
    picture_features,
    read_training,
    save_training,
    text_features,
)


def test_a_run_keeps_the_shape_of_most_clips_and_features_of_some(tmp_path):
    model = build(
        codec=IdentityCodec(), conditioner=Conditioner(text=T5(str(NANO / "t5")), dim=16, queries=2)
    )
    source = SimulatedClips(("drop",), 5, size=16, frames=4, fps=12.5)
    found = describe_training(model, source, most=3)
    assert (found.frames, found.height, found.width, found.fps) == (4, 16, 16, 12.5)
    assert found.text.shape == (3, 96) and found.picture.shape == (3, 6)
    save_training(found, tmp_path)
    again = read_training(tmp_path)
    assert again.fps == 12.5 and again.frames == 4
    assert_close(again.text, found.text, atol=1e-2, rtol=1e-2)
    clip = source[0]
    values, mask = model.conditioner.text.encode(clip)
    assert_close(text_features(model, clip)[0], values[0][mask[0]].mean(dim=0))
    z = clip.frames[0, 0] * 2 - 1
    assert_close(picture_features(model, clip)[0, :3], z.flatten(1).mean(dim=1))
    assert text_features(build(codec=IdentityCodec()), clip) is None


def test_a_run_without_the_file_is_told_by_its_training_folder(tmp_path):
    assert read_training(NANO / "generator").frames == 16
    run, data = tmp_path / "run", tmp_path / "data"
    run.mkdir()
    simulate_shards(data, ("drop",), 2, size=16, frames=4, fps=10.0, processes=1)
    (run / "config.yaml").write_text(f"data: {{train: {data}}}\n")
    found = read_training(run)
    assert (found.frames, found.height, found.width, found.fps, found.text) == (4, 16, 16, 10.0, None)
    (run / "config.yaml").write_text("data: {train: gone}\n")
    assert read_training(run) is None
    (run / "trained_on.safetensors").write_bytes(b"cut")
    with pytest.raises(Exception, match="."):
        read_training(run)


def test_a_damaged_file_is_refused_in_a_sentence(tmp_path):
    from safetensors.torch import save_file

    save_file({"text": torch.zeros(1)}, tmp_path / "trained_on.safetensors", metadata={"frames": "many"})
    with pytest.raises(ValueError, match="trained_on.safetensors must be whole, and is not"):
        read_training(tmp_path)
