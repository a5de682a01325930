"""Tracks of what a detector names in a foreign video: boxes frame by frame, linked as blobs are."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.encoders.base import fingerprint, require_folder
from worldgen.metrics.tracking.linking import Blob, Tracked, Untrackable, assemble, link, moving_tracks
from worldgen.metrics.tracking.motion import hold_still
from worldgen.types import Clip

_THRESHOLD = 0.5
"""Score above which a box counts."""
_SAME = 0.7
"""Boxes that overlap by more than this (intersection over union) are one thing under two names."""


@dataclass(frozen=True)
class Box:
    """Something that was found in one image; pixels, from the image's upper left corner."""

    left: float
    top: float
    right: float
    bottom: float
    label: str
    score: float


class Detector(Protocol):
    """Finds things in an image, by name."""

    identity: str
    """Names it: another one finds other boxes."""

    def detect(self, image: Float[Tensor, "3 H W"]) -> list[Box]:
        """Boxes of one image, RGB in [0, 1], the surest first."""
        ...


class PretrainedDetector:
    """An object detector of transformers: DETR (2005.12872), RT-DETR (2304.08069), YOLOS (2106.00666), ...

    Args:
        checkpoint: Hub id or folder in Hugging Face layout, as ``PekingU/rtdetr_r50vd``: config.json,
            preprocessor_config.json and the weights.
        threshold: Score above which a box counts.
        device: Where it runs, such as "cuda".

    Raises:
        FileNotFoundError: No such folder.
        ValueError: Not a whole checkpoint of such a model.
    """

    def __init__(self, checkpoint: str, threshold: float = _THRESHOLD, device: str = "cpu") -> None:
        from transformers import AutoImageProcessor, AutoModelForObjectDetection

        require_folder(checkpoint, "A detector's", "Give another path or a hub id.")
        try:
            self.model, found = AutoModelForObjectDetection.from_pretrained(
                checkpoint, output_loading_info=True, dtype=torch.float32, trust_remote_code=False
            )
            # The fast one of YOLOS takes a sigmoid where that model has a softmax (transformers 4.57.6).
            self.processor = AutoImageProcessor.from_pretrained(
                checkpoint, use_fast=False, trust_remote_code=False
            )
        except Exception as error:  # transformers lets through whatever its parts raise
            reason = " ".join(str(error).split()).split(". ")[0][:300]
            raise ValueError(f"{checkpoint!r} must be an object detector (id or folder): {reason}") from error
        lost = sorted([*found["missing_keys"], *(row[0] for row in found["mismatched_keys"])])
        if lost:
            raise ValueError(
                f"{checkpoint!r} must hold a whole object detector; {len(lost)} tensors miss or have another "
                f"shape, {lost[0]} first."
            )
        self.model.requires_grad_(False).eval().to(device)
        self.threshold, self.device = threshold, device
        settings = hashlib.sha256(self.processor.to_json_string().encode()).hexdigest()[:12]
        self.identity = f"{checkpoint} {fingerprint(self.model)} {settings} {threshold}"

    @torch.no_grad()
    def detect(self, image: Float[Tensor, "3 H W"]) -> list[Box]:
        """Boxes with a score above the threshold, the surest first."""
        pixels = (image.permute(1, 2, 0) * 255).round().byte().cpu().numpy()
        inputs = self.processor(images=pixels, input_data_format="channels_last", return_tensors="pt")
        (found,) = self.processor.post_process_object_detection(
            self.model(**inputs.to(self.device)),
            threshold=self.threshold,
            target_sizes=[tuple(image.shape[-2:])],
        )
        names = self.model.config.id2label
        boxes = [
            Box(left, top, right, bottom, names.get(label, str(label)), score)
            for (left, top, right, bottom), label, score in zip(
                found["boxes"].tolist(), found["labels"].tolist(), found["scores"].tolist(), strict=True
            )
        ]
        return sorted(boxes, key=lambda box: -box.score)


def track_boxes(clip: Clip, detector: Detector, beat: Callable[[], None] = lambda: None) -> Tracked:
    """Everything that a detector names and that moves, in pixels: x = column, z = -row, no scale.

    A thing is where the center of its box is, its radius that of a disc which fills the box. It is absent
    in frames in which it is not found; a thing whose name changes is another thing.

    Args:
        clip: B = 1, at least 6 frames.
        detector: Finds the boxes.
        beat: Called after every frame, in each pass over them.

    Raises:
        Untrackable: Nothing is detected, or nothing of it moves, no track holds together, or the camera moves
            otherwise than slowly along.
    """
    camera = hold_still(clip, beat).camera
    shift = np.zeros((clip.frames.shape[1], 2)) if camera is None else camera.numpy()
    found: list[list[Blob]] = []
    for image, (across, down) in zip(clip.frames[0], shift, strict=True):
        boxes = _one_each(detector.detect(image))
        blobs = [_blob(box) for box in boxes if box.right > box.left and box.bottom > box.top]
        found.append([Blob(blob.x - across, blob.y - down, blob.area, blob.label) for blob in blobs])
        beat()
    if not any(found):
        raise Untrackable("nothing detected: the detector finds no box in any frame")
    tracks = moving_tracks(link(found), "box")
    return Tracked(assemble(tracks, len(found), 1.0, np.zeros(2), clip.fps), camera)


def _blob(box: Box) -> Blob:
    """The ellipse that fills a box; boxes count from the image's corner, blobs from a pixel's center."""
    x, y = (box.left + box.right - 1) / 2, (box.top + box.bottom - 1) / 2
    return Blob(x, y, math.pi / 4 * (box.right - box.left) * (box.bottom - box.top), box.label)


def _one_each(boxes: list[Box]) -> list[Box]:
    """Without boxes that lie over a surer one."""
    kept: list[Box] = []
    for box in boxes:
        if all(_overlap(box, other) <= _SAME for other in kept):
            kept.append(box)
    return kept


def _overlap(one: Box, two: Box) -> float:
    """Intersection over union."""
    across = min(one.right, two.right) - max(one.left, two.left)
    down = min(one.bottom, two.bottom) - max(one.top, two.top)
    shared = max(across, 0.0) * max(down, 0.0)
    areas = sum((box.right - box.left) * (box.bottom - box.top) for box in (one, two))
    return shared / max(areas - shared, 1e-12)
