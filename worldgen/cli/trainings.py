"""What the commands about a training share: which one is meant, and which words are their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from worldgen.cli.train import TRAININGS, Training, part_of

_MOST = 10**9


def training_of(words: Sequence[str]) -> tuple[list[str], Training]:
    """Which command is meant, and what it trains."""
    if words and words[0] == "pretrain":
        return list(words[:2]), part_of(words[1:])
    return ["fit"], TRAININGS["fit"]


def own_options(
    words: Sequence[str], options: Sequence[tuple[str, str]], command: str
) -> tuple[list[str], dict[str, str]]:
    """The words of the training, and the options of the command itself.

    Args:
        words: As they were typed.
        options: The command's, as its help has them.
        command: Its name.

    Raises:
        ValueError: An option without a value.
    """
    first = words[0] if words else ""
    rest = list(words[{"pretrain": 2, "fit": 1}.get(first, 0) :])
    own, taken, given = [name.split()[0] for name, _ in options if name.startswith("--")], [], {}
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name not in own:
            taken.append(name + equals + value)
        elif equals or rest:
            given[name] = value if equals else rest.pop(0)
        else:
            raise ValueError(f"{name} needs a value: worldgen {command} --help.")
    return taken, given


def require_numbers(given: Mapping[str, str], limits: Sequence[tuple[str, type, float]]) -> None:
    """Raise ValueError where an option is no number, or below its least."""
    for name, kind, least in limits:
        try:
            wrong = not least <= kind(given.get(name, least)) <= _MOST
        except ValueError:
            wrong = True
        if wrong:
            raise ValueError(f"{name} must be a number from {least} to {_MOST:,}; got {given[name]}.")
