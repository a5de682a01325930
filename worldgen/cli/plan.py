"""The command ``plan``: what a training will cost, before anything is spent."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from worldgen.cli.train import NANO
from worldgen.cli.trainings import own_options, require_numbers, training_of
from worldgen.cli.words.help import example_lines, in_columns, summary, usage

_TEXT = (
    "Say what a training will cost, without training: parameters, memory, disk, steps, clips "
    "that are dropped, weights and their licenses, time. Refuse one that cannot run."
)
_OPTIONS = (
    ("-c FILE, --KEY VALUE", "What `fit`, or the `pretrain` that is named, takes."),
    ("--measure N", "Steps of the short run that time is measured with; 0 for none. [5]"),
    ("--dropped FILE", "Write every clip that is not trained on, and why, as CSV."),
)


def plan(words: Sequence[str]) -> None:
    """Say what a training will cost."""
    if not words or words[0] in ("-h", "--help"):
        lines = usage("plan [fit | pretrain PART] -c FILE [-c FILE ...] [--KEY VALUE ...]")
        lines += ["", *summary(_TEXT), "", *in_columns(_OPTIONS), *example_lines(f"worldgen plan {NANO}")]
        print("\n".join(lines))
        return
    check_plan(words)
    from worldgen.runs.planning.plan import make_plan, print_plan

    taken, given = own_options(words, _OPTIONS, "plan")
    command, training = training_of(words)
    (room, task), (data_room, data) = (path.rpartition(".")[::2] for path in (training.task, training.data))
    made = make_plan(
        getattr(import_module(room), task),
        getattr(import_module(data_room), data),
        command,
        taken,
        int(given.get("--measure", 5)),
    )
    print_plan(made, Path(given["--dropped"]) if "--dropped" in given else None)


def check_plan(words: Sequence[str]) -> None:
    """Refuse words that the training does not take."""
    taken, given = own_options(words, _OPTIONS, "plan")
    require_numbers(given, (("--measure", int, 0),))
    training_of(words)[1].check(taken)
