"""Boxes: found by transformers' own code, in pixels of the frame, and linked to tracks."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertModel,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessor,
    RTDetrResNetConfig,
)

from tests.metrics.tracking.trackers import G, bright_detector, discs, thrown, tiny_detector
from worldgen.metrics.tracking.detector import Box, PretrainedDetector, track_boxes
from worldgen.metrics.tracking.linking import Untrackable
from worldgen.metrics.tracking.motion import expected_presence, hold_still


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    return bright_detector(tmp_path_factory.mktemp("detector"))


class Scripted:
    """Says the same boxes to the same frame, the frames in order."""

    identity = "scripted"

    def __init__(self, boxes: list[list[Box]]) -> None:
        self.boxes = iter(boxes)

    def detect(self, image):
        return next(self.boxes)


def square(x: float, y: float, label: str = "ball", score: float = 0.9, half: float = 6.0) -> Box:
    """A box whose pixels are centered on column x and row y."""
    return Box(x + 0.5 - half, y + 0.5 - half, x + 0.5 + half, y + 0.5 + half, label, score)


def test_a_box_is_in_pixels_of_the_frame_whatever_the_network_sees(bright):
    image = torch.full((3, 128, 192), 0.2)
    image[:, 40:60, 24:30] = 1.0
    (ball, cube) = bright.detect(image)  # nothing of the query that says "no object"
    found = torch.tensor([ball.left, ball.top, ball.right, ball.bottom])
    torch.testing.assert_close(found, torch.tensor([24.0, 40.0, 30.0, 60.0]), atol=1.0, rtol=0)
    assert (ball.label, cube.label) == ("ball", "cube") and 0.9 < cube.score < ball.score <= 1


def test_a_thrown_disc_is_where_it_is_and_falls_as_it_falls(bright):
    beats, held = [], []
    found = track_boxes(discs(thrown()), bright, lambda: beats.append(1))
    assert found.trajectory.present.all() and found.trajectory.position.shape[2] == 1
    hold_still(discs(thrown()), lambda: held.append(1))
    assert len(held) >= 2 * 13 and len(beats) == len(held) + 13
    place = torch.tensor(thrown(), dtype=torch.float64)
    torch.testing.assert_close(found.trajectory.position[0, :, 0, 0], place[:, 0], atol=0.25, rtol=0)
    torch.testing.assert_close(found.trajectory.position[0, :, 0, 2], -place[:, 1], atol=0.25, rtol=0)
    fallen = np.polyfit(np.arange(13), -found.trajectory.position[0, :, 0, 2].numpy(), 2)[0] * 2
    assert fallen == pytest.approx(G, rel=0.01)
    assert found.trajectory.extent[0, 0, 0].item() == pytest.approx(7, abs=0.5) and found.sigma is None


def test_a_thing_that_is_not_found_is_absent_and_comes_back(bright):
    places = list(thrown())
    places[6] = places[7] = None
    seen = track_boxes(discs(places), bright).trajectory.present[0, :, 0]
    assert seen.tolist() == [True] * 6 + [False] * 2 + [True] * 5


def test_boxes_are_exact_keep_their_names_and_one_thing_has_one_box():
    """Two things swap sides: each track follows its name; what lies over a surer box is the same thing."""
    clip = discs([None] * 12)
    found = [
        [
            square(20 + 6 * t, 40),
            square(86 - 6 * t, 42, "cube"),
            square(20.5 + 6 * t, 40, "orange", 0.6),
        ]
        for t in range(12)
    ]
    tracks = track_boxes(clip, Scripted(found)).trajectory
    assert tracks.position.shape[2] == 2 and tracks.present.all()
    columns = sorted(tracks.position[0, :, :, 0].T.tolist())
    assert columns == [[20 + 6.0 * t for t in range(12)], [86 - 6.0 * t for t in range(12)]]
    assert tracks.extent[0, 0, 0].item() == pytest.approx(6.0)  # the disc that fills the box
    expected = expected_presence(tracks, torch.zeros_like(tracks.present[0]), 160, 120)
    assert expected.all()


def test_a_name_that_changes_is_another_thing():
    found = [[square(10 + 5 * t, 40, "ball" if t < 8 else "egg")] for t in range(16)]
    seen = track_boxes(discs([None] * 16), Scripted(found)).trajectory.present[0]
    assert sorted(seen.sum(dim=0).tolist()) == [8, 8]


def test_what_cannot_be_tracked_by_boxes_says_why(bright):
    with pytest.raises(Untrackable, match="nothing detected: the detector finds no box in any frame"):
        track_boxes(discs([None] * 8), bright)
    with pytest.raises(Untrackable, match="nothing moves farther than its radius"):
        track_boxes(discs([None] * 8), Scripted([[square(30, 30)]] * 8))
    with pytest.raises(Untrackable, match="no box holds for 6 frames: broken track"):
        track_boxes(discs([None] * 8), Scripted([[square(30 + 5 * t, 30)] for t in range(5)] + [[]] * 3))
    with pytest.raises(Untrackable, match="a track needs at least 6 frames; the video has 4"):
        track_boxes(discs([None] * 4), bright)


def test_other_families_and_their_weights_are_named(tmp_path):
    folder = tmp_path / "rtdetr"
    torch.manual_seed(0)
    config = RTDetrConfig(
        backbone_config=RTDetrResNetConfig(
            embedding_size=8,
            hidden_sizes=[8] * 4,
            depths=[1] * 4,
            layer_type="basic",
            out_features=["stage2", "stage3", "stage4"],
        ),
        encoder_hidden_dim=16,
        encoder_in_channels=[8] * 3,
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        d_model=16,
        num_queries=6,
        decoder_in_channels=[16] * 3,
        decoder_ffn_dim=16,
        decoder_layers=1,
        decoder_attention_heads=2,
        num_denoising=2,
        num_labels=3,
    )
    model = RTDetrForObjectDetection(config).eval()
    model.save_pretrained(folder)
    processor = RTDetrImageProcessor(size={"height": 64, "width": 64})
    processor.save_pretrained(folder)
    image = torch.rand(3, 48, 80, generator=torch.Generator().manual_seed(1))
    found = PretrainedDetector(str(folder), threshold=0.01)
    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    with torch.no_grad():
        said = model(**processor(pixels, return_tensors="pt"))
    (wanted,) = processor.post_process_object_detection(said, threshold=0.01, target_sizes=[(48, 80)])
    boxes = found.detect(image)
    assert len(boxes) == len(wanted["scores"]) > 0
    corners = torch.tensor([[box.left, box.top, box.right, box.bottom] for box in boxes])
    order = wanted["scores"].argsort(descending=True)
    torch.testing.assert_close(corners, wanted["boxes"][order], atol=1e-3, rtol=0)
    weights = load_file(folder / "model.safetensors")
    name = max(weights)
    weights[name] = weights[name] + 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert PretrainedDetector(str(folder), threshold=0.01).identity != found.identity


def test_what_is_no_detector_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="A detector's folder must hold config.json; .*nowhere does"):
        PretrainedDetector(str(tmp_path / "nowhere"))
    small = BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=20
    )
    BertModel(small).save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="must be an object detector .*: Unrecognized configuration class"):
        PretrainedDetector(str(tmp_path / "bert"))
    folder = tiny_detector(tmp_path / "yolos")
    weights = load_file(folder / "model.safetensors")
    del weights[min(weights)]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ValueError, match="must hold a whole object detector; 1 tensors miss .*bbox_predictor"
    ):
        PretrainedDetector(str(folder))
