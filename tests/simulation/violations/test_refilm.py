import pytest
import torch

from tests.simulation.violations.films import violations
from worldgen.simulation.rendering.render import film_states

EXAMPLES = (("drop", 1), ("bounce", 2), ("collide", 1))


@pytest.mark.parametrize("family, seed", EXAMPLES)
def test_frames_masks_and_depth_are_those_of_the_truth(family, seed):
    for violation in violations(family, seed):
        clip = violation.clip
        footage = film_states(clip.truth, clip.scenes, 64, clip.camera)
        torch.testing.assert_close(footage.frames, clip.frames, rtol=0, atol=1.5 / 255)
        assert (footage.masks != clip.masks).float().mean() < 1e-5, violation.name
        torch.testing.assert_close(footage.depth, clip.depth, rtol=0, atol=1e-4)
        where = clip.camera.project(clip.truth.position, 64, 64)[0]
        y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
        radius = 26 * clip.truth.extent[0, :, 0]  # pixels, about
        whole = clip.truth.present[0] & ((where - 31.5).abs().amax(dim=-1) < 31 - radius)
        whole &= clip.masks[0].sum(dim=(-2, -1)) > 0.9 * torch.pi * radius**2  # nobody before it
        assert whole.any()
        for frame, number in whole.nonzero().tolist():
            mask = clip.masks[0, frame, number]
            found = torch.stack([x[mask].mean(), y[mask].mean()])
            torch.testing.assert_close(found, where[frame, number], rtol=0, atol=0.6)
        gone = ~clip.truth.present[0]
        assert not clip.masks[0][gone].any()
