import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import worldgen
from worldgen.data.media import write_video
from worldgen.types import Clip

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def clip():
    return worldgen.simulate("drop", 2)


def test_importing_it_imports_nothing_and_every_name_is_there():
    code = "import sys, worldgen; print([name for name in ('torch', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
    assert set(worldgen.__all__) <= set(dir(worldgen))
    for name in worldgen.__all__:
        assert getattr(worldgen, name).__name__ == name
    assert worldgen.Clip is Clip
    with pytest.raises(AttributeError, match="worldgen has no 'simulat'; it has Check, Clip"):
        worldgen.simulat  # noqa: B018


def test_a_clip_is_continued_from_its_first_frames_alone(clip):
    model = worldgen.open_run(ROOT / "assets/nano/generator")
    made = worldgen.generate(model, clip, seed=3)
    assert made.frames.shape == clip.frames.shape and made.prompts == clip.prompts
    frames = clip.frames.clone()
    frames[:, 2:] = 1 - frames[:, 2:]
    assert torch.equal(worldgen.generate(model, replace(clip, frames=frames), seed=3).frames, made.frames)
    assert not torch.equal(worldgen.generate(model, clip, seed=4).frames, made.frames)
    assert worldgen.generate(model, clip, frames=7).frames.shape[1] == 7
    with pytest.raises(ValueError, match="context_frames must be 1 to 16, of the clip; got 17"):
        worldgen.generate(model, clip, context_frames=17)


def test_truth_is_right_and_a_thing_that_vanishes_is_not(clip):
    right = worldgen.evaluate(clip, clip)
    assert right["permanence"].score == 1
    assert right["free_fall"].score is None or right["free_fall"].score > 0.8
    gone = clip.frames.clone()
    gone[:, 8:] = clip.frames[:, :1].where(~clip.masks[:, :1].any(dim=2)[:, :, None], 0.5)
    assert worldgen.evaluate(replace(clip, frames=gone), clip)["permanence"].score < 0.5
    with pytest.raises(ValueError, match="one clip, and a true one of the same length and size"):
        worldgen.evaluate(worldgen.simulate("drop", 2, frames=8), clip)


def test_a_video_is_read_and_judged(clip, tmp_path):
    longer = worldgen.simulate("bounce", 1, size=96, frames=24, fps=40.0)
    write_video(tmp_path / "a.mp4", longer.frames[0], 40.0)
    report = worldgen.evaluate_video(tmp_path / "a.mp4")
    assert report.source == "readout" and report["permanence"].value == 1
    read = worldgen.read_video(tmp_path / "a.mp4", "a ball", size=32, frames=5)
    assert read.frames.shape == (1, 5, 3, 32, 32) and read.prompts == ("a ball",)
    with pytest.raises(FileNotFoundError, match="No video at"):
        worldgen.evaluate_video(tmp_path / "none.mp4")


def test_the_page_of_the_docs_runs(monkeypatch):
    """What docs/python.md shows is run as it stands."""
    codes = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), flags=re.DOTALL)
    monkeypatch.chdir(ROOT)
    scope: dict = {}
    for code in codes:
        exec(code, scope)  # noqa: S102
    assert scope["made"].frames.shape == scope["clip"].frames.shape
    assert 0 <= scope["report"]["permanence"].score <= 1
    assert scope["rolled"].position.shape[:3] == (2, 6, 6)
    assert 0 < scope["metres"].nanmean() < 1e-3
