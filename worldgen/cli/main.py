"""The command table. Heavy imports live inside the commands: help and the answer to a mistake are instant.

What the commands take is in `worldgen.cli.make`, `worldgen.cli.sound`, `worldgen.cli.evaluate`,
`worldgen.cli.study` and `worldgen.cli.train`; how words become arguments, in `worldgen.cli.words.options` and
`worldgen.cli.words.keys`.
"""

from __future__ import annotations

import errno
import os
import re
import select
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from worldgen.cli import (
    evaluate,
    expand,
    generate,
    make,
    plan,
    repeat,
    sound,
    study,
    train,
    tune,
    verify_resume,
)
from worldgen.cli.words.help import command_help, group_help, in_columns, summary
from worldgen.cli.words.options import did_you_mean, read_words

os.environ.setdefault("MUJOCO_GL", "off")

_LONGEST = 1000
"""Letters of an error's sentence; whatever was given may be in it."""
_UNION = r"Does not validate against any of the Union .*? Errors: - (.*?) - Expected a <class 'NoneType'>.*"


@dataclass(frozen=True)
class Command:
    """A command: what it is for, what runs its words, and what refuses wrong ones without running them."""

    text: str
    run: Callable[[Sequence[str]], None]
    check: Callable[[Sequence[str]], object]


def _plain(
    name: str,
    text: str,
    function: Callable[..., None],
    bare: str | None = None,
    beside: Mapping[str, Callable[..., None]] = MappingProxyType({}),
) -> Command:
    """A command that is a typed function.

    Args:
        name: As people type it.
        text: What it is for.
        function: What it does.
        bare: The option whose values may stand in front without its name.
        beside: Commands whose options may be meant for this one.
    """

    def run(words: Sequence[str]) -> None:
        if any(word in ("-h", "--help") for word in words):
            asked = [word for word in words if word not in ("-h", "--help")]
            print(command_help(function, name, bare, asked[0] if asked else None))
        else:
            function(**read_words(function, name, words, bare, beside))

    return Command(text, run, lambda words: read_words(function, name, words, bare, beside))


def _group(
    name: str,
    text: str,
    members: dict[str, Command],
    example: str,
    lengthen: Callable[[Sequence[str]], Sequence[str]] = list,
) -> Command:
    """A command of several: ``worldgen NAME COMMAND ...``; ``lengthen`` spells short forms like that."""

    def member_of(words: Sequence[str]) -> Command:
        if words[0] not in members:
            raise ValueError(f"worldgen {name} has no command {words[0]!r}{did_you_mean(words[0], members)}")
        return members[words[0]]

    def run(words: Sequence[str]) -> None:
        words = lengthen(words)
        if not words or words[0] in ("-h", "--help"):
            rows = [(f"{member} ...", command.text) for member, command in members.items()]
            print(group_help(name, text[0].upper() + text[1:] + ".", rows, example))
        else:
            member_of(words).run(words[1:])

    def check(words: Sequence[str]) -> None:
        words = lengthen(words) or [""]
        member_of(words).check(words[1:])

    return Command(text, run, check)


def _benchmark(words: Sequence[str]) -> None:
    """Each benchmark takes what its kind takes."""
    known = evaluate.BENCHMARKS
    if not words or words[0] in ("-h", "--help"):
        rows = [(name, " ".join(summary(function.__doc__ or ""))) for name, function in known.items()]
        print(group_help("evaluate benchmark", "Run a published benchmark.", rows, _PHYSICS_IQ))
    else:
        _named_benchmark(words).run(words)


def _named_benchmark(words: Sequence[str]) -> Command:
    known = evaluate.BENCHMARKS
    name = words[0] if words else ""
    if name not in known:
        raise ValueError(f"worldgen evaluate benchmark has no {name!r} in front{did_you_mean(name, known)}")
    beside = {f"evaluate benchmark {other}": function for other, function in known.items()}
    return _plain("evaluate benchmark", "", known[name], "benchmark", beside)


def _trained(text: str, training: train.Training) -> Command:
    return Command(text, training.run, training.check)


def demo(
    out: Path = Path("outputs/demo"), from_scratch: bool = False, clips: int = 12, seed: int = 0
) -> None:
    """Simulate held-out scenes, continue them with the nano weights, and check both against physics.

    Args:
        out: Folder of the report; with --from-scratch also of data and weights.
        from_scratch: Simulate and train everything first; what is done already is reused.
        clips: Held-out scenes.
        seed: Of the noise.

    Example:
        worldgen demo --out outputs/demo
    """
    from worldgen.runs.folder import HOME, shipped_weights
    from worldgen.runs.recipes.recipe import run_recipe
    from worldgen.study.demo import run_demo

    run, out = shipped_weights() / "generator", out.absolute()
    if from_scratch:
        with chdir(HOME):
            *_, last = run_recipe(Path("configs/recipes/nano.yaml"), out, check_command, run_command)
        run = last.makes[0]
    page = run_demo(run, out, clips, seed)
    for name in (page.name, "generated.mp4", "filmstrip.png"):
        print(page.parent / name)


