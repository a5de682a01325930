"""Tiny trackers on disk, and videos with a known answer."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor
from transformers.models.yolos.modeling_yolos import YolosObjectDetectionOutput

from worldgen.metrics.tracking.detector import PretrainedDetector
from worldgen.types import Clip

G = 1.5
"""Pixels per frame squared."""
HUB = '''
import torch


class Network(torch.nn.Module):
    """The spread of its points, pixels: weights of a network that has no others."""

    def __init__(self):
        super().__init__()
        self.register_buffer("spread", torch.zeros(()))


class Predictor(torch.nn.Module):
    """Follows the one bright thing by its centroid; its points spread about that by turns, up and down."""

    def __init__(self):
        super().__init__()
        self.model = Network()

    def forward(self, video, queries, backward_tracking=False):
        assert video.max() <= 255 and (video.max() == 0 or video.max() > 2)
        light = (video.mean(dim=2) - 150).clamp(min=0)[0]  # (T, H, W)
        mass = light.sum(dim=(1, 2))
        rows, columns = torch.meshgrid(*map(torch.arange, light.shape[1:]), indexing="ij")
        center = torch.stack([(light * axis).sum(dim=(1, 2)) for axis in (columns, rows)], dim=-1)
        center = center / mass[:, None].clamp(min=1e-6)
        given = queries[0, :, 0].long()
        number = torch.arange(len(given))
        sign = 1 - 2 * (number % 2) * 1.0
        off = self.model.spread * torch.stack([sign, sign.roll(1) * (number % 4 < 2).float()], dim=-1)
        places = queries[0, :, 1:] + center[:, None] - center[given] + off
        places[given, number] = queries[0, :, 1:]
        visible = (mass[:, None] > 0.2 * mass[given]).expand(len(mass), len(given)).clone()
        if not backward_tracking:
            visible &= torch.arange(len(mass))[:, None] >= given
        return places[None], visible[None]


def cotracker3_offline(*, pretrained=True):
    assert not pretrained
    return Predictor()
'''


def discs(
    places: list[tuple[float, float] | None], size: tuple[int, int] = (160, 120), radius: float = 7.0
) -> Clip:
    """A white disc at (column, row) per frame, with a soft edge, on a dark slope; none where None."""
    y, x = torch.meshgrid(torch.arange(float(size[0])), torch.arange(float(size[1])), indexing="ij")
    wall = 0.2 + 0.2 * x / size[1]
    frames = []
    for place in places:
        image = wall
        if place is not None:
            cover = (radius + 0.5 - torch.hypot(x - place[0], y - place[1])).clamp(0, 1)
            image = wall * (1 - cover) + cover
        frames.append(image.expand(3, -1, -1))
    return Clip(torch.stack(frames)[None], torch.tensor([25.0]), ("",))


def thrown(frames: int = 13) -> list[tuple[float, float]]:
    """Columns and rows of a throw that falls with `G`."""
    return [(20.0 + 6 * t, 40.0 - 3 * t + G / 2 * t**2) for t in range(frames)]


def tiny_clone(folder: Path, spread: float = 0.0, code: str = HUB) -> Path:
    """Laid out as a clone of facebookresearch/co-tracker with its weights."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "hubconf.py").write_text(code)
    torch.save({"spread": torch.tensor(spread)}, folder / "checkpoints" / "scaled_offline.pth")
    return folder


def tiny_detector(folder: Path) -> Path:
    """A YOLOS with random weights, in the library's own format; it sees every image at 64 rows."""
    torch.manual_seed(0)
    names = {0: "ball", 1: "cube"}
    config = YolosConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[64, 96],
        patch_size=16,
        num_detection_tokens=3,
        id2label=names,
        label2id={name: number for number, name in names.items()},
    )
    YolosForObjectDetection(config).save_pretrained(folder)
    YolosImageProcessor(size={"shortest_edge": 64, "longest_edge": 640}).save_pretrained(folder)
    return folder


class BrightBox(torch.nn.Module):
    """In place of a YOLOS: a box around what is bright, under two names, and one of nothing."""

    def __init__(self, detector: PretrainedDetector) -> None:
        super().__init__()
        self.config = detector.model.config
        self.mean = torch.tensor(detector.processor.image_mean)[:, None, None]
        self.std = torch.tensor(detector.processor.image_std)[:, None, None]

    def forward(self, pixel_values: Tensor) -> YolosObjectDetectionOutput:
        """Hard edges, found to a share of a pixel by how bright the outermost row and column are."""
        image = (pixel_values[0] * self.std + self.mean).mean(dim=0)
        bright = ((image - 0.45) / 0.5).clamp(0, 1)
        height, width = bright.shape
        logits = torch.tensor([[[-9.0, -9.0, 9.0]] * 3])
        boxes = torch.rand(1, 3, 4)
        if bright.max() > 0.5:
            across, down = bright.amax(dim=0), bright.amax(dim=1)
            left, right = _edges(across)
            top, bottom = _edges(down)
            logits[0, 1] = torch.tensor([9.0, -9.0, -9.0])
            logits[0, 2] = torch.tensor([-9.0, 5.0, -9.0])
            sides = [(left + right) / 2 / width, (top + bottom) / 2 / height]
            boxes[0, 1:] = torch.tensor([*sides, (right - left) / width, (bottom - top) / height])
        return YolosObjectDetectionOutput(logits=logits, pred_boxes=boxes)


def bright_detector(folder: Path) -> PretrainedDetector:
    """A detector that is opened as every other, whose network is then replaced."""
    detector = PretrainedDetector(str(tiny_detector(folder)))
    detector.model = BrightBox(detector)
    return detector


def _edges(profile: Tensor) -> tuple[float, float]:
    lit = np.flatnonzero(profile.numpy() > 0.05)
    first, last = int(lit[0]), int(lit[-1])
    return first + 1 - float(profile[first]), last + float(profile[last])
