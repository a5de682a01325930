from dataclasses import replace

import pytest
import torch

from worldgen.diffusion.codec import IdentityCodec
from worldgen.diffusion.known import Known
from worldgen.generation.guidance import open_guidance
from worldgen.runs.folder import HOME, open_run
from worldgen.simulation.clips import simulate_clip
from worldgen.types import Clip

RUN = HOME / "assets" / "nano" / "generator"


@pytest.fixture(scope="module")
def model():
    return open_run(RUN)


@pytest.fixture(scope="module")
def known():
    clip = simulate_clip("drop", 123)
    return Known.of(Clip(clip.frames, clip.fps, ("a red ball drops onto the floor and bounces",)), (0, 1), 16)


def sample(model, known, lead=None):
    *_, z = model.sample_known(known, [3], lead=lead)
    return z


def test_estimates_are_moved_to_where_dynamics_see_them_go_and_nothing_else_is_led(model, known):
    guidance = open_guidance(RUN, model, 0.5)
    still = known.still(model.codec)
    true = model.codec.encode(simulate_clip("drop", 123))
    shaken = true + 0.3 * torch.randn(true.shape, generator=torch.Generator().manual_seed(0))
    x, sigma = (shaken - still) / model.latent_std, torch.tensor([0.5])
    led = guidance.lead(lambda x_sigma, _: torch.zeros_like(x_sigma), known, still)
    moved = x - sigma * led(x, sigma)
    body, scenery = guidance.bodies(known)[0]

    def residual(estimate):
        return float(
            guidance.residual(estimate * model.latent_std + still, guidance.seen(known.clip), body, scenery)
        )

    assert residual(moved) < 0.8 * residual(x)
    assert not torch.equal(sample(model, known, guidance.lead), sample(model, known))
    box = Known(replace(known.clip, prompts=("a box tumbles down a ramp",)), known.places)
    assert torch.equal(sample(model, box, guidance.lead), sample(model, box))


def test_without_a_readout_it_says_where_one_is_looked_for(model, tmp_path):
    (tmp_path / "run").mkdir()
    bare = replace_forecast(model)
    with pytest.raises(ValueError, match="--physics-guidance needs a readout and dynamics"):
        open_guidance(tmp_path / "run", bare, 1.0)
    assert open_guidance(RUN, bare, 1.0).readout.slots == 2
    bare.codec = IdentityCodec()
    with pytest.raises(ValueError, match="learned to read what the codec"):
        open_guidance(RUN, bare, 1.0)


def replace_forecast(model):
    """The same parts without a forecast."""
    bare = type(model).__new__(type(model))
    torch.nn.Module.__init__(bare)
    bare.codec, bare.forecast = model.codec, None
    bare.register_buffer("latent_std", torch.ones(()))
    return bare