def recipe(file: Path, out: Path | None = None, dry_run: bool = False) -> None:
    """Run ordered stages of commands; each is kept while its words, inputs and code are as they were.

    Args:
        file: Yaml of the stages, such as configs/recipes/nano.yaml.
        out: Folder that {out} stands for in it; outputs/NAME of the file when left out.
        dry_run: List the stages with state and time, and run none.

    Example:
        worldgen recipe configs/recipes/nano.yaml --out outputs/demo --dry-run
    """
    from worldgen.runs.recipes.recipe import run_recipe

    run_recipe(file, out or Path("outputs") / file.stem, check_command, run_command, dry_run)


def check_command(words: Sequence[str]) -> None:
    """Refuse words that `run_command` would refuse before it does anything.

    Raises:
        ValueError: There is no such command, or it has no such option.
    """
    if words[0] not in COMMANDS:
        raise ValueError(f"worldgen has no command {words[0]!r}{did_you_mean(words[0], COMMANDS)}")
    COMMANDS[words[0]].check(words[1:])


def run_command(words: Sequence[str]) -> None:
    """Run words as if they had been typed; errors are the caller's."""
    called = sys.argv
    # What a report says of its own command, and what Lightning starts other processes of a training by.
    program = called[0] if called and Path(called[0]).name == "worldgen" else "worldgen"
    sys.argv = [program, *words]
    try:
        if words[0] not in COMMANDS:
            raise ValueError(f"worldgen has no command {words[0]!r}{did_you_mean(words[0], COMMANDS)}")
        COMMANDS[words[0]].run(words[1:])
    finally:
        sys.argv = called


