"""The command table. Heavy imports live inside the commands: ``worldgen --help`` is instant."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "off")

LISTS = ("--families", "--contexts", "--reports")
FLAGS = ("--from_scratch", "--square", "--images")


def simulate(
    out: Path,
    families: list[str] = ["drop", "bounce", "collide"],  # noqa: B006 never written to
    clips: int = 512,
    size: int = 64,
    frames: int = 16,
    fps: float = 25.0,
    seed: int = 0,
    processes: int | None = None,
    split: str | None = None,
    engine: str = "local",
    shards: str | None = None,
) -> None:
    """Simulate, film and caption scenes into shards; a second run goes on where the first stopped.

    Args:
        out: Folder of the shards.
        families: Scene families, taken in turn.
        clips: How many clips.
        size: Rows and columns in pixels.
        frames: Frames per clip.
        fps: Frames per second.
        seed: Same seed, same bits.
        processes: Simulating processes; all cores when left out.
        split: train, id or ood:FACTOR, which holds out mass, friction, restitution, gravity, speed, size,
            count, color, camera or light; the usual ranges when left out.
        engine: local (processes of this machine) or ray (a Ray cluster).
        shards: Only these shards, such as 7 or 0:100 (the last not included), of 64 clips each.
    """
    from worldgen.data.engines import LocalEngine, RayEngine
    from worldgen.data.simulate import simulate_shards

    engines = {"local": LocalEngine, "ray": RayEngine}
    if engine not in engines:
        raise ValueError(f"--engine must be one of {', '.join(engines)}; got {engine!r}.")
    maker = engines[engine](processes)
    summary = simulate_shards(
        out, families, clips, size, frames, fps, seed, split=split, engine=maker, shards=shards
    )
    print(f"{summary.clips} clips in {summary.folder}, {summary.skipped} skipped, {summary.seconds:.0f} s.")


def generate(
    run: Path, prompt: str, first_frames: Path, out: Path, seed: int = 0, frames: int = 16, known: int = 2
) -> None:
    """Continue first frames as a caption says.

    Args:
        run: Folder of a trained generator, such as assets/nano/generator.
        prompt: What happens.
        first_frames: Video or picture that the clip begins with.
        out: Video to write (mp4).
        seed: Same seed, same bits.
        frames: Frames of the result, the known ones included.
        known: How many frames of ``first_frames`` are used, at most.
    """
    from worldgen.study.generation import generate_video

    generate_video(run, prompt, first_frames, out, seed, frames, known)
    print(f"{frames} frames in {out}.")


def evaluate(
    run: Path | None = None,
    data: Path | None = None,
    videos: Path | None = None,
    out: Path = Path("report"),
    known: int = 2,
    seed: int = 0,
    clips: int | None = None,
    benchmark: str | None = None,
    generated: Path | None = None,
    real: Path | None = None,
    processes: int | None = None,
    pairs: Path | None = None,
    encoder: str | None = None,
    window: int | None = None,
    contexts: list[int] | None = None,
    skip: int | None = None,
    judge: str | None = None,
    words: Path | None = None,
    questions: Path | None = None,
) -> None:
    """Judge a run on held-out clips (RUN --data FOLDER), or anybody's videos (--videos FOLDER).

    Or by Physics-IQ: --benchmark physics-iq --generated FOLDER --real FOLDER; a second run goes on.
    Or an encoder, by possible and impossible videos: --benchmark NAME --pairs FOLDER --encoder WHICH.
    Or let a vision-language model judge videos: --benchmark NAME --videos FOLDER --judge WHICH.

    Args:
        run: Folder of a trained generator.
        data: Folder of simulated shards that it was not trained on.
        videos: Folder of videos, instead of a run.
        out: Folder of the report.
        known: First frames that the model is given.
        seed: Of the noise.
        clips: Judge only the first so many.
        benchmark: physics-iq; intphys, intphys2 or likephys; with --judge videophy2 or phygeneval.
        generated: Folder of generated videos, named with Physics-IQ's numbers.
        real: Physics-IQ's folder of real videos.
        processes: Of --videos and --benchmark physics-iq: judging processes; all cores when left out.
        pairs: Folder of the benchmark's videos, as published.
        encoder: Folder or id of a V-JEPA 2, CLASS:CHECKPOINT, or a yaml file with class_path and init_args.
            With a run, its clips are also judged in this encoder's features.
        window: Frames of a window of surprise; the benchmark's own, contexts and skip too, when left out.
        contexts: Known first frames of a window; a half when left out.
        skip: Every so many frames one is looked at, with --window.
        judge: Folder or id of a vision-language model, or ADDRESS#MODEL of an OpenAI-compatible server, whose
            key is in OPENAI_API_KEY.
        words: Yaml file with other words of the judge's questions.
        questions: PhyGenBench's folder of json files.
    """
    if benchmark is not None:
        from worldgen.study.benchmarks import evaluate_benchmark

        page = evaluate_benchmark(
            benchmark, out, generated, real, processes, videos, judge, words, questions, pairs, encoder,
            window, contexts, skip,
        )  # fmt: skip
        print(f"Report: {page}")
        return
    if pairs is not None or judge is not None:
        raise ValueError("--pairs and --judge go with --benchmark; say which one.")
    if videos is not None and encoder is not None:
        raise ValueError("--encoder compares with a truth: give it with RUN --data, or with --benchmark.")
    if (run is None) == (videos is None) or (run is None) != (data is None):
        raise ValueError(
            "worldgen evaluate takes either RUN --data FOLDER or --videos FOLDER; give one of the two."
        )
    if videos is not None:
        from worldgen.study.videos import evaluate_videos

        page = evaluate_videos(videos, out, f"worldgen evaluate --videos {videos} --out {out}", processes)
    else:
        from worldgen.study.evaluation import evaluate_folder

        page = evaluate_folder(run, data, out, known, seed, clips, encoder)
    print(f"Report: {page}")


def compare(reports: list[Path], out: Path = Path("comparison")) -> None:
    """Put reports side by side: paired differences over the clips that they share, with intervals.

    Args:
        reports: Folders of reports of worldgen evaluate; the others are compared with the first.
        out: Folder of compare.csv and compare.tex.
    """
    from worldgen.study.comparing import compare_reports

    compare_reports(reports, out)


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


def demo(
    out: Path = Path("outputs/demo"), from_scratch: bool = False, clips: int = 12, seed: int = 0
) -> None:
    """Simulate held-out scenes, continue them with the nano weights, and check both against physics.

    Args:
        out: Folder of the report; with --from-scratch also of data and weights.
        from_scratch: Simulate, train codec, text encoder and generator first; what is done already is reused.
        clips: Held-out scenes.
        seed: Of the noise.
    """
    from worldgen.study.demo import run_demo
    from worldgen.study.recipe import shipped_weights, train_from_scratch

    run = train_from_scratch(out) if from_scratch else shipped_weights() / "generator"
    command = f"worldgen demo --out {out} --clips {clips} --seed {seed}" + " --from-scratch" * from_scratch
    page = run_demo(run, out, command, clips, seed)
    for name in (page.name, "generated.mp4", "filmstrip.png"):
        print(page.parent / name)


def import_data(
    folder: Path,
    out: Path,
    size: int = 64,
    frames: int = 16,
    fps: float | None = None,
    stride: int | None = None,
    captions: Path | None = None,
    square: bool = False,
    images: bool = False,
    background: int = 255,
    processes: int | None = None,
) -> None:
    """Cut a folder of real videos into shards; a second run does only what is missing.

    Args:
        folder: Videos and WebDataset tars at any depth, or a LeRobot v3 dataset.
        out: Folder of the shards, with dropped.csv: everything left out, and why.
        size: Rows and columns of square clips, a multiple of 8; wide and high ones have as many pixels.
        frames: Frames per clip.
        fps: Frames per second of every clip; each video's own when left out.
        stride: Frames from the beginning of a clip to that of the next; as many as it has when left out.
        captions: Table (csv or jsonl) with file and caption; else NAME.txt beside NAME.mp4, or captions.csv,
            captions.jsonl, metadata.csv or metadata.jsonl in the folder.
        square: Crop everything to squares, for models of one size.
        images: Take pictures too, as clips of one frame.
        background: Gray level, 0 to 255, that transparent pixels are laid over.
        processes: Reading processes; all cores when left out.
    """
    from worldgen.data.importing import import_videos

    done = import_videos(
        folder, out, size, frames, fps, stride, captions, square, images, background, processes
    )
    sizes = ", ".join(f"{name}: {count}" for name, count in done.buckets)
    losses = ", ".join(f"{kind} {count}" for kind, count in done.dropped)
    print(f"{done.clips} clips ({sizes}) of {done.recordings} recordings in {out}, {done.imported} read now.")
    print(f"Left out: {losses or 'nothing'}; see {out}/dropped.csv. {done.seconds:.0f} s.")


def show_data(folder: Path, out: Path | None = None) -> None:
    """Print what a folder of shards holds, and draw a contact sheet.

    Args:
        folder: The shards.
        out: Picture of the contact sheet to write (png); none when left out.
    """
    from worldgen.data.inspection import contact_sheet, print_summary, summarize_shards
    from worldgen.data.media import write_png

    print_summary(summarize_shards(folder))
    if out is not None:
        write_png(out, contact_sheet(folder))
        print(f"Contact sheet: {out}")


def _fit(subcommand: str, arguments: Sequence[str]) -> None:
    from worldgen.data.datamodule import ClipDataModule
    from worldgen.study.training import run_lightning
    from worldgen.tasks.generator import WorldGenerator

    run_lightning(WorldGenerator, ClipDataModule, [subcommand, *arguments])


def _pretrain(arguments: Sequence[str]) -> None:
    from worldgen.study.training import run_lightning

    if not arguments or arguments[0] not in ("codec", "t5"):
        raise ValueError(
            f"worldgen pretrain takes codec or t5; got {arguments[0] if arguments else 'nothing'}."
        )
    if arguments[0] == "codec":
        from worldgen.data.datamodule import ClipDataModule
        from worldgen.tasks.codec import CodecTask

        run_lightning(CodecTask, ClipDataModule, ["fit", *arguments[1:]])
    else:
        from worldgen.data.captions import CaptionDataModule
        from worldgen.tasks.t5 import T5Task

        run_lightning(T5Task, CaptionDataModule, ["fit", *arguments[1:]])


def _cache_plan(arguments: Sequence[str]) -> None:
    from worldgen.study.caching import plan_cache

    plan_cache(arguments)


def _cache_verify(arguments: Sequence[str]) -> None:
    from worldgen.study.caching import verify_cache

    verify_cache(arguments)


def show_cache(folder: Path = Path("outputs/cache")) -> None:
    """Print what a cache holds.

    Args:
        folder: The cache.
    """
    from worldgen.study.caching import print_cache

    print_cache(folder)


def _plain(
    function: Callable[..., None], name: str | None = None, first: str | None = None
) -> Callable[[Sequence[str]], None]:
    """A command that is a typed function; ``first`` names the argument that may stand in front bare."""

    def run(arguments: Sequence[str]) -> None:
        from jsonargparse import ArgumentParser

        parser = ArgumentParser(
            prog=f"worldgen {name or function.__name__}", description=function.__doc__, exit_on_error=False
        )
        parser.add_function_arguments(function)
        if first is not None and arguments and not arguments[0].startswith("-"):
            arguments = [f"--{first}", *arguments]
        words = _spell(arguments, with_run="run" in inspect.signature(function).parameters)
        function(**parser.instantiate_classes(parser.parse_args(words)).as_dict())

    return run


def _group(name: str, commands: dict[str, tuple[str, Callable[[Sequence[str]], None]]]) -> Callable:
    """A command of several: ``worldgen NAME COMMAND ...``."""

    def run(arguments: Sequence[str]) -> None:
        if not arguments or arguments[0] in ("-h", "--help"):
            print("\n".join([f"usage: worldgen {name} COMMAND ...", "", *_table(commands)]))
        elif arguments[0] not in commands:
            raise ValueError(f"worldgen {name} takes {', '.join(commands)}; got {arguments[0]!r}.")
        else:
            commands[arguments[0]][1](arguments[1:])

    return run


DATA: dict[str, tuple[str, Callable[[Sequence[str]], None]]] = {
    "import": ("cut a folder of real videos into shards", _plain(import_data, "data import", "folder")),
    "show": ("print what a folder of shards holds, and draw it", _plain(show_data, "data show", "folder")),
}
CACHE: dict[str, tuple[str, Callable[[Sequence[str]], None]]] = {
    "plan": ("say how large the cache of a fit will be; takes what fit takes", _cache_plan),
    "verify": ("compare checksums, compute --sample clips again; takes what fit takes", _cache_verify),
    "show": ("print what a cache holds", _plain(show_cache, "cache show", "folder")),
}
COMMANDS: dict[str, tuple[str, Callable[[Sequence[str]], None]]] = {
    "demo": ("simulate, generate and check with the shipped nano weights", _plain(demo)),
    "simulate": ("simulate, film and caption scenes into shards", _plain(simulate)),
    "data": ("real videos into shards, and what shards hold: import, show", _group("data", DATA)),
    "cache": ("what fit keeps of encoded clips: plan, verify, show", _group("cache", CACHE)),
    "pretrain": ("train a part: codec or t5", _pretrain),
    "generate": ("continue first frames as a caption says", _plain(generate)),
    "evaluate": ("check a run, or anybody's videos, against physics", _plain(evaluate)),
    "compare": ("reports side by side, with paired intervals", _plain(compare, None, "reports")),
    "sensitivity": ("swap conditions of a run: which does it heed", _plain(sensitivity)),
    "fit": ("train a world generator (Lightning)", lambda arguments: _fit("fit", arguments)),
    "validate": ("validate a checkpoint (Lightning)", lambda arguments: _fit("validate", arguments)),
    "test": ("test a checkpoint (Lightning)", lambda arguments: _fit("test", arguments)),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. Bad input ends with one sentence on stderr and exit code 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return
    if words[0] == "--version":
        from worldgen import __version__

        print(__version__)
        return
    try:
        if words[0] not in COMMANDS:
            raise ValueError(f"worldgen has no command {words[0]!r}; it has {', '.join(COMMANDS)}.")
        COMMANDS[words[0]][1](words[1:])
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        if not _is_users(error):
            raise
        print(f"worldgen: {_one_line(error)}", file=sys.stderr)
        raise SystemExit(2) from None


def _help() -> str:
    lines = [
        "usage: worldgen COMMAND ...",
        "",
        "A modular video world model, and the physics bench it is tested on.",
        "",
    ]
    return "\n".join([*lines, *_table(COMMANDS), "", "worldgen COMMAND --help says what a command takes."])


def _table(commands: dict[str, tuple[str, Callable[[Sequence[str]], None]]]) -> list[str]:
    return [f"  {name:<11} {text}" for name, (text, _) in commands.items()]


def _is_users(error: Exception) -> bool:
    """Whether an error is about what was given, rather than about our code."""
    return isinstance(error, (ValueError, OSError)) or type(error).__name__ in (
        "ArgumentError",
        "MisconfigurationException",
    )


def _one_line(error: Exception) -> str:
    text = str(getattr(error, "message", None) or error)
    return " ".join(text.split()) or type(error).__name__


def _spell(arguments: Sequence[str], with_run: bool) -> list[str]:
    """What people write, as jsonargparse spells it.

    ``RUN`` in front becomes ``--run RUN``, ``--first-frames`` becomes ``--first_frames``, ``--families a b``
    becomes ``--families=[a,b]``, and ``--from-scratch`` alone means true.
    """
    words = list(arguments)
    if with_run and words and not words[0].startswith("-"):
        words.insert(0, "--run")
    spelled: list[str] = []
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            spelled.append(word)
            continue
        name, equals, value = word.partition("=")
        name = "--" + name[2:].replace("-", "_")
        follows = bool(words) and not words[0].startswith("--")
        if name in LISTS and not equals:
            values = []
            while words and not words[0].startswith("--"):
                values.append(words.pop(0))
            spelled.append(f"{name}=[{','.join(values)}]")
        elif name in FLAGS and not equals and not follows:
            spelled.append(f"{name}=true")
        else:
            spelled.append(name + equals + value)
    return spelled
