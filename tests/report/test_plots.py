"""Figures: what is drawn is the data that was given."""

from __future__ import annotations

from dataclasses import replace

import matplotlib
import numpy as np
import pytest

from worldgen.report import plots
from worldgen.report.plots import Bar, Cloud, plot_clouds, plot_intervals, plot_tracks
from worldgen.simulation.clips import simulate_trajectory


def lines(panel, marker):
    return [line for line in panel.lines if line.get_marker() == marker and len(line.get_xdata()) > 2]


def test_tracks_show_positions_gaps_reference_and_contacts():
    truth = simulate_trajectory("collide", 3)
    present = truth.present.clone()
    present[:, 4:6, 1] = False
    moved = replace(truth, position=truth.position + 0.1, present=present, contacts=None)
    figure = plot_tracks([("truth", truth), ("generated", moved), ("none", None)], context_frames=2)
    axes = np.array(figure.axes).reshape(2, 3)
    assert [panel.get_title(loc="left") for panel in axes[0]] == ["truth", "generated", "none"]
    assert axes[0, 0].get_ylabel() == "height z (m)" and axes[1, 0].get_ylabel() == "sideways x (m)"
    for row, axis in ((0, 2), (1, 0)):
        for index, line in enumerate(lines(axes[row, 1], "o")):
            expected = moved.position[0, :, index, axis].double().numpy().copy()
            expected[~moved.present[0, :, index].numpy()] = np.nan
            np.testing.assert_allclose(line.get_ydata(), expected)
            np.testing.assert_allclose(line.get_xdata(), np.arange(16) / 25, rtol=1e-6)
    assert np.isnan(lines(axes[0, 1], "o")[1].get_ydata()).sum() == 2
    reference = lines(axes[0, 1], "None")
    np.testing.assert_allclose(reference[1].get_ydata(), truth.position[0, :, 1, 2].double().numpy())
    assert len(lines(axes[0, 0], "None")) == 0 and len(lines(axes[0, 0], "o")) == 2
    later = [time for time in truth.contacts[0].time.tolist() if time > 0.02]
    drawn = [line.get_xdata()[0] for line in axes[0, 1].lines if len(line.get_xdata()) == 2]
    assert drawn == later and 0 < len(later) < len(truth.contacts[0].time)
    assert "not tracked" in [text.get_text() for text in axes[0, 2].texts]
    legend = [text.get_text() for text in figure.legends[0].texts]
    assert legend == ["object 1", "object 2", "truth", "contact", "given frames"]


def test_tracks_in_pixels_say_so():
    track = replace(simulate_trajectory("drop", 0), metric=False, contacts=None)
    figure = plot_tracks([("video", track)])
    assert figure.axes[0].get_ylabel() == "height z (px)"
    assert "contact" not in [text.get_text() for text in figure.legends[0].texts]


def test_tracks_are_checked():
    track = simulate_trajectory("drop", 0)
    double = {
        name: getattr(track, name).repeat(2, *[1] * (getattr(track, name).ndim - 1))
        for name in ("position", "rotation", "velocity", "spin", "mass", "extent", "present", "dt")
    }
    with pytest.raises(ValueError, match="at least one clip; got none"):
        plot_tracks([])
    with pytest.raises(ValueError, match="one clip; 'two' holds 2. Use select"):
        plot_tracks([("two", replace(track, **double, contacts=None))])
    with pytest.raises(ValueError, match="one unit; got metres beside pixels"):
        plot_tracks([("m", track), ("px", replace(track, metric=False))])


def test_intervals_draw_bars_and_whiskers():
    panel = plot_intervals([Bar("copy", 3.0), Bar("ours", 1.0, 0.8, 1.3)], "px").axes[0]
    assert [bar.get_width() for bar in panel.patches] == [3.0, 1.0]
    assert [list(line.get_xdata()) for line in panel.lines] == [[0.8, 1.3]]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["copy", "ours"]
    assert panel.get_xlabel() == "px"
    with pytest.raises(ValueError, match="at least one estimate"):
        plot_intervals([], "px")


def test_chance_is_a_line_across_the_bars():
    panel = plot_intervals([Bar("ours", 0.7, 0.6, 0.8)], "share", chance=0.5).axes[0]
    assert [0.5, 0.5] in [list(line.get_xdata()) for line in panel.lines]
    assert [text.get_text() for text in panel.texts] == ["chance"]
    assert not plot_intervals([Bar("ours", 0.7)], "share").axes[0].texts


def test_clouds_draw_a_dot_for_each_thing_in_the_color_of_its_kind():
    clouds = [
        Cloud("IoU", [0.9, 0.8, 0.7], [0.1, 0.2, 0.3], ["left", "right", "left"]),
        Cloud("error", [0.01], [0.05], ["right"]),
    ]
    figure = plot_clouds(clouds, "second take", "generated")
    first, second = figure.axes
    assert first.get_title(loc="left") == "IoU" and first.get_ylabel() == "generated"
    dots = [line for line in first.lines if line.get_marker() == "o"]
    assert [(list(one.get_xdata()), list(one.get_ydata())) for one in dots] == [
        ([0.9, 0.7], [0.1, 0.3]),
        ([0.8], [0.2]),
    ]
    assert len({one.get_color() for one in dots}) == 2
    assert second.lines[-1].get_color() == dots[1].get_color()
    assert first.get_xlim() == first.get_ylim() and first.get_xlim()[1] > 0.9
    assert [text.get_text() for text in figure.legends[0].texts] == ["left", "right"]
    with pytest.raises(ValueError, match="at least one panel; got none"):
        plot_clouds([], "a", "b")
    with pytest.raises(ValueError, match="'x' must have dots, each with two values and a kind; got 1, 2 and"):
        Cloud("x", [1.0], [1.0, 2.0], ["a"])


def test_nothing_touches_pyplot_or_global_style(tmp_path):
    before = dict(matplotlib.rcParams)
    plot_tracks([("drop", simulate_trajectory("drop", 0))]).savefig(tmp_path / "a.png")
    assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_crowds_and_long_tracks_are_drawn_in_part(monkeypatch):
    track = simulate_trajectory("collide", 3)
    many = replace(
        track,
        position=track.position[:, :, :1].repeat(1, 1, 30, 1),
        rotation=track.rotation[:, :, :1].repeat(1, 1, 30, 1),
        velocity=track.velocity[:, :, :1].repeat(1, 1, 30, 1),
        spin=track.spin[:, :, :1].repeat(1, 1, 30, 1),
        present=track.present[:, :, :1].repeat(1, 1, 30),
        mass=track.mass[:, :1].repeat(1, 30),
        extent=track.extent[:, :1].repeat(1, 30, 1),
        contacts=None,
    )
    figure = plot_tracks([("crowd", many)])
    assert len(lines(figure.axes[0], "o")) == 24
    assert figure.legends[0].texts[-1].get_text() == "the other 6 are not drawn"
    monkeypatch.setattr(plots, "_CONTACTS", 1)
    legend = plot_tracks([("often", track)]).legends[0].texts
    assert "contact" not in [text.get_text() for text in legend]
    still = simulate_trajectory("drop", 0, frames=4001)
    assert not lines(plot_tracks([("long", still)]).axes[0], "o")
