"""Every figure: one quiet style, in colors that color-blind readers can tell apart.

All ink is black of various strength on white, so that a page may turn it into its own text color. Nothing
here touches pyplot: figures are plain objects, and whoever asked for one saves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from worldgen.types import Trajectory

COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette, without its yellow and black."""
INK = "black"
_FAINT = 0.12
_SOFT = 0.6
_SIZE = 9.0
_DRAWN = 24
"""Most objects of a plot."""
_DOTS = 4000
"""Most dots of a panel."""
_CONTACTS = 100


@dataclass(frozen=True)
class Bar:
    """A value with its interval: one bar of `plot_intervals`."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


def plot_tracks(tracks: Sequence[tuple[str, Trajectory | None]], context_frames: int = 0) -> Figure:
    """Height and sideways position over time, a column for each clip, against the first of them.

    Dots on a line are what was tracked, in a color per object; a frame without the object leaves a gap. From
    the second column on the thin line in ink is the first clip. Dotted verticals are the first clip's
    contacts, where it knows them and they are a hundred at most; the shaded frames are those that were given.
    Of a crowd the first objects are drawn, and of many places no dots, so that a page can be opened.

    Args:
        tracks: Label and B = 1 trajectory of each clip; None where nothing could be tracked.
        context_frames: Frames that the model was given.

    Raises:
        ValueError: No tracks, a trajectory of several clips, or metres beside pixels.
    """
    _require_tracks(tracks)
    first = tracks[0][1]
    unit = next(("m" if track.metric else "px" for _, track in tracks if track is not None), "m")
    figure = _figure(1.0 + 2.3 * len(tracks), 3.5)
    axes = figure.subplots(2, len(tracks), sharex=True, sharey="row", squeeze=False)
    for column, (label, track) in enumerate(tracks):
        for row, (axis, name) in enumerate(((2, "height z"), (0, "sideways x"))):
            panel = _calm(axes[row, column])
            if column == 0:
                panel.set_ylabel(f"{name} ({unit})")
            if row == 1:
                panel.set_xlabel("time (s)")
            if first is not None:
                _draw_given(panel, context_frames, float(first.dt[0]))
                _draw_contacts(panel, first)
                if column > 0:
                    _draw_reference(panel, first, axis)
            if track is None:
                panel.text(0.5, 0.5, "not tracked", transform=panel.transAxes, ha="center", alpha=_SOFT)
            else:
                _draw_track(panel, track, axis)
        axes[0, column].set_title(label, fontsize=_SIZE + 1, loc="left")
    figure.legend(
        handles=_track_legend(tracks, context_frames),
        loc="outside lower left",
        ncols=6,
        frameon=False,
        fontsize=_SIZE,
    )
    return figure


@dataclass(frozen=True)
class Cloud:
    """One panel of `plot_clouds`: a dot for each thing of which two values are known."""

    name: str
    across: Sequence[float]
    up: Sequence[float]
    kinds: Sequence[str]
    """Of each dot; those of a kind have one color."""

    def __post_init__(self) -> None:
        if not self.across or not len(self.across) == len(self.up) == len(self.kinds):
            raise ValueError(
                f"Cloud {self.name!r} must have dots, each with two values and a kind; got "
                f"{len(self.across)}, {len(self.up)} and {len(self.kinds)}."
            )


def plot_intervals(estimates: Sequence[Bar], unit: str, chance: float | None = None) -> Figure:
    """Values as horizontal bars with their intervals as whiskers, the first on top.

    Args:
        estimates: Value and interval of each arm or model; bars without an interval have no whisker.
        unit: Written under the axis.
        chance: Where a dashed line stands: what guessing gets.
    """
    if not estimates:
        raise ValueError("plot_intervals needs at least one estimate; got none.")
    longest = max(len(item.name) for item in estimates)
    figure = _figure(max(5.5, 3.2 + 0.08 * longest), 0.9 + 0.34 * len(estimates))
    panel = _calm(figure.subplots())
    if chance is not None:
        panel.axvline(chance, color=INK, alpha=_SOFT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=3)
        panel.text(
            chance, 1.0, "chance", transform=panel.get_xaxis_transform(), ha="center", va="bottom",
            fontsize=_SIZE - 1, alpha=_SOFT,
        )  # fmt: skip
    for place, item in enumerate(estimates):
        panel.barh(place, item.value, height=0.56, color=COLORS[1], alpha=0.85)
        if item.low is not None and item.high is not None:
            panel.plot([item.low, item.high], [place, place], color=INK, linewidth=1.4, marker="|")
    panel.set_yticks(range(len(estimates)), [item.name for item in estimates])
    panel.invert_yaxis()
    panel.grid(axis="y", visible=False)
    panel.set_xlabel(unit)
    return figure


@dataclass(frozen=True)
class Band:
    """A curve of each run of an arm: one line with a band in `plot_bands`."""

    name: str
    what: str
    """Written beside the axis."""
    across: Float[np.ndarray, " P"]
    up: Float[np.ndarray, "runs P"]


def plot_forest(estimates: Sequence[Bar], unit: str) -> Figure:
    """Changes as dots with their intervals as whiskers around the line of no change, the first on top.

    Args:
        estimates: Change and interval of each arm.
        unit: Written under the axis.
    """
    longest = max(len(item.name) for item in estimates)
    figure = _figure(max(5.5, 3.2 + 0.08 * longest), 0.9 + 0.34 * len(estimates))
    panel = _calm(figure.subplots())
    panel.axvline(0.0, color=INK, alpha=_SOFT, linewidth=0.9, linestyle=(0, (4, 3)))
    for place, item in enumerate(estimates):
        if item.low is not None and item.high is not None:
            panel.plot([item.low, item.high], [place, place], color=COLORS[1], linewidth=1.6, marker="|")
        panel.plot(item.value, place, color=COLORS[1], marker="o", markersize=5)
    panel.set_yticks(range(len(estimates)), [item.name for item in estimates])
    panel.set_ylim(len(estimates) - 0.5, -0.5)
    panel.grid(axis="y", visible=False)
    panel.set_xlabel(unit)
    return figure


def plot_bands(bands: Sequence[Band], across: str, up: str) -> Figure:
    """A line for each arm, the mean of its runs, in a band from their least to their most.

    Args:
        bands: Of each arm.
        across: What lies across.
        up: What lies upward, on a logarithmic axis where all of it is positive.
    """
    figure = _figure(6.5, 3.6)
    panel = _calm(figure.subplots())
    for number, band in enumerate(bands):
        color, dashes = _color(number), (0, (4, 2)) if number >= len(COLORS) else "-"
        panel.plot(
            band.across, band.up.mean(axis=0), color=color, linestyle=dashes, linewidth=1.5, label=band.name
        )
        panel.fill_between(
            band.across, band.up.min(axis=0), band.up.max(axis=0), color=color, alpha=_FAINT, linewidth=0
        )
    if all((band.up > 0).all() for band in bands):
        panel.set_yscale("log")
    panel.set_xlabel(across)
    panel.set_ylabel(up)
    figure.legend(loc="outside lower left", ncols=4, frameon=False, fontsize=_SIZE)
    return figure


def plot_clouds(clouds: Sequence[Cloud], across: str, up: str) -> Figure:
    """Two values of each thing against each other, a panel for each number; on the line they are equal.

    Args:
        clouds: The panels.
        across: What lies across, written under each panel.
        up: What lies up, written beside the first.
    """
    if not clouds:
        raise ValueError("plot_clouds needs at least one panel; got none.")
    kinds = list(dict.fromkeys(kind for cloud in clouds for kind in cloud.kinds))
    figure = _figure(0.6 + 2.6 * len(clouds), 3.3)
    panels = figure.subplots(1, len(clouds), squeeze=False)[0]
    panels[0].set_ylabel(up)
    for panel, cloud in zip(panels, clouds, strict=True):
        _calm(panel)
        ends = [0.0, 1.06 * max(*cloud.across, *cloud.up, 1e-6)]
        panel.plot(ends, ends, color=INK, alpha=_SOFT, linewidth=0.8)
        for index, kind in enumerate(kinds):
            own = [number for number, one in enumerate(cloud.kinds) if one == kind]
            panel.plot(
                [cloud.across[number] for number in own], [cloud.up[number] for number in own], "o",
                color=_color(index), markersize=4, alpha=0.75, markeredgewidth=0,
            )  # fmt: skip
        panel.set(xlim=ends, ylim=ends, box_aspect=1, xlabel=across)
        panel.set_title(cloud.name, fontsize=_SIZE + 1, loc="left")
    figure.legend(
        handles=[
            Line2D([], [], color=_color(index), marker="o", markersize=4, linewidth=0, label=kind)
            for index, kind in enumerate(kinds)
        ],
        loc="outside lower left", ncols=6, frameon=False, fontsize=_SIZE,
    )  # fmt: skip
    return figure


def plot_matrix(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    marks: Sequence[Sequence[str]],
    title: str,
) -> Figure:
    """A heat map of AUROC: white at 1/2 (a coin), blue toward 1, orange below; empty where nothing is known.

    Args:
        rows: Names of the checks.
        columns: Names of the violations.
        values: In [0, 1], or None.
        marks: "o", "x" or "" per cell, drawn under the number.
        title: Above it.

    Raises:
        ValueError: Values or marks that are not rows x columns.
    """
    for table in (values, marks):
        if len(table) != len(rows) or any(len(line) != len(columns) for line in table):
            raise ValueError(
                f"plot_matrix needs a value and a mark for each of {len(rows)} x {len(columns)} cells; got "
                f"{len(table)} rows of {sorted({len(line) for line in table})}."
            )
    figure = _figure(2.2 + 0.62 * len(columns), 1.5 + 0.34 * len(rows))
    panel = figure.subplots()
    shades = LinearSegmentedColormap.from_list("auroc", [COLORS[0], "white", COLORS[1]])
    grid = np.array([[np.nan if value is None else value for value in line] for line in values], dtype=float)
    panel.imshow(np.ma.masked_invalid(grid), cmap=shades, vmin=0, vmax=1, aspect="auto", alpha=0.75)
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            text = "–" if value is None else f"{value:.2f}"
            faint = _SOFT if value is None else 1.0
            panel.text(column, row - 0.08, text, ha="center", va="center", fontsize=_SIZE - 2, alpha=faint)
            if marks[row][column]:
                panel.plot(
                    column, row + 0.3, marks[row][column], color=INK, markersize=3, fillstyle="none",
                    markeredgewidth=0.7,
                )  # fmt: skip
    panel.set_xticks(range(len(columns)), columns, rotation=35, ha="right", fontsize=_SIZE - 1)
    panel.set_yticks(range(len(rows)), rows, fontsize=_SIZE - 1)
    panel.tick_params(length=0)
    for side in panel.spines.values():
        side.set_visible(False)
    panel.set_title(title, fontsize=_SIZE, loc="left", wrap=True)
    return figure


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _calm(panel: Axes) -> Axes:
    """No box, thin grid, small ticks."""
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        panel.spines[side].set_alpha(_SOFT)
        panel.spines[side].set_linewidth(0.6)
    panel.grid(color=INK, alpha=_FAINT, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.tick_params(labelsize=_SIZE - 1, length=2.5, width=0.6)
    panel.xaxis.label.set_fontsize(_SIZE)
    panel.yaxis.label.set_fontsize(_SIZE)
    return panel


def _color(index: int) -> str:
    return COLORS[index % len(COLORS)]


def _times(track: Trajectory) -> Float[np.ndarray, " T"]:
    return np.arange(track.position.shape[1]) * float(track.dt[0])


def _seen(track: Trajectory, index: int, axis: int) -> Float[np.ndarray, " T"]:
    """One coordinate of one object, NaN in frames without it, so that lines break there."""
    values = track.position[0, :, index, axis].detach().double().cpu().numpy()
    return np.where(track.present[0, :, index].cpu().numpy(), values, np.nan)


def _draw_track(panel: Axes, track: Trajectory, axis: int) -> None:
    style = "o-" if track.position.shape[1] * len(_drawn(track)) <= _DOTS else "-"
    for index in _drawn(track):
        panel.plot(
            _times(track), _seen(track, index, axis), style, color=_color(index), markersize=3, linewidth=1.0
        )


def _draw_reference(panel: Axes, track: Trajectory, axis: int) -> None:
    for index in _drawn(track):
        panel.plot(_times(track), _seen(track, index, axis), "-", color=INK, alpha=_SOFT, linewidth=1.0)


def _drawn(track: Trajectory) -> range:
    return range(min(track.position.shape[2], _DRAWN))


def _draw_given(panel: Axes, context_frames: int, dt: float) -> None:
    if context_frames > 0:
        panel.axvspan(-dt / 2, (context_frames - 0.5) * dt, color=INK, alpha=_FAINT / 1.5, linewidth=0)


def _draw_contacts(panel: Axes, track: Trajectory) -> None:
    for seconds in _contact_times(track):
        panel.axvline(seconds, color=INK, alpha=_SOFT, linewidth=0.8, linestyle=(0, (1, 2)))


def _contact_times(track: Trajectory) -> list[float]:
    """Contacts that begin while we watch: what rests on the floor from the start is no event.

    None where there are so many that their lines would hide what is drawn.
    """
    if track.contacts is None:
        return []
    times = [seconds for seconds in track.contacts[0].time.tolist() if seconds > float(track.dt[0]) / 2]
    return times if len(times) <= _CONTACTS else []


def _track_legend(
    tracks: Sequence[tuple[str, Trajectory | None]], context_frames: int
) -> list[Line2D | Patch]:
    counts = [track.position.shape[2] for _, track in tracks if track is not None]
    label, first = tracks[0]
    handles: list[Line2D | Patch] = [
        Line2D(
            [], [], color=_color(index), marker="o", markersize=3, linewidth=1, label=f"object {index + 1}"
        )
        for index in range(min(max(counts, default=0), _DRAWN))
    ]
    if max(counts, default=0) > _DRAWN:
        handles.append(Line2D([], [], linewidth=0, label=f"the other {max(counts) - _DRAWN} are not drawn"))
    if first is not None and len(tracks) > 1:
        handles.append(Line2D([], [], color=INK, alpha=_SOFT, linewidth=1, label=label))
    if first is not None and _contact_times(first):
        handles.append(
            Line2D([], [], color=INK, alpha=_SOFT, linewidth=0.8, linestyle=(0, (1, 2)), label="contact")
        )
    if context_frames > 0:
        handles.append(Patch(color=INK, alpha=_FAINT / 1.5, linewidth=0, label="given frames"))
    return handles


def _require_tracks(tracks: Sequence[tuple[str, Trajectory | None]]) -> None:
    if not tracks:
        raise ValueError("plot_tracks needs at least one clip; got none.")
    for label, track in tracks:
        if track is not None and len(track.position) != 1:
            raise ValueError(
                f"plot_tracks draws trajectories of one clip; {label!r} holds {len(track.position)}. "
                "Use select(trajectory, slice(i, i + 1))."
            )
    if len({track.metric for _, track in tracks if track is not None}) > 1:
        raise ValueError(
            "plot_tracks needs one unit; got metres beside pixels. Project the metric ones first."
        )
