"""What training reads of clips is what its encoders look at."""

from shutil import copytree
from types import SimpleNamespace

import pytest
import torch

from tests.models import NANO, build
from worldgen.conditioning import Conditioner
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.shards.simulate import simulate_shards
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.codec import load_codec
from worldgen.diffusion.dit import DiT
from worldgen.diffusion.process import CleanFlowMatching
from worldgen.diffusion.sampler import Sampler
from worldgen.encoders.base import Encoder, Tokens
from worldgen.latents import Latents
from worldgen.physics.ball_forecast import BallForecast
from worldgen.physics.flight import Ballistic
from worldgen.simulation.scenes.materials import scene_materials
from worldgen.tasks import encoding
from worldgen.tasks.encoding import encoding_recipe, unread_members
from worldgen.tasks.generator import WorldGenerator


class DepthSeen(Encoder):
    """Says how far away the picture is on the mean; 0 where it is not told."""

    dim, origins = 4, ("depth",)

    def __init__(self):
        super().__init__()
        self.freeze()

    def encode(self, clip):
        far = torch.zeros(len(clip)) if clip.depth is None else clip.depth.mean(dim=(1, 2, 3, 4))
        return Tokens(far[:, None, None].expand(-1, 1, 4), torch.ones(len(clip), 1, dtype=torch.bool))


def test_an_encoder_that_looks_at_depth_is_told_it_in_training_as_in_evaluation(tmp_path):
    simulate_shards(tmp_path / "clips", ("drop",), 2, size=16, frames=4, processes=1)
    task = build(WorldGenerator, cache=tmp_path / "cache")
    model = task.model
    assert unread_members(model) == ("depth", "masks", "scene")
    model.conditioner = Conditioner(multimodal=DepthSeen(), dim=16, queries=2)
    data = ClipDataModule(train=tmp_path / "clips", batch_size=2)
    task._trainer = SimpleNamespace(datamodule=data)  # all that setup asks of one
    task.setup("fit")
    kept = Latents.from_columns(next(iter(data.train_dataloader())))
    seen = sorted(kept.slots[0].tokens.values[:, 0, 0].tolist())
    whole = (model.encode(clip) for clip in map(ShardedClips(tmp_path / "clips").__getitem__, (0, 1)))
    judged = sorted(float(latents.slots[0].tokens.values[0, 0, 0]) for latents in whole)
    assert seen == pytest.approx(judged) and min(seen) > 1


def test_what_cannot_be_trained_on_is_refused_before_anything_is_encoded(tmp_path):
    """Clips of a shape that leaves patches cut through, or fewer clips than a batch."""
    simulate_shards(tmp_path / "good", ("drop",), 2, size=16, processes=1)
    simulate_shards(tmp_path / "odd", ("drop",), 2, size=24, processes=1)
    task = WorldGenerator(
        load_codec(str(NANO / "codec")),
        Conditioner(dim=16, queries=2),
        lambda *sizes: DiT(*sizes, dim=24, depth=1, heads=2, patch=(1, 2, 2)),
        CleanFlowMatching(),
        Sampler(steps=2),
        cache=tmp_path / "cache",
    )

    def setup(folder, batch_size):
        data = ClipDataModule(train=tmp_path / folder, batch_size=batch_size)
        task._trainer = SimpleNamespace(datamodule=data)
        task.setup("fit")

    with pytest.raises(ValueError, match=r"Clips of 16 frames of 24 x 24 pixels .*odd cannot be trained on"):
        setup("odd", 2)
    with pytest.raises(ValueError, match=r"Training needs a full batch of 3"):
        setup("good", 3)
    assert not (tmp_path / "cache").exists()
    before = torch.get_rng_state()
    setup("good", 2)
    assert torch.equal(torch.get_rng_state(), before), "a trial draws nothing"
    assert (tmp_path / "cache").exists()


def test_roll_outs_of_other_code_are_made_again(tmp_path, monkeypatch):
    told = build(forecast=BallForecast(scene_materials, Ballistic()))
    plain, before = encoding_recipe(build()), encoding_recipe(told)
    copytree(encoding._HOUSE / "physics", tmp_path / "physics")
    copytree(encoding._HOUSE / "simulation", tmp_path / "simulation")
    monkeypatch.setattr(encoding, "_HOUSE", tmp_path)
    assert encoding_recipe(told) == before
    for name in ("physics/start.py", "simulation/scenes/materials.py"):
        with (tmp_path / name).open("a") as file:
            file.write("\n# Another one.\n")
        assert encoding_recipe(told) != before
        before = encoding_recipe(told)
    assert encoding_recipe(build()) == plain
