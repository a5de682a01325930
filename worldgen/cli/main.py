"""The command table, and how words become arguments. Heavy imports live inside: the help is instant.

What the commands do is in `worldgen.cli.make` and `worldgen.cli.study`, and in the rooms.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence

from worldgen.cli import evaluate, make, study

os.environ.setdefault("MUJOCO_GL", "off")

LISTS = ("--families", "--reports", "--control", "--control_scale", "--clip", "--contexts")
PARTS = {
    "codec": "worldgen.tasks.codec.CodecTask",
    "t5": "worldgen.tasks.t5.T5Task",
    "vjepa": "worldgen.tasks.vjepa.VJEPATask",
    "imagebind": "worldgen.tasks.imagebind.ImageBindTask",
    "control": "worldgen.tasks.control.ControlTask",
}
"""What `pretrain` trains."""
_UNION = r"Does not validate against any of the Union .*? Errors: - (.*?) - Expected a <class 'NoneType'>.*"
OF_BENCHMARKS = ("--benchmark", "--generated", "--real", "--pairs", "--judge")
FLAGS = ("--from_scratch", "--square", "--images")


def _fit(subcommand: str, arguments: Sequence[str]) -> None:
    from worldgen.data.datamodule import ClipDataModule
    from worldgen.runs.train import run_lightning
    from worldgen.tasks.generator import WorldGenerator

    run_lightning(WorldGenerator, ClipDataModule, [subcommand, *arguments])


def _pretrain(arguments: Sequence[str]) -> None:
    from importlib import import_module

    from worldgen.runs.train import run_lightning

    name = arguments[0] if arguments else "nothing"
    if name not in PARTS:
        raise ValueError(f"worldgen pretrain takes {_either(PARTS)}; got {name}.")
    if name == "t5":
        from worldgen.data.captions import CaptionDataModule as DataModule
    else:
        from worldgen.data.datamodule import ClipDataModule as DataModule
    room, _, task = PARTS[name].rpartition(".")
    run_lightning(getattr(import_module(room), task), DataModule, ["fit", *arguments[1:]])


def _either(names: Iterable[str]) -> str:
    *some, last = names
    return f"{', '.join(some)} or {last}"


def _probe(arguments: Sequence[str]) -> None:
    from worldgen.study.probes import probe

    _plain(probe)(arguments)


def _evaluate(arguments: Sequence[str]) -> None:
    """A benchmark takes other options than the rest."""
    if any(word.partition("=")[0] in OF_BENCHMARKS for word in arguments):
        from worldgen.cli.evaluate import evaluate_benchmark

        _plain(evaluate_benchmark, "evaluate")(arguments)
    else:
        _plain(evaluate.evaluate, "evaluate")(arguments)


def _cache_plan(arguments: Sequence[str]) -> None:
    from worldgen.runs.plan_cache import plan_cache

    plan_cache(arguments)


def _cache_verify(arguments: Sequence[str]) -> None:
    from worldgen.runs.plan_cache import verify_cache

    verify_cache(arguments)


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


def _group(name: str, members: dict[str, tuple[str, Callable[[Sequence[str]], None]]]) -> Callable:
    """A command of several: ``worldgen NAME COMMAND ...``."""

    def run(arguments: Sequence[str]) -> None:
        if not arguments or arguments[0] in ("-h", "--help"):
            print("\n".join([f"usage: worldgen {name} COMMAND ...", "", *_table(members)]))
        elif arguments[0] not in members:
            raise ValueError(f"worldgen {name} takes {', '.join(members)}; got {arguments[0]!r}.")
        else:
            members[arguments[0]][1](arguments[1:])

    return run


DATA: dict[str, tuple[str, Callable[[Sequence[str]], None]]] = {
    "import": (
        "cut a folder of real videos into shards",
        _plain(make.import_data, "data import", "folder"),
    ),
    "show": (
        "print what a folder of shards holds, and draw it",
        _plain(make.show_data, "data show", "folder"),
    ),
}
CACHE: dict[str, tuple[str, Callable[[Sequence[str]], None]]] = {
    "plan": ("say how large the cache of a fit will be; takes what fit takes", _cache_plan),
    "verify": ("compare checksums, compute --sample clips again; takes what fit takes", _cache_verify),
    "show": ("print what a cache holds", _plain(make.show_cache, "cache show", "folder")),
}
COMMANDS: dict[str, tuple[str, Callable[[Sequence[str]], None]]] = {
    "demo": ("simulate, generate and check with the shipped nano weights", _plain(make.demo)),
    "simulate": ("simulate, film and caption scenes into shards", _plain(make.simulate)),
    "data": ("real videos into shards, and what shards hold: import, show", _group("data", DATA)),
    "cache": ("what fit keeps of encoded clips: plan, verify, show", _group("cache", CACHE)),
    "pretrain": (f"train a part: {_either(PARTS)}", _pretrain),
    "probe": ("read family, count and speed off an encoder's tokens by linear maps", _probe),
    "generate": ("continue first frames as a caption says", _plain(make.generate)),
    "evaluate": ("check a run, or anybody's videos, against physics", _evaluate),
    "retrieve": (
        "how well an ImageBind finds what belongs together",
        _plain(study.retrieve, first="checkpoint"),
    ),
    "export": ("write clips or tracks as MJCF and Blender scripts", _plain(make.export, first="clip")),
    "compare": ("reports side by side, with paired intervals", _plain(study.compare, None, "reports")),
    "sensitivity": ("swap conditions of a run: which does it heed", _plain(study.sensitivity)),
    "calibrate": ("say what each physical check sees, and to what it is blind", _plain(study.calibrate)),
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


def _table(members: dict[str, tuple[str, Callable[[Sequence[str]], None]]]) -> list[str]:
    return [f"  {name:<11} {text}" for name, (text, _) in members.items()]


def _is_users(error: Exception) -> bool:
    """Whether an error is about what was given, rather than about our code."""
    return isinstance(error, (ValueError, OSError)) or type(error).__name__ in (
        "ArgumentError",
        "MisconfigurationException",
    )


def _one_line(error: Exception) -> str:
    text = " ".join(str(getattr(error, "message", None) or error).split())
    # Of a part that may be left out, jsonargparse says first that it is of neither type, and why last.
    return re.sub(_UNION, r"\1", text) or type(error).__name__


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
