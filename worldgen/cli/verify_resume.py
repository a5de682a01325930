"""The command ``verify-resume``: a training that is killed and resumed, beside one that is not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from worldgen.cli.train import NANO
from worldgen.cli.trainings import own_options, require_numbers, training_of
from worldgen.cli.words.help import example_lines, in_columns, summary, usage

_RESUMED = (
    "Train some steps straight through, and again with a kill -9 and a resume between; name the first state "
    "that differs."
)
_RESUMING = f"worldgen verify-resume {NANO}"
_VERIFIED = (
    ("-c FILE, --KEY VALUE", "What `fit`, or the `pretrain` that is named, takes; devices and strategy too."),
    ("--before N", "Steps until the checkpoint that is gone on from. [5]"),
    ("--after N", "Steps from there on; the kill comes one after it. [5]"),
    ("--tolerance X", "Relative difference that is none; 0 asks for the same bits, which CPUs give. [0]"),
    ("--out PATH", "For the three runs: an empty or missing folder. [outputs/verify-resume-COMMAND]"),
)


def verify_resume(words: Sequence[str]) -> None:
    """Kill a training, resume it, and compare with one that was not killed."""
    if not words or words[0] in ("-h", "--help"):
        lines = usage("verify-resume [fit | pretrain PART] -c FILE [-c FILE ...] [--KEY VALUE ...]")
        print(
            "\n".join([*lines, "", *summary(_RESUMED), "", *in_columns(_VERIFIED), *example_lines(_RESUMING)])
        )
        return
    check_verify_resume(words)
    from worldgen.runs.repeating import verify_resume

    taken, given = own_options(words, _VERIFIED, "verify-resume")
    command, _ = training_of(words)
    name = f"verify-resume-{'-'.join(command)}"
    verdicts = verify_resume.verify_resume(
        [*command, *taken],
        Path(given.get("--out", f"outputs/{name}")),
        int(given.get("--before", 5)),
        int(given.get("--after", 5)),
        float(given.get("--tolerance", 0.0)),
    )
    if not verify_resume.print_verdicts(verdicts, float(given.get("--tolerance", 0.0))):
        raise SystemExit(1)


def check_verify_resume(words: Sequence[str]) -> None:
    """Refuse words that the training does not take."""
    taken, given = own_options(words, _VERIFIED, "verify-resume")
    require_numbers(given, (("--before", int, 1), ("--after", int, 2), ("--tolerance", float, 0)))
    training_of(words)[1].check(taken)
