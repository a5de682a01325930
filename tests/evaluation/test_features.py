"""Clips through an encoder, beside the truth."""

from dataclasses import replace

import pytest
import torch

from tests.evaluation.squares import FRAMES, walk
from worldgen.encoders.base import Encoder, Tokens
from worldgen.encoders.imagebind import ImageBind
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.evaluation.features import EncoderView
from worldgen.types import Clip


class Grays(Encoder):
    """Token per frame: brightness of the halves."""

    dim = 2

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(20, 20)
        self.freeze()

    def encode(self, clip):
        values = clip.frames.mean(dim=2).unflatten(3, (2, -1)).mean(dim=(2, 4))
        return Tokens(values, torch.ones(values.shape[:2], dtype=torch.bool))

    def positions(self, clip):
        t = torch.arange(clip.frames.shape[1]) / clip.fps[0]
        return torch.stack([t, torch.full_like(t, 0.5), torch.full_like(t, 0.5)], -1).expand(
            len(clip), -1, -1
        )


def rows_of(encoder, model, truth, made):
    view = EncoderView(encoder, model)
    for pair in zip(truth, made, strict=True):
        view.add(*pair)
    return view.rows()


def test_a_run_is_seen_through_an_encoder_beside_the_truth(vjepa):
    def clip(places):
        return Clip(walk(places)[None], torch.tensor([8.0]), ("",))

    truth = [clip([start + step * 2 for step in range(FRAMES)]) for start in range(6)]
    made = [clip([(start * 7 + step * step * 5) % 24 for step in range(FRAMES)]) for start in range(6)]
    model = torch.nn.ModuleDict({"video": Grays()})
    rows = {row.name: row for row in rows_of(model["video"], model, truth, made)}
    assert rows["GeoPhys curvature larger than the truth's (physics)"].value > 0.8
    assert rows["JEDi (fidelity)"].value > 0 and "CIRCULAR" in rows["judging encoder"].note
    rows = {row.name: row for row in rows_of(VJEPA2(str(vjepa)), model, truth, made)}
    share = rows["generated more surprising than the truth, after 4 of 8 frames (physics)"]
    assert 0 <= share.low <= share.value <= share.high <= 1 and "n = 6" in share.note
    assert rows["judging encoder"].note == "not part of the model that is judged"


def test_an_encoder_that_reads_says_how_well_frames_and_prompt_agree(imagebind_folder):
    words = ("a red ball", "a blue ball", "a box", "a hall", "balls", "all")
    truth = [
        Clip(walk([start + step for step in range(FRAMES)])[None], torch.tensor([8.0]), (prompt,))
        for start, prompt in enumerate(words)
    ]
    made = [replace(clip, frames=1 - clip.frames) for clip in truth[:5]] + [replace(truth[5], prompts=("",))]
    judge = ImageBind(imagebind_folder)
    rows = {row.name: row for row in rows_of(judge, torch.nn.Module(), truth, made)}
    for name, clips in (("generated", made[:5]), ("true", truth)):
        row = rows[f"{name} frames and prompt (semantics)"]
        cosines = [judge.embed_vision(clip)[0] @ judge.embed_text(clip.prompts)[0] for clip in clips]
        assert row.value == pytest.approx(float(torch.stack(cosines).mean()), abs=1e-5)
        assert f"n = {len(clips)}" in row.note
    assert "1 clips without a prompt left out" in rows["generated frames and prompt (semantics)"].note
