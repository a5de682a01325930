import pytest
import torch

from worldgen.diffusion.super_resolution import (
    SpatialEnlargement,
    SuperResolution,
    TemporalEnlargement,
    load_stage,
)

WIDTHS = (8, 8, 8)
FRAMES = torch.rand(2, 5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_plain_enlargements_keep_what_is_flat_and_the_frames_that_are_there():
    flat = torch.full((1, 3, 3, 8, 8), 0.3)
    for enlargement in (SpatialEnlargement(), TemporalEnlargement()):
        fine = enlargement.enlarge(flat)
        assert enlargement.shrink(fine).shape == flat.shape and fine.shape != flat.shape
        torch.testing.assert_close(fine, torch.full_like(fine, 0.3))
    over = TemporalEnlargement()
    torch.testing.assert_close(over.enlarge(over.shrink(FRAMES))[:, ::2], FRAMES[:, ::2])
    between = over.enlarge(over.shrink(FRAMES))[:, 1]
    torch.testing.assert_close(between, (FRAMES[:, 0] + FRAMES[:, 2]) / 2)
    assert over.finer(8, 8, 25.0, 3) == (8, 8, 50.0, 5)
    assert SpatialEnlargement().finer(8, 8, 25.0, 3) == (16, 16, 25.0, 3)


@pytest.mark.parametrize("kind", [SpatialEnlargement, TemporalEnlargement])
def test_a_stage_learns_what_the_plain_way_lacks_and_comes_back_from_its_folder(kind, tmp_path):
    torch.manual_seed(0)
    stage, weight = SuperResolution(kind(), WIDTHS, steps=2), torch.ones(2, 5, 1, 16, 16)
    plain = stage.enlargement.enlarge(stage.enlargement.shrink(FRAMES))
    stage.std.fill_(float((FRAMES - plain).std()))
    optimizer, losses = torch.optim.AdamW(stage.parameters(), 1e-2), []
    for index in range(30):
        loss = stage.loss(FRAMES, weight, torch.Generator().manual_seed(index % 2))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    coarse = stage.enlargement.shrink(FRAMES)
    stage.save(tmp_path / "stage")
    again = load_stage(tmp_path / "stage")
    made = again.refine(coarse, [1, 2])
    assert made.shape == FRAMES.shape and torch.equal(made, again.refine(coarse, [1, 2]))
    torch.testing.assert_close(again.refine(coarse[1:], [2]), made[1:], atol=1e-4, rtol=1e-4)
    assert not torch.equal(again.refine(coarse, [3, 4]), made)
    torch.testing.assert_close(made, stage.refine(coarse, [1, 2]), atol=2e-2, rtol=0)
    if kind is TemporalEnlargement:
        assert torch.equal(made[:, ::2], FRAMES[:, ::2])


def test_what_is_no_stage_or_has_another_shape_is_refused(tmp_path):
    SuperResolution(SpatialEnlargement(), WIDTHS).save(tmp_path / "stage")
    (tmp_path / "stage" / "config.json").write_text('{"enlargement": "pathlib.Path"}')
    with pytest.raises(ValueError, match="must hold a whole stage; got TypeError: Path is no Enlargement"):
        load_stage(tmp_path / "stage")
    with pytest.raises(ValueError, match="multiples of 8"):
        SuperResolution(SpatialEnlargement(), (8, 8, 9))
    with pytest.raises(ValueError, match="even sides; got .15, 16."):
        SpatialEnlargement().shrink(FRAMES[..., 1:, :])
    with pytest.raises(ValueError, match="must be 1 . 2 n; got 4"):
        TemporalEnlargement().shrink(FRAMES[:, :4])
    with pytest.raises(ValueError, match="sides that are multiples of 8; got .12, 12."):
        SuperResolution(SpatialEnlargement(), WIDTHS).refine(torch.rand(1, 2, 3, 6, 6), [0])
