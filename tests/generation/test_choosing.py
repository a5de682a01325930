import math
from dataclasses import replace

import pytest
import torch

from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.generation.choosing import BestOf, Drawn, Plausibility, open_plausibility
from worldgen.runs.folder import HOME
from worldgen.simulation.clips import simulate_clip
from worldgen.types import Clip

VJEPA = str(HOME / "assets" / "nano" / "vjepa2")


@pytest.fixture(scope="module")
def drop():
    clip = simulate_clip("drop", 123)
    return Clip(clip.frames, clip.fps, clip.prompts, camera=clip.camera)


def jumping(clip):
    """Every third frame comes too early: what moves jumps on and back."""
    order = [min(n + 3 * (n % 3 == 0), clip.frames.shape[1] - 1) for n in range(clip.frames.shape[1])]
    return replace(clip, frames=clip.frames[:, order])


@pytest.mark.parametrize("camera", [True, False])
@pytest.mark.parametrize("name", ["laws", "replay"])
def test_true_motion_is_more_plausible_than_jumps_and_standing_still_is_not_told(name, camera, drop):
    measure = open_plausibility(name)
    true = drop if camera else replace(drop, camera=None)
    found = measure(true)
    still = replace(true, frames=true.frames[:, :1].expand_as(true.frames))
    assert math.isnan(measure(still))
    if camera or name == "laws":
        assert found < measure(jumping(true)) - 0.01
    else:  # sixteen frames of a ball of a few pixels give no scale
        assert math.isnan(found) or found < 0.1


def test_surprise_needs_weights_and_says_where_the_model_holds_them(drop):
    with pytest.raises(ValueError, match="--by surprise needs weights that predict, by path"):
        open_plausibility("surprise")
    measure = open_plausibility(f"surprise:{VJEPA}")
    assert measure(drop) < measure(jumping(drop))
    assert measure(Clip(drop.frames[:, :1], drop.fps, drop.prompts)) != measure(drop)
    model = torch.nn.Module()
    assert measure.told_of(model) == ""
    model.video = VJEPA2(VJEPA)
    assert "CIRCULAR" in measure.told_of(model)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("beauty", "--by must be replay, laws, surprise:CHECKPOINT or a class path"),
        ("surprise:nowhere", "nowhere"),
        ("worldgen.generation.choosing.Drawn", "must name a measure to choose by"),
        ("laws:weights", "must name a measure to choose by"),
    ],
)
def test_a_measure_that_is_none_is_refused(text, sentence):
    with pytest.raises((ValueError, OSError), match=sentence):
        open_plausibility(text)


class Darkness(Plausibility):
    claims = "brightness"

    def __call__(self, clip):
        mean = float(clip.frames.mean())
        return math.nan if mean > 0.9 else mean


class Flat:
    """Frames as bright as a seed says."""

    def make(self, prompts, seeds, beat):
        beat(lambda: None)
        for _ in range(2):
            yield torch.stack([torch.full((2, 3, 4, 4), BRIGHTNESS[seed]) for seed in seeds])


BRIGHTNESS = {7: 0.5, 8: 1.0, 9: 0.2, 10: 1.0, 11: 1.0, 12: 1.0}


def test_of_draws_with_successive_seeds_the_least_is_kept_and_the_first_where_none_is_told():
    beats = []
    best = BestOf(Flat(), Darkness(), 3, 25.0, None, at_once=2)
    (frames,) = best.make(["a", "b"], [7, 10], lambda _: beats.append(1))
    assert frames.shape == (2, 4, 3, 4, 4) and len(beats) == 4
    assert frames[0].unique().tolist() == pytest.approx([0.2]) and frames[1].unique().tolist() == [1.0]
    first, second = best.drawn
    assert first.told == {"seeds": [7, 8, 9], "scores": [0.5, None, pytest.approx(0.2)], "kept": 9}
    assert second == Drawn((10, 11, 12), second.scores) and second.told["kept"] == 10
