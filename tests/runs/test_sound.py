import shutil
from dataclasses import replace

import pytest

from worldgen.audio.impact import find_impacts
from worldgen.metrics.sound import find_onsets
from worldgen.runs.folder import HOME
from worldgen.runs.sound import open_sound
from worldgen.simulation.clips import simulate_clip

RUN = HOME / "assets" / "nano" / "sound"


def test_the_shipped_generator_hears_a_ball_hit_the_floor_when_it_does():
    clip = simulate_clip("drop", 501, size=64, frames=16)
    first = find_impacts(clip.truth, 0)[0].time
    onsets = find_onsets(open_sound(RUN).generate(clip)[0])
    assert min(abs(onset - first) for onset in onsets) < 0.03


def test_frames_in_which_nothing_moves_are_silent():
    clip = simulate_clip("drop", 501, size=64, frames=16)
    still = clip.frames[:, :1].expand(-1, 16, -1, -1, -1).contiguous()
    assert not find_onsets(open_sound(RUN).generate(replace(clip, frames=still, truth=None))[0])


def test_folders_of_something_else_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="A generator of sound must hold config.yaml"):
        open_sound(tmp_path)
    shutil.copy(RUN / "config.yaml", tmp_path / "config.yaml")
    with pytest.raises(FileNotFoundError, match=r"must hold model.safetensors; .* `worldgen pretrain sound`"):
        open_sound(tmp_path)
    config = (RUN / "config.yaml").read_text().replace("../readout", str(HOME / "assets/nano/readout"))
    config = config.replace("../t5", str(HOME / "assets/nano/t5"))
    (tmp_path / "config.yaml").write_text(config.replace("depth: 3", "depth: 2"))
    shutil.copy(RUN / "model.safetensors", tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="tensors differ"):
        open_sound(tmp_path)
