"""Physics-IQ's four numbers of whole videos, written down plainly: an oracle for those made in passing."""

import numpy as np

from worldgen.metrics.physics_iq.motion_masks import iterate_masks


def motion_masks(frames):
    """Masks (T H W) of all frames at once."""
    return np.stack([mask.view(bool) for mask in iterate_masks(frames)])


def spatial_iou(masks, real):
    """Overlap of two masks (T H W) once time is collapsed; 1 where nothing moves."""
    return share(masks.any(axis=0), real.any(axis=0))


def spatiotemporal_iou(masks, real):
    """Overlap of each frame's masks, averaged; a frame without motion counts 1."""
    return float(np.mean([share(one, two) for one, two in zip(masks, real, strict=True)]))


def weighted_spatial_iou(masks, real):
    """``sum min(w, w_real) / sum max(w, w_real)``, w a pixel's share of moving frames."""
    return share(masks.sum(axis=0), real.sum(axis=0))


def mse(frames, real):
    """Mean square difference of pixels in [0, 1]: of each frame in single precision, then their mean."""
    pairs = zip(frames.astype(np.float32), real.astype(np.float32), strict=True)
    return float(np.mean([np.mean((one - two) ** 2) for one, two in pairs], dtype=np.float64))


def share(one, two):
    """Of what either has, what both have; all of it where neither has anything."""
    total = int(np.maximum(one, two).sum())
    return int(np.minimum(one, two).sum()) / total if total else 1.0
