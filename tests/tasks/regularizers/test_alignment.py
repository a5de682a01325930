from functools import partial

import pytest
import torch
from torch.testing import assert_close

from tests.models import NANO, build
from tests.told import some_clips, some_draws
from worldgen.data.cache.cache import EXACT
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.shards.simulate import simulate_shards
from worldgen.diffusion.denoisers.registers import RegisterDiT
from worldgen.diffusion.denoisers.unet import UNet
from worldgen.diffusion.dit import DiT
from worldgen.encoders.t5 import T5
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.tasks.generator import WorldGenerator
from worldgen.tasks.regularizers.alignment import FeatureRegularizer, RelationRegularizer
from worldgen.tasks.regularizers.base import TrainingStep, regularized_loss

KINDS = (partial(RelationRegularizer, margin=0.0), FeatureRegularizer)


@pytest.fixture(scope="module")
def encoder():
    return VJEPA2(str(NANO / "vjepa2"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    simulate_shards(folder, ("drop", "collide"), 3, size=64, processes=1)
    return folder


def deep(kind=DiT, **changes):
    return build(denoiser=lambda *sizes: kind(*sizes, dim=24, depth=4, heads=2, patch=(1, 1, 1)), **changes)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_reaches_denoiser_and_projection_and_not_the_encoder(kind, encoder, folder, tmp_path):
    model, regularizer = deep(), kind(encoder)
    added = regularizer.add_weights(model)
    features = regularizer.prepare(model, ClipDataModule(train=folder), tmp_path, EXACT)
    assert [column.shape for column in features[0]] == [(1, 8, 4, 4, 192)]
    latents = model.encode(some_clips(1))
    _, (term,) = regularized_loss(
        model, latents, some_draws(latents), [regularizer], torch.Generator(), [features[0]]
    )
    term.backward()
    assert all(weight.grad.any() for weight in added.parameters())
    # Half of the blocks: what lies behind is not asked.
    assert model.denoiser.blocks[1].table.grad.any() and model.denoiser.blocks[2].table.grad is None
    assert not any(weight.requires_grad or weight.grad is not None for weight in encoder.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_small_where_tokens_are_the_encoders(kind, encoder):
    model, regularizer = deep(), kind(encoder, block=4)
    regularizer.add_weights(model)
    regularizer.projection = torch.nn.Identity()
    latents, tokens = model.encode(some_clips()), torch.randn(3, 16, 192)
    features = tokens.unflatten(1, (16, 1, 1))
    step = TrainingStep(latents, latents.z, some_draws(latents), tokens=[None, None, None, tokens])
    same, other = (
        regularizer(model, step._replace(targets=(one,)), torch.Generator())
        for one in (features, torch.randn(features.shape))
    )
    assert_close(same, torch.tensor(0.0), atol=1e-5, rtol=0)
    assert other > 0.05


def test_frames_as_a_whole_are_alike_within_the_margin(encoder, folder, tmp_path):
    """One token a frame, as in a latent of object states, leaves nothing to relate."""
    data = ClipDataModule(train=folder)
    features = RelationRegularizer(encoder).prepare(deep(), data, tmp_path, EXACT)
    for index in range(3):
        frames = features[index][0].mean(dim=(2, 3))[0]  # (8, 192)
        cosines = torch.cosine_similarity(frames[:, None], frames[None], dim=-1)
        assert 0.9 < cosines.min() < 0.9999
        cells = features[index][0][0].flatten(0, 2)
        assert torch.cosine_similarity(cells[:, None], cells[None], dim=-1).min() < 0.8


def test_tokens_of_registers_are_left_out(encoder):
    model, regularizer = deep(RegisterDiT), FeatureRegularizer(encoder, block=1)
    regularizer.add_weights(model)
    latents, tokens = model.encode(some_clips()), torch.randn(3, 16 + 32, 24)
    step = TrainingStep(
        latents, latents.z, some_draws(latents), tokens=[tokens], targets=(torch.randn(3, 8, 4, 4, 192),)
    )
    moved = tokens.clone()
    moved[:, 16:] += 1
    one, two = (regularizer(model, step._replace(tokens=[x]), torch.Generator()) for x in (tokens, moved))
    assert torch.equal(one, two)


def test_what_learns_beside_the_model_is_in_the_checkpoint_and_not_in_the_model(encoder):
    def task():
        return build(WorldGenerator, regularizers=[RelationRegularizer(encoder)])

    first, checkpoint = task(), {}
    torch.nn.init.normal_(first.regularizers[0].projection[0].weight)
    first.on_save_checkpoint(checkpoint)
    assert sum("0.0.weight" in name for name in checkpoint["added"]) == 1
    assert checkpoint["state_dict"].keys() == build(WorldGenerator).model.trained_state().keys() | {
        name for name in checkpoint["state_dict"] if name.startswith("average.")
    }
    second = task()
    second.on_load_checkpoint(dict(checkpoint))
    weights = [one.regularizers[0].projection[0].weight for one in (first, second)]
    assert torch.equal(*weights)
    optimized = {id(one) for one in second.optimizer_choice.make(second, 1e-3, 0.0).param_groups[0]["params"]}
    assert id(weights[1]) in optimized


def test_what_cannot_be_aligned_is_refused_in_a_sentence(encoder, folder, tmp_path):
    with pytest.raises(ValueError, match=r"block must lie in 1 \.\. 4, the denoiser's blocks; got 5"):
        RelationRegularizer(encoder, block=5).add_weights(deep())
    flat = build(denoiser=lambda *sizes: UNet(*sizes, widths=(16, 32, 32), head_dim=8, norm_groups=8))
    with pytest.raises(ValueError, match="tokens on a grid; UNet has none"):
        RelationRegularizer(encoder).add_weights(flat)
    with pytest.raises(ValueError, match="on a grid of the clip; those of T5 do not"):
        RelationRegularizer(T5(str(NANO / "t5"))).prepare(
            deep(), ClipDataModule(train=folder), tmp_path, EXACT
        )
    with pytest.raises(FileNotFoundError, match="nowhere does not"):
        VJEPA2("./nowhere")