_PHYSICS_IQ = "worldgen evaluate benchmark physics-iq --generated my_videos/ --real physics-IQ-benchmark/"
_EVALUATIONS = {
    "run": evaluate.run,
    "videos": evaluate.videos,
    "tracks": evaluate.tracks,
    "codec": evaluate.codec,
}
_BESIDE = {f"evaluate {name}": function for name, function in _EVALUATIONS.items()}
EVALUATE = {
    "run": _plain("evaluate run", "a trained generator, on simulated clips", evaluate.run, "run", _BESIDE),
    "videos": _plain("evaluate videos", "anybody's videos", evaluate.videos, "videos", _BESIDE),
    "tracks": _plain("evaluate tracks", "tracks without video", evaluate.tracks, "tracks", _BESIDE),
    "codec": _plain("evaluate codec", "what a codec keeps of clips", evaluate.codec, "codec", _BESIDE),
    "benchmark": Command(
        f"a published benchmark: {', '.join(evaluate.BENCHMARKS)}",
        _benchmark,
        lambda words: _named_benchmark(words).check(words),
    ),
}
DATA = {
    "import": _plain("data import", "cut a folder of real videos into shards", make.import_data, "folder"),
    "show": _plain("data show", "print what shards hold, and draw it", make.show_data, "folder"),
}
CACHE = {
    "plan": Command("say how large the cache of a fit will be", train.plan_cache, train.CACHES["plan"].check),
    "verify": Command(
        "compare checksums, compute some clips again", train.verify_cache, train.CACHES["verify"].check
    ),
    "show": _plain("cache show", "print what a cache holds", make.show_cache, "folder"),
}
RUNS = {
    "list": _plain("runs", "list run folders: state, step, measures, config", study.runs, "folder"),
    "bundle": _plain("runs bundle", "all that a run needs to be run again", repeat.bundle, "run"),
}
COMMANDS = {
    "demo": _plain("demo", "simulate, generate and check with the shipped nano weights", demo),
    "simulate": _plain("simulate", "simulate, film and caption scenes into shards", make.simulate),
    "data": _group(
        "data",
        "real videos into shards, and what shards hold",
        DATA,
        "worldgen data import my_videos/ --out shards/",
    ),
    "cache": _group("cache", "what fit keeps of encoded clips", CACHE, "worldgen cache show outputs/cache"),
    "pretrain": Command(
        "train a part: the codec, an encoder, dynamics, a readout, ...", train.pretrain, train.check_pretrain
    ),
    "probe": Command("read family, count and speed off an encoder's tokens", train.probe, train.check_probe),
    "generate": _plain("generate", "make videos of a caption and known frames", generate.generate, "run"),
    "tune": _plain("tune", "teach a generator one clip, as a LoRA", tune.tune, "clip"),
    "expand": _plain("expand", "write a short prompt out as training's captions", expand.expand, "prompt"),
    "narrate": _plain("narrate", "speak what happens in clips, when it does", sound.narrate, "data"),
    "evaluate": _group(
        "evaluate",
        "check a run, or anybody's videos, against physics",
        EVALUATE,
        "worldgen evaluate run assets/nano/generator --data data/test --out report/",
        evaluate.lengthen,
    ),
    "retrieve": _plain("retrieve", "how well an ImageBind finds what belongs", study.retrieve, "checkpoint"),
    "export": _plain("export", "write clips or tracks as MJCF and Blender scripts", make.export, "clip"),
    "ablate": _plain(
        "ablate", "run arms and seeds of a study, and say what is better", study.ablate, "experiment"
    ),
    "compare": _plain("compare", "reports side by side, with paired intervals", study.compare, "reports"),
    "sensitivity": _plain(
        "sensitivity", "swap conditions of a run: which does it heed", study.sensitivity, "run"
    ),
    "calibrate": _plain("calibrate", "say what each check sees, and to what it is blind", study.calibrate),
    "recipe": _plain(
        "recipe", "run ordered stages of commands, of which what is done is kept", recipe, "file"
    ),
    "runs": _group(
        "runs",
        "list run folders: state, step, measures, config; bundle one",
        RUNS,
        "worldgen runs outputs --where seed_everything=0 --sort val/loss",
        lambda words: list(words) if words and words[0] in (*RUNS, "-h", "--help") else ["list", *words],
    ),
    "reproduce": _plain("reproduce", "run a bundle again, and compare", repeat.reproduce, "bundle"),
    "serve": _plain("serve", "a page and an HTTP API on this machine", study.serve, "runs"),
    "fit": _trained("train a world generator (Lightning)", train.TRAININGS["fit"]),
    "plan": Command("say what a training will cost, before anything is spent", plan.plan, plan.check_plan),
    "verify-resume": Command(
        "kill a training and resume it: does any state differ?",
        verify_resume.verify_resume,
        verify_resume.check_verify_resume,
    ),
    "validate": _trained("validate a checkpoint (Lightning)", train.TRAININGS["validate"]),
    "test": _trained("test a checkpoint (Lightning)", train.TRAININGS["test"]),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. Bad input ends with one sentence on stderr and exit code 2."""
    _run(sys.argv[1:] if arguments is None else arguments)


def _run(words: Sequence[str]) -> None:
    try:
        if not words or words[0] in ("-h", "--help"):
            print(_help())
        elif words[0] == "--version":
            from worldgen import __version__

            print(__version__)
        else:
            run_command(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_left():
            raise SystemExit(141) from None
        if not _is_users(error):
            raise
        print(f"worldgen: {_one_line(error)}", file=sys.stderr)
        raise SystemExit(2) from None


def _reader_left() -> bool:
    """Whether whoever read what is printed, such as ``head``, has seen enough."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    left = any(event & select.POLLERR for _, event in poll.poll(0))
    if left:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at its end
    return left


def _help() -> str:
    lines = ["usage: worldgen COMMAND ...      (worldgen COMMAND --help says what it takes)"]
    rows = [(name, command.text) for name, command in COMMANDS.items()]
    return "\n".join([*lines, *in_columns(rows)])


def _is_users(error: Exception) -> bool:
    """Whether an error is about what was given, rather than about our code."""
    return isinstance(error, (ValueError, OSError)) or type(error).__name__ in (
        "ArgumentError",
        "MisconfigurationException",
        "SafetensorError",
    )


def _one_line(error: Exception) -> str:
    text = " ".join(str(getattr(error, "message", None) or error).split())
    if (
        isinstance(error, OSError)
        and error.filename
        and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    ):
        place = f"{error.filename} must be where you may read and write ({error.strerror})."
        text = f"{place} Change its rights, or name another place."
    # Of a part that may be left out, jsonargparse says first that it is of neither type, and why last.
    text = re.sub(_UNION, r"\1", text)
    text = re.sub(r"""": Problem with given class_path '[\w.]+': Parser key \"""", ".", text)
    text = re.sub(r"Parser key \"([\w.]+)\": ", r"--\1: ", text)
    text = re.sub(r": - Expected a path but \S+ either not accessible or invalid - ", ": ", text)
    text = re.sub(r"<class '(?:[\w.]+\.)?(\w+)'>", r"\1", text)
    text = re.sub(r" at 0x[0-9a-f]+", "", text)  # another one in every run
    text = re.sub(r"^\[Errno \d+\] ", "", text)
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    return text or type(error).__name__
