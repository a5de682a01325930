"""What a codec keeps of clips: pixels, what moves, features; and what its latent is like.

What is written::

    OUT/report.html, report.json   all numbers, with intervals over clips
    OUT/clips.csv                  one line per clip
    OUT/filmstrip.png              the first clips and what came back of them
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.data.media import filmstrip
from worldgen.data.sources import open_source
from worldgen.diffusion.codec import Codec, load_codec
from worldgen.diffusion.pretrained import DiffusersCodec
from worldgen.diffusion.quantized import QuantizedCodec
from worldgen.diffusion.tiny_codec import TinyCodec
from worldgen.encoders.base import Encoder, fingerprint, load_encoder
from worldgen.evaluation.latent_statistics import LatentStatistics
from worldgen.files import progress_bar
from worldgen.metrics.distances import clip_features, measure_distances
from worldgen.metrics.fidelity import moving_psnr, psnr, ssim
from worldgen.metrics.intervals import mean_interval
from worldgen.metrics.measure import Row
from worldgen.report.report import Report, Section
from worldgen.report.terminal import print_report
from worldgen.report.write import write_report
from worldgen.runs.folder import shipped_weights
from worldgen.texts import build_part, csv_text, read_part
from worldgen.types import Clip, to_device

NOTES = (
    "PSNR and SSIM are of all pixels, most of which stand still; what is read off a clip lies in those that "
    "move: PSNR on moving pixels is of pixels that differ from the first frame.",
    "Feature distance is that of a clip and what came back of it, over that of two different clips: 0 where "
    "the encoder sees no difference, 1 where it might as well be another clip.",
)
_PICTURED = 4
_LINE = ("clip", "PSNR", "SSIM", "PSNR on moving pixels")


@dataclass(frozen=True)
class _Kept:
    """Of one clip."""

    name: str
    psnr: float
    ssim: float
    moving: float
    """NaN where nothing moves."""


def evaluate_codec(
    codec: str,
    data: Path,
    out: Path,
    clips: int | None = None,
    encoder: str | None = None,
    size: int | None = None,
    frames: int | None = None,
) -> Path:
    """Code clips and decode them, and report what is left of them.

    Args:
        codec: See `open_codec`.
        data: Folder of shards or of videos.
        out: Folder of the report.
        clips: Only the first so many.
        encoder: Whose features are compared, see `load_encoder`; the shipped nano V-JEPA 2 when None.
        size: Rows and columns that videos are read with.
        frames: Frames of a clip that videos are read with.

    Returns:
        Path of report.html.

    Raises:
        FileNotFoundError: No such folder, codec or encoder.
        ValueError: A codec that cannot be opened, or clips that it cannot code.
    """
    opened = open_codec(codec)
    seeing = load_encoder(encoder or str(shipped_weights() / "vjepa2"))
    source = open_source(data, size, frames, ("depth", "masks"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for network in (opened, seeing):
        network.to(device)
    lines, pictures, statistics = [], [], LatentStatistics(opened.channels)
    features: tuple[list[Tensor], list[Tensor]] = ([], [])
    seconds = [0.0, 0.0]
    with progress_bar("clips") as bar:
        count = min(len(source), clips or len(source))
        task = bar.add_task("Coding", total=count)
        for index in range(count):
            clip = to_device(_fit(opened, source[index]), device)
            back, z = _code(opened, clip, seconds)
            statistics.add(z)
            if isinstance(opened, QuantizedCodec):
                own = z * opened.spread[:, None, None] + opened.shift[:, None, None]
                statistics.count(opened.indices(own), opened.codes)
            lines.append(_judge(source.name(index), clip, back))
            for side, one in enumerate((clip, Clip(back, clip.fps, clip.prompts))):
                features[side].append(clip_features(seeing, [one]))
            if index < _PICTURED:
                pictures += [(f"{lines[-1].name}: true", clip.frames[0]), ("  decoded", back[0])]
            bar.advance(task)
    true, made = (torch.cat(side) for side in features)
    rows = [*_fidelity(lines), _feature_distance(true, made, seeing)]
    rows += [measure.row() for measure in measure_distances(made, true)]
    rows += statistics.rows()
    shape = tuple(clip.frames.shape[1:])
    rows.append(Row("numbers per pixel", z.numel() / clip.frames[:, :, 0].numel(), unit="of 3"))
    for name, spent in zip(("encoding", "decoding"), seconds, strict=True):
        rows.append(Row(f"time of {name}", 1000 * spent / (count * shape[0]), unit="ms a frame"))
    heads, channels = statistics.table()
    kind = f"{type(opened).__name__} {codec}"
    report = Report(
        f"What {kind} keeps of {data.name}",
        tuple(rows),
        f"{count} clips of {shape[0]} frames of {shape[2]} x {shape[3]}: each is coded and decoded. The "
        f"latent of a clip is {' x '.join(map(str, z.shape[1:]))} (steps, channels, rows, columns).",
        sections=(
            Section("Channels of the latent", "Mean 0 and spread 1 suit a generator.", None, heads, channels),
        ),
        notes=(*NOTES, f"Encoder of the features: {type(seeing).__name__}:{fingerprint(seeing)}."),
        files="Clip by clip: clips.csv; pictures: filmstrip.png.",
    )
    table = csv_text([_LINE, *((one.name, one.psnr, one.ssim, one.moving) for one in lines)])
    print_report(report)
    return write_report(out, report, {"clips.csv": table.encode(), "filmstrip.png": _strip(pictures)})


def open_codec(text: str) -> Codec:
    """The codec that is meant.

    Args:
        text: Folder of one of ours (`worldgen pretrain codec`), of diffusers or of TAESD's two files; hub id
            of one of diffusers; ``package.module.Class:CHECKPOINT``; or ``FILE.yaml`` with class_path and
            init_args.

    Raises:
        FileNotFoundError: A folder that lacks files.
        OSError: A hub id, and the hub cannot be reached.
        ValueError: No such class, or a codec that cannot be opened.
    """
    if text.endswith((".yaml", ".yml")):
        return build_part(Codec, read_part(Path(text), "a codec"), text, "a codec")
    name, colon, checkpoint = text.partition(":")
    if colon and "/" not in name and "." in name:
        arguments = {"checkpoint": checkpoint} if checkpoint else {}
        return build_part(Codec, {"class_path": name, "init_args": arguments}, name, "a codec")
    folder = Path(text).expanduser()
    if folder.is_dir():
        if list(folder.glob("*_encoder.pth")) or list(folder.glob("*_decoder.pth")):
            return TinyCodec(text)
        config = folder / "config.json"
        if not config.is_file() or "_class_name" not in _read(config):
            return load_codec(text)
    elif folder.is_absolute() or text.startswith(".") or text.count("/") > 1:
        raise FileNotFoundError(f"No codec at {text}. Check the path.")
    return DiffusersCodec(text)


def _read(config: Path) -> dict[str, object]:
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{config} must be json; it cannot be read ({error}). Copy it again.") from error
    return found if isinstance(found, dict) else {}


def _fit(codec: Codec, clip: Clip) -> Clip:
    """The clip, cut to a length that the codec takes."""
    frames = clip.frames.shape[1]
    try:
        codec.steps(frames)
        return clip
    except ValueError:
        whole = frames - (frames - 1) % codec.temporal_stride
        return Clip(clip.frames[:, :whole], clip.fps, clip.prompts, camera=clip.camera, scenes=clip.scenes)


@torch.no_grad()
def _code(codec: Codec, clip: Clip, seconds: list[float]) -> tuple[Float[Tensor, "1 T 3 H W"], Tensor]:
    """What comes back of a clip, and its latent; the times are added."""
    start = perf_counter()
    z = codec.encode(clip)
    between = perf_counter()
    back = codec.decode(z, clip).clamp(0, 1)
    seconds[0] += between - start
    seconds[1] += perf_counter() - between
    return back, z


def _judge(name: str, clip: Clip, back: Float[Tensor, "1 T 3 H W"]) -> _Kept:
    true = clip.frames
    moving = moving_psnr(back, true, 1) if true.shape[1] > 1 else true.new_full((1,), float("nan"))
    return _Kept(name, float(psnr(back, true)), float(ssim(back, true)), float(moving))


def _fidelity(lines: Sequence[_Kept]) -> list[Row]:
    rows = []
    for name, unit, values in (
        ("PSNR", "dB", [one.psnr for one in lines]),
        ("SSIM", "", [one.ssim for one in lines]),
        ("PSNR on moving pixels", "dB", [one.moving for one in lines if one.moving == one.moving]),
    ):
        mean = sum(values) / len(values) if values else None
        low, high = mean_interval(values) if values else (None, None)
        note = f"mean over {len(values)} clips" if values else "does not apply: nothing moves"
        rows.append(Row(name, mean, low, high, unit, note))
    return rows


def _feature_distance(true: Float[Tensor, "n d"], made: Float[Tensor, "n d"], encoder: Encoder) -> Row:
    """Distance of a clip and what came back, over the mean distance of two clips."""
    name = f"feature distance ({type(encoder).__name__})"
    if len(true) < 2:
        return Row(name, None, note="does not apply: it needs two clips")
    apart = float(torch.pdist(true).mean())
    if apart == 0:
        return Row(name, None, note="does not apply: the encoder sees no difference between any two clips")
    shares = ((true - made).norm(dim=1) / apart).tolist()
    return Row(name, sum(shares) / len(shares), *mean_interval(shares), note=f"mean over {len(shares)} clips")


def _strip(pictures: Sequence[tuple[str, Float[Tensor, "T 3 H W"]]]) -> bytes:
    file = io.BytesIO()
    side = max(pictures[0][1].shape[-2:])
    filmstrip([(label, frames.cpu()) for label, frames in pictures], 2, max(1, 128 // side)).save(file, "PNG")
    return file.getvalue()
