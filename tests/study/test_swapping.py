import pytest
import torch

from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.scenes.families import RESTITUTION
from worldgen.simulation.violations.dynamics import swap_materials
from worldgen.simulation.violations.refilm import NotViolable
from worldgen.study.swapping import choose_partners, swap_words
from worldgen.types import GRAVITY


@pytest.fixture(scope="module")
def clips():
    families = ("drop", "drop", "bounce", "bounce")
    return [simulate_clip(family, 40 + seed, size=32) for seed, family in enumerate(families)]


def test_a_material_is_simulated_again_as_the_other_one(clips):
    other = swap_materials(clips[0], 2)
    assert torch.equal(other.frames[:, :2], clips[0].frames[:, :2])
    (prompt,) = clips[0].prompts
    material = next(name for name in RESTITUTION if name in prompt)
    (expected,) = (value for name, value in RESTITUTION.items() if name != material)
    assert swap_words(prompt) != prompt
    assert swap_words(swap_words(prompt)) == prompt
    for clip, restitution in ((clips[0], RESTITUTION[material]), (other, expected)):
        speed = clip.truth.velocity[0, :, 0, 2]
        lowest = int(speed.diff().argmax())  # the frame before the bounce
        time = 2 * float(clip.truth.dt[0]) * GRAVITY  # at most what gravity does within the frames around it
        assert abs(-float(speed[lowest + 1] / speed[lowest]) - restitution) < time / float(-speed[lowest])
    with pytest.raises(NotViolable, match="needs an object that is rubber or wooden; there is none"):
        swap_materials(simulate_clip("topple", 3, size=16, frames=4))


def test_a_partner_is_of_the_same_family_and_says_something_else():
    families = ["a", "b", "a", "a", "b", "c"]
    assert choose_partners(families, ["x", "x", "x", "y", "z", "x"]).tolist() == [3, 4, 3, 0, 1, 3]
