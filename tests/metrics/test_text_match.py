import pytest
import torch
from torch.testing import assert_close

from worldgen.encoders.imagebind import ImageBind
from worldgen.metrics.text_match import PromptMatch
from worldgen.types import Clip


class FakeBind:
    """The space is spanned by the words red and blue."""

    def embed_vision(self, clip):
        color = clip.frames.mean(dim=(1, 3, 4))[:, [0, 2]]
        return torch.nn.functional.normalize(color, dim=1)

    def embed_text(self, prompts):
        return torch.tensor([[1.0, 0.0] if "red" in prompt else [0.0, 1.0] for prompt in prompts])

    match_prompts = ImageBind.match_prompts


def flat(color, prompt):
    return Clip(
        torch.tensor(color)[None, None, :, None, None].expand(1, 2, 3, 4, 4), torch.ones(1), (prompt,)
    )


def test_the_right_prompt_scores_above_that_of_another_clip():
    red, blue = flat([1.0, 0.0, 0.0], "a red ball"), flat([0.0, 0.0, 1.0], "a blue ball")
    mixed = flat([0.6, 0.0, 0.8], "a red ball")
    encoder = FakeBind()
    assert_close(encoder.match_prompts(mixed), torch.tensor([0.6]))
    match = PromptMatch("ImageBind", encoder)
    for clip in (red, blue, mixed, flat([1.0, 0.0, 0.0], "")):
        match.add(clip)
    found = match.measure()
    assert found.value == pytest.approx(2.6 / 3) and found.n == 3
    # red with blue's words 0, blue with red's 0; the last has the words of the first
    assert found.floor == pytest.approx(0.0) and found.claim == "semantics"
    assert "1 clips without a prompt left out" in found.note and "every physical violation" in found.blind_to
    assert match.measure() == found
    silent = PromptMatch("x", encoder)
    silent.add(flat([1.0, 0.0, 0.0], ""))
    assert silent.measure().value is None
