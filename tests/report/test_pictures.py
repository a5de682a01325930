"""Pictures in a page hold the frames that they were made of."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
from PIL import Image

from worldgen.report.pictures import clip_pictures, inline_svg
from worldgen.report.plots import Bar, plot_intervals


def test_a_small_clip_is_embedded_without_loss(clips):
    clip = clips["drop"]
    found = clip_pictures("truth", clip, "clip0", given=2)
    data = base64.b64decode(re.search(r"base64,([^)]*)\)", found.style)[1])
    sheet = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    frames = (clip.frames[0].clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    width = frames.shape[2]
    for place in range(len(frames)):
        np.testing.assert_array_equal(sheet[:, place * width : (place + 1) * width], frames[place])
    assert found.strip.count(" given") == 2 and f"--steps:{len(frames)}" in found.style


def test_a_short_clip_is_slowed_and_says_so(clips):
    clip = clips["drop"]
    assert "4× slower" in clip_pictures("x", clip, "a", 0).player  # 16 frames at 25 fps
    slow = replace(clip, fps=clip.fps / 10)
    assert "real time" in clip_pictures("x", slow, "a", 0).player


def test_a_plot_points_nowhere_and_takes_the_ink_of_the_page():
    svg = inline_svg(plot_intervals([Bar("ours", 1.0, 0.5, 2.0)], "px"), "what it shows")
    assert svg.startswith('<svg role="img" aria-label="what it shows"')
    assert "http" not in svg and "currentColor" in svg and "#000000" not in svg
