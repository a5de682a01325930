import pytest
import torch

from worldgen.diffusion.super_resolution import SpatialEnlargement, SuperResolution, TemporalEnlargement
from worldgen.generation.cascade import Cascade, open_cascade
from worldgen.generation.layout import Frame

WIDTHS = (8, 8, 8)


@pytest.fixture(scope="module")
def cascade(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages")
    for name, kind in (("time", TemporalEnlargement), ("space", SpatialEnlargement)):
        SuperResolution(kind(), WIDTHS, steps=1).save(folder / name)
    return open_cascade([folder / "time", folder / "space"])


def test_a_cascade_tells_its_shape_and_makes_it_piece_by_piece(cascade):
    assert cascade.shape(Frame(8, 16, 25.0, 7)) == Frame(16, 32, 50.0, 13)
    frames = torch.rand(2, 7, 3, 8, 16, generator=torch.Generator().manual_seed(0))
    pieces = list(cascade.refine([frames[:, :3], frames[:, 3:3], frames[:, 3:]], [0, 1]))
    assert [piece.shape for piece in pieces] == [(2, 5, 3, 16, 32), (2, 8, 3, 16, 32)]
    whole = torch.cat(pieces, dim=1)
    plain = SpatialEnlargement().enlarge(TemporalEnlargement().enlarge(frames))
    torch.testing.assert_close(whole.mean(), plain.mean(), atol=0.2, rtol=0)
    assert whole.shape == plain.shape
    none = list(Cascade().refine([frames], [0, 1]))
    assert len(none) == 1 and torch.equal(none[0], frames)


def test_a_missing_stage_and_sides_that_no_stage_makes_are_refused(cascade, tmp_path):
    with pytest.raises(FileNotFoundError, match="The folder of a stage must hold"):
        open_cascade([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match="multiples of 8; got 12 x 16"):
        cascade.shape(Frame(12, 16, 25.0, 3))
