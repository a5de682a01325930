"""The commands ``runs bundle`` and ``reproduce``."""

from __future__ import annotations

from pathlib import Path


def bundle(run: Path, out: Path | None = None) -> None:
    """Write all that a run needs to be run again, and what came of it.

    Args:
        run: Run folder of a finished training.
        out: Folder, a new one; RUN/bundle when left out.

    Example:
        worldgen runs bundle outputs/generator/version_0 --out my-bundle
    """
    from worldgen.runs.repeating.bundle import write_bundle

    print(write_bundle(run, out or run / "bundle"))


def reproduce(bundle: Path, out: Path | None = None) -> None:
    """Run a bundle again, and say how far the numbers are apart, or what is missing here.

    Args:
        bundle: Folder that `worldgen runs bundle` wrote.
        out: Folder for the run, empty or missing; outputs/reproduce-NAME when left out.

    Example:
        worldgen reproduce my-bundle
    """
    from worldgen.runs.repeating.reproduce import print_repeat, reproduce_bundle

    print_repeat(reproduce_bundle(bundle, out or Path("outputs") / f"reproduce-{bundle.name}"))
