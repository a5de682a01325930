from pathlib import Path

import pytest
import torch

from worldgen.metrics.checks.assess import assess
from worldgen.metrics.tracks.tracker_xml import read_trk

REAL = Path(__file__).parents[3].parent / "shared" / "data" / "real_clips"
needs_real = pytest.mark.skipif(
    not REAL.is_dir(), reason="the real clips of ../shared/data are not on this machine"
)


@needs_real
def test_the_hand_track_of_a_real_toss_falls_with_g():
    report = assess(read_trk(REAL / "ball_toss_real.trk").tracks, clip="toss", source="readout")
    assert report["free_fall"].value < 0.06
    assert "a = 10.269" in report["free_fall"].note
    assert report["ballistic_residual"].value < 0.005
    assert report["chord_energy"].score > 0.5 and report["permanence"].value == 1


TRK = """<?xml version="1.0"?><object class="tracker.TrackerPanel">
<property name="videoclip" type="object"><object class="VideoClip">
<property name="startframe" type="int">2</property><property name="stepsize" type="int">2</property>
</object></property>
<property name="clipcontrol" type="object"><object><property name="delta_t" type="double">{step}</property>
</object></property><property name="coords" type="object"><object><property name="framedata" type="array">
<property name="[0]" type="object"><object><property name="xorigin" type="double">100</property>
<property name="yorigin" type="double">200</property><property name="angle" type="double">90</property>
<property name="xscale" type="double">50</property><property name="yscale" type="double">50</property>
</object></property></property></object></property>
<property name="tracks" type="collection">{tracks}</property></object>"""
TRACK = """<property name="item" type="object"><object class="org.tracker.PointMass">
<property name="mass" type="double">0.3</property><property name="framedata" type="array">{points}</property>
</object></property>"""
POINT = """<property name="[{frame}]" type="object"><object><property name="x" type="double">{x}</property>
<property name="y" type="double">{y}</property></object></property>"""


def test_tracker_files_are_read_in_their_own_axes(tmp_path):
    path = tmp_path / "throw.trk"
    points = "".join(POINT.format(frame=f, x=100 + f, y=150) for f in (4, 6, 10))
    path.write_text(TRK.format(step=20.0, tracks=TRACK.format(points=points)))
    found = read_trk(path).tracks
    assert found.position.shape == (1, 4, 1, 3) and found.mass.item() == pytest.approx(0.3)
    assert found.dt.item() == pytest.approx(0.04)
    assert found.present[0, :, 0].tolist() == [True, True, False, True]
    points += POINT.format(frame=5, x=9, y=9) + POINT.format(frame=0, x=9, y=9)  # beside the clip's steps
    path.write_text(TRK.format(step=20.0, tracks=TRACK.format(points=points)))
    assert torch.equal(read_trk(path).tracks.position, found.position)
    assert read_trk(path, fps=100).tracks.dt.item() == pytest.approx(0.02)  # whoever gives a rate means it
    # Axes turned by 90 degrees: x points up in the image, z to the left.
    torch.testing.assert_close(found.position[0, 0, 0], torch.tensor([1.0, 0.0, -0.08]).double())


def test_bad_tracker_files_are_explained(tmp_path):
    path = tmp_path / "bad.trk"
    path.write_text("no xml")
    with pytest.raises(ValueError, match="must be a Tracker XML file; it does not parse"):
        read_trk(path)
    path.write_text("<object/>")
    with pytest.raises(ValueError, match="must be a Tracker file with a videoclip; it has none"):
        read_trk(path)
    path.write_text(TRK.format(step=20.0, tracks=""))
    with pytest.raises(ValueError, match="it lacks a point mass with points"):
        read_trk(path)
    points = POINT.format(frame=4, x=100, y=150)
    path.write_text(TRK.format(step=0.0, tracks=TRACK.format(points=points)))
    with pytest.raises(ValueError, match="it lacks a time step"):
        read_trk(path)
    path.write_text(TRK.format(step=20.0, tracks=TRACK.format(points=points.replace("[4]", "[four]"))))
    with pytest.raises(ValueError, match="object 0: frames must be whole numbers from 0 on; got 'four'"):
        read_trk(path)
    path.write_text(TRK.format(step=33333.0, tracks=TRACK.format(points=points)))
    with pytest.raises(ValueError, match=r"delta_t must be in seconds; got 33\.33 from frame to frame"):
        read_trk(path)
