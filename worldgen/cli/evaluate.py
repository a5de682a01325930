"""The commands that evaluate, as typed functions: `cli.main` makes options of them."""

from __future__ import annotations

from pathlib import Path

NAMES = ("physics-iq", "intphys", "intphys2", "likephys", "videophy2", "phygeneval")


def evaluate(
    run: Path | None = None,
    data: Path | None = None,
    videos: Path | None = None,
    tracks: Path | None = None,
    out: Path = Path("report"),
    context_frames: int = 2,
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
        context_frames: First frames that the model is given.
        seed: Of the noise.
        clips: Judge only the first so many.
        encoder: Judge the clips of a run, or the videos beside --against, also in the features of this
            encoder: folder or id of a V-JEPA 2, CLASS:CHECKPOINT, or a yaml with class_path and init_args;
            how well they fit their prompts by worldgen.encoders.clip.CLIP:CHECKPOINT.
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

        page = evaluate_tracks(tracks, out, fps)
    elif videos is not None:
        from worldgen.evaluation.capture import choose_capture
        from worldgen.evaluation.tracker import choose_tracking
        from worldgen.evaluation.videos import Beside, evaluate_videos

        how, tracking = choose_capture(scale, gravity, rate), choose_tracking(detector, points)
        beside = Beside()
        if against is not None:
            from worldgen.evaluation.folders import compare_folders

            beside = compare_folders(videos, against, encoder, out)
        page = evaluate_videos(videos, out, processes, how, beside, tracking)
    else:
        from worldgen.evaluation.generator import evaluate_folder

        page = evaluate_folder(run, data, out, context_frames, seed, clips, encoder, lpips)
    print(f"Report: {page}")


def evaluate_benchmark(
    benchmark: str,
    out: Path = Path("report"),
    generated: Path | None = None,
    real: Path | None = None,
    processes: int | None = None,
    videos: Path | None = None,
    judge: str | None = None,
    words: Path | None = None,
    questions: Path | None = None,
    pairs: Path | None = None,
    encoder: str | None = None,
    window: int | None = None,
    contexts: list[int] | None = None,
    skip: int | None = None,
) -> None:
    """Run a published benchmark.

    Physics-IQ: --benchmark physics-iq --generated FOLDER --real FOLDER; a second run goes on. An encoder, by
    possible and impossible videos: --benchmark intphys|intphys2|likephys --pairs FOLDER --encoder WHICH. A
    vision-language model as judge: --benchmark videophy2|phygeneval --videos FOLDER --judge WHICH.

    Args:
        benchmark: physics-iq, intphys, intphys2, likephys, videophy2 or phygeneval.
        out: Folder of the report.
        generated: Folder of generated videos, named with Physics-IQ's numbers.
        real: Physics-IQ's folder of real videos.
        processes: Of physics-iq: comparing processes; all cores when left out.
        videos: Folder of the videos that are judged.
        judge: Folder or id of a vision-language model, or ADDRESS#MODEL of an OpenAI-compatible server, whose
            key is in OPENAI_API_KEY.
        words: Yaml file with other words of the judge's questions.
        questions: PhyGenBench's folder of json files.
        pairs: Folder of the benchmark's videos, as published.
        encoder: Folder or id of a V-JEPA 2, CLASS:CHECKPOINT, or a yaml file with class_path and init_args.
        window: Frames of a window of surprise; the benchmark's own, contexts and skip too, when left out.
        contexts: Known first frames of a window; a half when left out.
        skip: Every so many frames one is looked at, with --window.
    """
    if benchmark not in NAMES:
        raise ValueError(f"--benchmark takes {', '.join(NAMES)}; got {benchmark!r}.")
    if benchmark == "physics-iq":
        if generated is None or real is None:
            raise ValueError("--benchmark physics-iq takes --generated FOLDER and --real FOLDER; give both.")
        from worldgen.evaluation.benchmarks.physics_iq import evaluate_physics_iq

        page = evaluate_physics_iq(generated, real, out, processes)
    elif judge is not None:
        if videos is None:
            raise ValueError(f"--benchmark {benchmark} --judge takes --videos FOLDER too; give it.")
        from worldgen.evaluation.benchmarks.vlm import evaluate_vlm, open_judge

        page = evaluate_vlm(benchmark, videos, out, open_judge(judge), words, questions)
    else:
        if pairs is None or encoder is None:
            raise ValueError(
                f"--benchmark {benchmark} takes --pairs FOLDER and --encoder WHICH, or --videos FOLDER and "
                "--judge WHICH; give both of one kind."
            )
        if window is None and (contexts is not None or skip is not None):
            raise ValueError("--contexts and --skip go with --window; give it too, or leave them out.")
        from worldgen.evaluation.benchmarks.pairs import evaluate_pairs
        from worldgen.metrics.surprise import Windows

        windows = None
        if window is not None:
            windows = Windows(window, tuple(contexts or [window // 2]), skip=1 if skip is None else skip)
        page = evaluate_pairs(benchmark, pairs, out, encoder, windows)
    print(f"Report: {page}")
