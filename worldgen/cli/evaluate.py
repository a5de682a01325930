"""The commands that evaluate, as typed functions: `cli.main` makes options of them.

Heavy imports live inside: the help must be instant.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from worldgen.cli.words.options import did_you_mean

if TYPE_CHECKING:
    from worldgen.evaluation.foreign.videos import Beside
    from worldgen.metrics.surprise import Windows


@dataclass(frozen=True)
class CaptureOptions:
    """How videos were filmed.

    Args:
        scale: Metres per pixel of the files, from a known length; or g, for a scale with which each video's
            longest flight falls with g.
        gravity: m/s^2 where they were filmed; 9.81 when left out.
        rate: Frames per second of the world, where a file's own rate is not (slow motion).
    """

    scale: str | None = None
    gravity: float | None = None
    rate: float | None = None


@dataclass(frozen=True)
class TrackingOptions:
    """What tracks videos.

    Args:
        detector: Object detector of transformers (DETR, RT-DETR, YOLOS), by folder or id; what moves before
            the background when left out.
        points: Clone of facebookresearch/co-tracker with weights in checkpoints/, to follow points; its code
            is run.
    """

    detector: str | None = None
    points: str | None = None


@dataclass(frozen=True)
class AgainstOptions:
    """Real videos beside those that are judged.

    Args:
        against: Folder of real videos; the distance to them (JEDi, Frechet) is measured in the features of
            --encoder.
        encoder: Folder or id of a V-JEPA 2, CLASS:CHECKPOINT, or a yaml with class_path and init_args.
    """

    against: Path | None = None
    encoder: str | None = None

    def __post_init__(self) -> None:
        if (self.against is None) != (self.encoder is None):
            raise ValueError(
                "--against FOLDER compares the videos with real ones by --encoder WHICH; give both."
            )

    def compare(self, videos: Path, out: Path) -> Beside:
        """How far the videos are from the real ones; nothing where none are given."""
        from worldgen.evaluation.foreign.folders import compare_folders
        from worldgen.evaluation.foreign.videos import Beside

        if self.against is None or self.encoder is None:
            return Beside()
        return compare_folders(videos, self.against, self.encoder, out)


@dataclass(frozen=True)
class WindowOptions:
    """Windows of surprise; the benchmark's own when left out.

    Args:
        window: Frames of a window of surprise; the benchmark's own when left out.
        contexts: Known first frames of a window; a half when left out.
        skip: Every so many frames one is looked at; each when left out.
    """

    window: int | None = None
    contexts: list[int] | None = None
    skip: int | None = None

    def __post_init__(self) -> None:
        if self.window is None and (self.contexts is not None or self.skip is not None):
            raise ValueError("--contexts and --skip go with --window; give it too, or leave them out.")

    def windows(self) -> Windows | None:
        """What they say; None where they say nothing."""
        from worldgen.metrics.surprise import Windows

        if self.window is None:
            return None
        contexts = tuple(self.contexts or [self.window // 2])
        return Windows(self.window, contexts, skip=1 if self.skip is None else self.skip)


def run(
    run: Path,
    data: Path,
    out: Path = Path("report"),
    context_frames: int = 2,
    seed: int = 0,
    clips: int | None = None,
    encoder: str | None = None,
    lpips: Path | None = None,
) -> None:
    """Judge a trained generator on simulated clips that it was not trained on.

    Args:
        run: Folder of a trained generator.
        data: Folder of simulated shards that it was not trained on.
        out: Folder of the report.
        context_frames: First frames that the model is given.
        seed: Of the noise.
        clips: Judge only the first so many.
        encoder: Judge also in the features of this encoder: folder or id of a V-JEPA 2, CLASS:CHECKPOINT, or
            a yaml with class_path and init_args; how well clips fit their prompts by
            worldgen.encoders.clip.CLIP:CHECKPOINT.
        lpips: AlexNet's weights as torchvision gives them (alexnet-owt-7be5be79.pth), to add LPIPS.

    Example:
        worldgen evaluate run assets/nano/generator --data data/test --out report/
    """
    from worldgen.data.crew import Crew

    with Crew(os.cpu_count() or 1, "worldgen.evaluation.cases") as crew:  # they import while we do
        from worldgen.evaluation.generator import evaluate_folder

        page = evaluate_folder(run, data, out, context_frames, seed, clips, encoder, lpips, crew)
    _print(page)


def videos(
    videos: Path,
    out: Path = Path("report"),
    processes: int | None = None,
    engine: str = "processes",
    capture: CaptureOptions = CaptureOptions(),
    tracking: TrackingOptions = TrackingOptions(),
    real: AgainstOptions = AgainstOptions(),
) -> None:
    """Track and judge anybody's videos.

    Args:
        videos: Folder of videos.
        out: Folder of the report.
        processes: Judging processes; all cores when left out.
        engine: local (one by one), processes, ray or slurm.
        capture: How they were filmed.
        tracking: What tracks them.
        real: What they are compared with.

    Example:
        worldgen evaluate videos my_videos/ --scale g --out report/
    """
    from worldgen.data.engines.opening import open_engine
    from worldgen.evaluation.foreign.capture import choose_capture
    from worldgen.evaluation.foreign.tracker import choose_tracking
    from worldgen.evaluation.foreign.videos import evaluate_videos

    how = choose_capture(capture.scale, capture.gravity, capture.rate)
    tracker = choose_tracking(tracking.detector, tracking.points)
    workers = open_engine(engine, processes)
    found = real.compare(videos, out)
    _print(evaluate_videos(videos, out, how=how, beside=found, tracking=tracker, engine=workers))


def tracks(tracks: Path, out: Path = Path("report"), fps: float | None = None) -> None:
    """Judge tracks without video.

    Args:
        tracks: File of tracks: .csv, .json in COCO style, .trk of Tracker.
        out: Folder of the report.
        fps: Frames per second, where the file does not say.

    Example:
        worldgen evaluate tracks my_tracks.csv --out report/
    """
    from worldgen.evaluation.foreign.tracks import evaluate_tracks

    _print(evaluate_tracks(tracks, out, fps))


def codec(
    codec: str,
    data: Path,
    out: Path = Path("report"),
    clips: int | None = None,
    encoder: str | None = None,
    size: int | None = None,
    frames: int | None = None,
) -> None:
    """Say what a codec keeps of clips, and what its latent is like.

    Args:
        codec: Folder of a codec of ours, of diffusers or of TAESD's two files; hub id of one of diffusers;
            CLASS:CHECKPOINT; or a yaml with class_path and init_args.
        data: Folder of shards or of videos.
        out: Folder of the report.
        clips: Only the first so many.
        encoder: Whose features are compared: folder or id of a V-JEPA 2, CLASS:CHECKPOINT, or a yaml with
            class_path and init_args; the shipped nano V-JEPA 2 when left out.
        size: Rows and columns that videos are read with.
        frames: Frames of a clip that videos are read with.

    Example:
        worldgen evaluate codec assets/nano/codec --data data/test --out report/
    """
    from worldgen.evaluation.codec import evaluate_codec

    _print(evaluate_codec(codec, data, out, clips, encoder, size, frames))


def physics_iq(
    benchmark: str,
    generated: Path,
    real: Path,
    out: Path = Path("report"),
    processes: int | None = None,
    masks: str = "plain",
    engine: str = "processes",
) -> None:
    """Compare generated videos with both takes of real scenes; a second run goes on.

    Args:
        benchmark: physics-iq.
        generated: Folder of generated videos, named with Physics-IQ's numbers; or of folders, one a seed.
        real: Physics-IQ's folder of real videos.
        out: Folder of the report.
        processes: Comparing processes; all cores when left out.
        masks: plain, or official: through a lossy video first, for numbers beside published ones.
        engine: local (one by one), processes, ray or slurm.

    Example:
        worldgen evaluate benchmark physics-iq --generated my_videos/ --real physics-IQ-benchmark/
    """
    if masks not in ("plain", "official"):
        raise ValueError(f"--masks must be plain or official; got {masks!r}.")
    from worldgen.data.engines.opening import open_engine
    from worldgen.evaluation.benchmarks.physics_iq import evaluate_physics_iq
    from worldgen.metrics.physics_iq.mask_codec import Mpeg4

    codec = Mpeg4() if masks == "official" else None
    _print(evaluate_physics_iq(generated, real, out, codec=codec, engine=open_engine(engine, processes)))


def pairs(
    benchmark: str,
    pairs: Path,
    encoder: str,
    out: Path = Path("report"),
    windows: WindowOptions = WindowOptions(),
) -> None:
    """Measure whether impossible videos surprise an encoder more than possible ones.

    Args:
        benchmark: intphys, intphys2 or likephys.
        pairs: Folder of the benchmark's videos, as published.
        encoder: Folder or id of a V-JEPA 2, CLASS:CHECKPOINT, or a yaml file with class_path and init_args.
        out: Folder of the report.
        windows: Of surprise.

    Example:
        worldgen evaluate benchmark intphys --pairs intphys/dev --encoder assets/nano/vjepa2
    """
    from worldgen.evaluation.benchmarks.pairs import evaluate_pairs

    _print(evaluate_pairs(benchmark, pairs, out, encoder, windows.windows()))


def judged(
    benchmark: str,
    videos: Path,
    judge: str,
    out: Path = Path("report"),
    words: Path | None = None,
    questions: Path | None = None,
) -> None:
    """Ask a vision-language model about generated videos.

    Args:
        benchmark: videophy2 or phygeneval.
        videos: Folder of the videos that are judged.
        judge: Folder or id of a vision-language model, or ADDRESS#MODEL of an OpenAI-compatible server, whose
            key is in OPENAI_API_KEY.
        out: Folder of the report.
        words: Yaml file with other words of the judge's questions.
        questions: PhyGenBench's folder of json files.

    Example:
        worldgen evaluate benchmark videophy2 --videos my_videos/ --judge http://localhost:8000/v1#MODEL
    """
    from worldgen.evaluation.benchmarks.vlm import evaluate_vlm, open_judge

    _print(evaluate_vlm(benchmark, videos, out, open_judge(judge), words, questions))


BENCHMARKS = {
    "physics-iq": physics_iq,
    "intphys": pairs,
    "intphys2": pairs,
    "likephys": pairs,
    "videophy2": judged,
    "phygeneval": judged,
}


_SHORT = {
    "tracks": ("--tracks",),
    "codec": ("--codec",),
    "benchmark": ("--generated", "--real", "--pairs", "--judge"),
    "videos": ("--videos",),
    "run": ("--run", "--data"),
}
"""Options that say which command a short form means."""


def lengthen(words: Sequence[str]) -> list[str]:
    """The short forms as those of the group.

    ``RUN ...`` is ``run RUN ...``; ``--videos``, ``--tracks``, ``--codec`` and ``--benchmark NAME`` say which
    it is.

    Raises:
        ValueError: Options alone, and none that says it.
    """
    words = list(words)
    if not words or words[0] in ("run", "videos", "tracks", "codec", "benchmark", "-h", "--help"):
        return words
    names = [word.partition("=")[0] for word in words]
    if "--benchmark" in names:
        place = names.index("--benchmark")
        _, equals, name = words[place].partition("=")
        rest = words[place + 1 :]
        if not equals:
            name, rest = rest[0] if rest else "", rest[1:]
        return ["benchmark", name, *words[:place], *rest]
    if not words[0].startswith("-"):
        return ["run", *words]
    command = next((command for command, among in _SHORT.items() if {*among} & {*names}), None)
    if command is None:
        told = did_you_mean(words[0], ["--videos", "--tracks", "--codec", "--benchmark"])
        raise ValueError(f"worldgen evaluate has no option {words[0]} in front{told}")
    return [command, *words]


def _print(page: Path) -> None:
    print(f"Report: {page}")
