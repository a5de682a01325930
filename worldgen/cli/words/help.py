"""Help that fits a screen of 80 columns and 24 rows."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

from worldgen.cli.words.options import Option, argument_texts, did_you_mean, read_options

WIDTH, HEIGHT = 80, 24


def command_help(
    function: Callable[..., None], command: str, bare: str | None = None, topic: str | None = None
) -> str:
    """What a command does, its options with their defaults, and an example.

    Where a screen is too small for all of them, options that belong together are named on one line, and shown
    by ``--help TOPIC``.

    Args:
        function: The command.
        command: Its name.
        bare: The option whose values may stand in front without its name.
        topic: The parameter whose options are shown alone.

    Raises:
        ValueError: The command has no such topic.
    """
    options, doc = read_options(function), function.__doc__ or ""
    topics = list(dict.fromkeys(option.place[0] for option in options if len(option.place) > 1))
    texts = argument_texts(doc)
    if topic is not None:
        if topic not in topics:
            raise ValueError(f"worldgen {command} has no help on {topic!r}{did_you_mean(topic, topics)}")
        rows = [_row(option, bare) for option in options if option.place[0] == topic]
        return "\n".join([*usage(f"{command} ... [options]"), "", texts[topic], "", *in_columns(rows)])
    needed = [_usage(option, bare) for option in options if option.needed]
    head = [*usage(" ".join([command, *needed, "[options]"])), "", *summary(doc), ""]
    page = [*head, *in_columns(_row(option, bare) for option in options), *examples(doc)]
    if len(page) <= HEIGHT:
        return "\n".join(page)
    rows = [_row(option, bare) for option in options if len(option.place) == 1]
    rows += [(f"--help {name}", texts[name]) for name in topics]
    return "\n".join([*head, *in_columns(rows), *examples(doc)])


def usage(words: str) -> list[str]:
    """The line that says what is typed."""
    return textwrap.wrap(
        f"usage: worldgen {words}",
        WIDTH,
        subsequent_indent=" " * 16,
        break_on_hyphens=False,
        break_long_words=False,
    )


def example_lines(line: str) -> list[str]:
    """A command line, broken where the width ends so that it can still be pasted."""
    glued = re.sub(r"( --?[a-z][\w.-]*) (?!-)", r"\1\0", line)  # an option stays beside its value
    parts = textwrap.wrap(glued, WIDTH - 6, break_on_hyphens=False, break_long_words=False)
    parts = [part.replace("\0", " ") for part in parts]
    return ["", "example:", *(f"  {part} \\" for part in parts[:-1]), f"  {parts[-1]}"]


def group_help(name: str, what: str, members: Iterable[tuple[str, str]], example: str) -> str:
    """The commands of a group."""
    lines = [f"usage: worldgen {name} COMMAND ...", "", *summary(what), "", *in_columns(members), ""]
    return "\n".join(
        [*lines, f"worldgen {name} COMMAND --help says what each takes.", *example_lines(example)]
    )


def summary(doc: str) -> list[str]:
    """What a docstring says before its sections."""
    text = re.split(r"\n\s*(?:Args|Example|Raises|Returns):", inspect.cleandoc(doc))[0]
    return textwrap.wrap(" ".join(text.replace("`", "").split()), WIDTH)


def examples(doc: str) -> list[str]:
    """The example of a docstring, or nothing."""
    found = re.search(r"\nExample:\n((?:    .*\n?)+)", inspect.cleandoc(doc) + "\n")
    return example_lines(" ".join(found[1].split())) if found else []


def in_columns(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Names at the left, what is said of them beside, both within the width."""
    rows = list(rows)
    left = min(24, max((len(name) for name, _ in rows), default=0)) + 4
    lines = []
    for name, text in rows:
        wrapped = textwrap.wrap(text, WIDTH - left, break_on_hyphens=False) or [""]
        if len(name) > left - 4:
            lines.append(f"  {name}")
        else:
            lines.append(f"  {name:<{left - 2}}{wrapped.pop(0)}".rstrip())
        lines += [" " * left + line for line in wrapped if line]
    return lines


def _row(option: Option, bare: str | None) -> tuple[str, str]:
    return _usage(option, bare), option.text.replace("`", "") + _default(option)


def _usage(option: Option, bare: str | None) -> str:
    if option.name != f"--{bare}":
        return option.usage
    return option.name[2:].upper() + " ..." * option.many


def _default(option: Option) -> str:
    if option.needed:
        return ""
    default = option.default
    if default is None or default is False or default == []:
        return ""
    if isinstance(default, list):
        default = " ".join(map(str, default))
    return f" [{default if not isinstance(default, Path) else default.as_posix()}]"
