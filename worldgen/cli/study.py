"""The commands that judge, compare and measure, as typed functions: `cli.main` makes options of them.

Heavy imports live inside: the help must be instant.
"""

from __future__ import annotations

from pathlib import Path


def evaluate(
    run: Path | None = None,
    data: Path | None = None,
    videos: Path | None = None,
    tracks: Path | None = None,
    out: Path = Path("report"),
    known: int = 2,
    seed: int = 0,
    clips: int | None = None,
    encoder: str | None = None,
    fps: float | None = None,
    processes: int | None = None,
    scale: str | None = None,
    gravity: float | None = None,
    rate: float | None = None,
    lpips: Path | None = None,
    against: Path | None = None,
    detector: str | None = None,
    points: str | None = None,
) -> None:
    """Judge a run on held-out clips (RUN --data FOLDER), anybody's videos (--videos) or tracks (--tracks).

    Or a published benchmark, with options of its own: worldgen evaluate --benchmark NAME --help.

    Args:
        run: Folder of a trained generator.
        data: Folder of simulated shards that it was not trained on.
        videos: Folder of videos, instead of a run.
        tracks: File of tracks without video (.csv, .json in COCO style, .trk of Tracker), instead of a run.
        out: Folder of the report.
        known: First frames that the model is given.
        seed: Of the noise.
        clips: Judge only the first so many.
        encoder: Judge the clips of a run, or the videos beside --against, also in the features of this
            encoder: folder or id of a V-JEPA 2, CLASS:CHECKPOINT, or a yaml with class_path and init_args.
        fps: Frames per second of the tracks, where their file does not say.
        processes: Of --videos: judging processes; all cores when left out.
        scale: Of --videos: metres per pixel of the files, from a known length; or g, for a scale with which
            each video's longest flight falls with g.
        gravity: Of --videos: m/s^2 where they were filmed; 9.81 when left out.
        rate: Of --videos: frames per second of the world, where a file's own rate is not (slow motion).
        lpips: Of RUN: AlexNet's weights as torchvision gives them (alexnet-owt-7be5be79.pth), to add LPIPS.
        against: Of --videos: folder of real videos, any number of them, from which the videos' distance as a
            crowd (JEDi, Frechet) is measured in the features of --encoder.
        detector: Of --videos: folder or id of an object detector of transformers (DETR, RT-DETR, YOLOS) whose
            boxes are tracked; what moves before the background when left out.
        points: Of --videos: folder of a clone of facebookresearch/co-tracker with its weights in
            checkpoints/scaled_offline.pth, to follow points on what is tracked; the clone's code is run.
    """
    given = sum(source is not None for source in (run, videos, tracks))
    if given != 1 or (run is None) != (data is None):
        raise ValueError(
            "worldgen evaluate takes either RUN --data FOLDER or --videos FOLDER or --tracks FILE; give one."
        )
    if against is not None and (videos is None or encoder is None):
        raise ValueError(
            "--against compares --videos FOLDER with its own folder by --encoder WHICH; give both."
        )
    if run is None and against is None and encoder is not None:
        raise ValueError(
            "--encoder compares with a truth: give it with RUN --data, with --videos and --against FOLDER of "
            "real videos, or with --benchmark."
        )
    if run is None and lpips is not None:
        raise ValueError("--lpips compares with a truth, frame by frame: give it with RUN --data.")
    if videos is None and any(option is not None for option in (scale, gravity, rate, detector, points)):
        raise ValueError(
            "--scale, --gravity, --rate, --detector and --points are of --videos; give them with --videos "
            "FOLDER."
        )
    if tracks is not None:
        from worldgen.evaluation.tracks import evaluate_tracks

        page = evaluate_tracks(tracks, out, f"worldgen evaluate --tracks {tracks} --out {out}", fps)
    elif videos is not None:
        from worldgen.evaluation.capture import filmed
        from worldgen.evaluation.tracker import choose_tracking
        from worldgen.evaluation.videos import Beside, evaluate_videos

        command = f"worldgen evaluate --videos {videos} --out {out}"
        how, tracking = filmed(scale, gravity, rate), choose_tracking(detector, points)
        beside = Beside()
        if against is not None:
            from worldgen.evaluation.folders import compare_folders

            command += f" --against {against} --encoder {encoder}"
            beside = compare_folders(videos, against, encoder, out)
        page = evaluate_videos(videos, out, command, processes, how, beside, tracking)
    else:
        from worldgen.evaluation.generator import evaluate_folder

        page = evaluate_folder(run, data, out, known, seed, clips, encoder, lpips)
    print(f"Report: {page}")


def compare(reports: list[Path], out: Path = Path("comparison")) -> None:
    """Put reports side by side: paired differences over the clips that they share, with intervals.

    Args:
        reports: Folders of reports of worldgen evaluate; the others are compared with the first.
        out: Folder of compare.csv and compare.tex.
    """
    from worldgen.evaluation.compare import compare_reports

    compare_reports(reports, out)


def calibrate(
    out: Path,
    families: list[str] | None = None,
    clips: int = 20,
    source: str = "truth",
    seed: int = 0,
    run: Path | None = None,
    processes: int | None = None,
) -> None:
    """Hold every check against truth, second takes and graded violations: what it sees, what it is blind to.

    Args:
        out: Folder of the tables and the heat map.
        families: Scene families; all when left out.
        clips: Worlds per family.
        source: truth (the simulator's states) or readout (tracked in pixels).
        seed: Of the first world.
        run: Folder of a trained generator, to measure its plausibility preference error on the same clips.
        processes: All cores when left out.
    """
    from worldgen.simulation.scenes.families import FAMILIES
    from worldgen.study.calibrate import calibrate as measure

    families = families or list(FAMILIES)
    command = f"worldgen calibrate --out {out} --families {' '.join(families)} --clips {clips}"
    command += f" --source {source} --seed {seed}" + (f" --run {run}" if run else "")
    measure(out, families, clips, source, seed, command, run, processes)


def sensitivity(
    run: Path, data: Path, out: Path = Path("sensitivity"), clips: int = 60, known: int = 2, seed: int = 0
) -> None:
    """Swap one condition at a time between clips: does the output change, and toward the swapped-in truth?

    Args:
        run: Folder of a trained generator.
        data: Folder of simulated shards that it was not trained on.
        out: Folder of the report: json, csv and a figure.
        clips: How many clips, the first ones.
        known: First frames that the model is given.
        seed: Of the noise.
    """
    from worldgen.study.sensitivity import sensitivity_folder

    sensitivity_folder(run, data, out, clips, known, seed)
    print(f"Report: {out / 'sensitivity.json'}")


def retrieve(checkpoint: Path, data: Path, out: Path = Path("retrieval"), clips: int | None = None) -> None:
    """Measure how well an ImageBind finds what belongs together, against chance.

    Args:
        checkpoint: Folder of an ImageBind, such as assets/nano/imagebind, or imagebind_huge.pth.
        data: Folder of simulated shards that it was not trained on.
        out: Folder of the table (csv, json) and the plot.
        clips: Only the first so many.
    """
    from worldgen.study.retrieval import evaluate_retrieval

    evaluate_retrieval(checkpoint, data, out, clips)
    print(f"{out}/retrieval.csv")
