"""Pictures that move, and pictures that do not."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from worldgen.data.media import iterate_frames, read_video
from worldgen.data.reading.pictures import is_animated, picture_to_rgb, read_picture
from worldgen.data.videos import VideoReader


@pytest.mark.parametrize("ending", ["webp", "png", "apng"])
def test_an_animated_picture_is_a_video(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    images = [Image.new("RGB", (16, 8), (40 * k + 20, 0, 0)) for k in range(5)]
    options = {"lossless": True} if ending == "webp" else {"format": "PNG"}
    images[0].save(path, save_all=True, append_images=images[1:], duration=[40, 40, 40, 40, 900], **options)
    assert is_animated(path)
    shown = list(iterate_frames(path))
    assert [int(image[0, 0, 0]) for image, _ in shown] == [20, 60, 100, 140, 180]
    assert [seconds for _, seconds in shown] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    assert VideoReader().read(path).fps.item() == pytest.approx(25)
    images[0].save(path, format=options.get("format"))
    assert not is_animated(path) and read_video(path)[0].shape == (1, 3, 8, 16)
    path.write_bytes(b"RIFF....WEBPVP8X....\2" + b"x" * 40)
    with pytest.raises(ValueError, match="cannot be read as a picture"):
        list(iterate_frames(path))


def test_a_picture_upright_and_filled(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 4), (200, 100, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    assert read_picture(tmp_path / "turned.png").shape == (8, 4, 3)
    image.putalpha(0)
    assert (picture_to_rgb(image, background=30) == 30).all()
    assert (picture_to_rgb(Image.fromarray(np.full((2, 2), 51400, np.uint16))) == 200).all()
