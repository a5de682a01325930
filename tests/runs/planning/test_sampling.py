import pytest
import torch

from tests.allocations import most_allocated
from tests.models import NANO, build
from worldgen.diffusion.codec import IdentityCodec, load_codec
from worldgen.diffusion.context import hold
from worldgen.diffusion.dit import DiT
from worldgen.diffusion.known import OtherContexts
from worldgen.runs.planning import sampling
from worldgen.runs.planning.sampling import play_sampling, require_memory
from worldgen.types import Clip


def wide(codec, **changes):
    return build(
        codec=codec, denoiser=lambda *sizes: DiT(*sizes, dim=48, depth=2, heads=2, patch=(1, 2, 2)), **changes
    ).eval()


def test_the_peak_is_that_of_real_frames():
    model = wide(load_codec(str(NANO / "codec")))
    clip = Clip(torch.rand(3, 16, 3, 64, 64), torch.full((3,), 25.0), ("",) * 3)
    model.generate(hold(clip, 2, 2), 16, 0)  # tables of positions are made once
    most = most_allocated(lambda: model.generate(hold(clip, 2, 2), 16, 0))
    played = play_sampling(model, 3, (16, 64, 64))
    assert 0.7 * most < played < 1.1 * most  # what kernels take for themselves is not played


def test_the_peak_grows_with_clips_and_size_and_the_model_stays():
    model = wide(IdentityCodec())
    for _ in range(2):  # tables of positions are made once
        one, two, large = (
            play_sampling(model, clips, (8, side, side)) for clips, side in ((1, 32), (2, 32), (1, 64))
        )
    assert two == pytest.approx(2 * one, rel=0.1) and large == pytest.approx(4 * one, rel=0.1)
    assert not any(value.is_meta for value in (*model.parameters(), *model.buffers()))


def test_a_model_that_knows_any_frames_is_played_as_one_of_first_frames():
    others = OtherContexts(last={1: 0.2}, random=0.3)
    first, any_frames = wide(IdentityCodec()), wide(IdentityCodec(), contexts={0: 0.5}, other_contexts=others)
    played, other = (play_sampling(model, 1, (8, 32, 32)) for model in (first, any_frames))
    assert other == pytest.approx(played, rel=0.1)


def test_what_does_not_fit_is_refused_with_the_estimate(monkeypatch):
    model = wide(IdentityCodec())
    needed = play_sampling(model, 2, (8, 32, 32))
    monkeypatch.setattr(sampling, "available_bytes", lambda: needed)
    require_memory(model, 2, (8, 32, 32))
    said = "3 x 8 frames of 32 x 32 pixels are 6,144 tokens and take about .* MiB; .* are free. Lower"
    with pytest.raises(ValueError, match=said):
        require_memory(model, 3, (8, 32, 32))
