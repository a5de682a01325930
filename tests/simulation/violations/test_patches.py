import torch

from worldgen.simulation.violations.patches import dilate, fill_holes, shift


def test_a_point_grows_to_a_square():
    mask = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    mask[..., 4, 4] = True
    square = torch.zeros_like(mask)
    square[..., 2:7, 2:7] = True
    assert torch.equal(dilate(mask, 2), square)


def test_a_hole_in_one_color_is_filled_with_it_and_the_rest_is_untouched():
    torch.manual_seed(0)
    image = torch.rand(1, 3, 16, 16)
    image[..., 4:12, 4:12] = torch.tensor([0.2, 0.5, 0.8])[:, None, None]
    holes = torch.zeros(1, 16, 16, dtype=torch.bool)
    holes[:, 7:9, 7:9] = True
    torn = torch.where(holes[:, None], torch.nan, image).nan_to_num(9.0)
    torch.testing.assert_close(fill_holes(torn, holes), image)


def test_what_is_shifted_back_is_as_it_was_but_for_what_left():
    image = torch.rand(2, 3, 4, 10)
    assert torch.equal(shift(image, 3)[..., 3:], image[..., :-3])
    assert not shift(image, 3)[..., :3].any() and not shift(image, -3)[..., -3:].any()
    assert torch.equal(shift(shift(image, 3), -3)[..., :7], image[..., :7])
    assert torch.equal(shift(image, 0), image)
