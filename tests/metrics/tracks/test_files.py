"""Track files: written and read back they are the same; what cannot be a track is one sentence."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from worldgen.metrics.checks.assess import assess
from worldgen.metrics.tracking.colors import trajectory_of
from worldgen.metrics.tracks.files import coco_of, read_tracks, write_tracks
from worldgen.metrics.tracks.tracker_xml import read_trk
from worldgen.simulation.clips import simulate_clip
from worldgen.types import Trajectory


def two_objects(metric: bool = True) -> Trajectory:
    """A throw and something that slides and is missed for two frames."""
    time = torch.arange(12, dtype=torch.float64) * 0.04
    throw = torch.stack([0.7 * time, 0.1 * time, 1 + 2 * time - 4.905 * time**2], dim=-1)
    slide = torch.stack([1 - time, 0 * time, 0.2 + 0 * time], dim=-1)
    position = torch.stack([throw, slide], dim=1)[None]
    present = torch.ones(1, 12, 2, dtype=torch.bool)
    present[0, 5:7, 1] = False
    position[0, 5:7, 1] = position[0, 4, 1]  # held, as trackers hold it
    if not metric:
        position = position * 100
        position[..., 1] = 0
    return trajectory_of(
        position,
        present,
        torch.tensor([0.04], dtype=torch.float64),
        extent=torch.tensor([[[0.1, 0.1, 0.1], [0.2, 0.15, 0.25]]], dtype=torch.float64),
        mass=torch.tensor([[0.5, 2.0]], dtype=torch.float64),
        metric=metric,
    )


@pytest.mark.parametrize("metric", [True, False])
def test_csv_is_read_back_as_it_was_written(tmp_path, metric):
    tracks = two_objects(metric)
    found = read_tracks(write_tracks(tmp_path / "t.csv", tracks)).tracks
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]  # nothing temporary is left
    for name in ("position", "velocity", "extent", "mass", "dt"):
        torch.testing.assert_close(getattr(found, name), getattr(tracks, name), rtol=0, atol=1e-9)
    assert torch.equal(found.present, tracks.present) and found.metric == metric


@pytest.mark.parametrize("metric", [True, False])
def test_tracker_files_are_read_back_without_depth_and_size(tmp_path, metric):
    tracks = two_objects(metric)
    found = read_trk(write_tracks(tmp_path / "t.trk", tracks)).tracks
    seen = tracks.present[0]
    torch.testing.assert_close(found.position[0][seen][:, [0, 2]], tracks.position[0][seen][:, [0, 2]])
    assert not found.position[..., 1].any() and not found.extent.any() and found.metric == metric
    assert torch.equal(found.present, tracks.present)
    torch.testing.assert_close(found.dt, tracks.dt)
    torch.testing.assert_close(found.mass, tracks.mass)


def test_coco_tracks_are_read_back_in_pixels(tmp_path):
    tracks = two_objects(metric=False)
    found = read_tracks(write_tracks(tmp_path / "t.json", tracks, height=64, width=64)).tracks
    torch.testing.assert_close(found.position, tracks.position)
    torch.testing.assert_close(found.extent[..., [0, 2]], tracks.extent[..., [0, 2]])
    assert torch.equal(found.present, tracks.present) and not found.metric
    torch.testing.assert_close(found.dt, tracks.dt)
    document = json.loads((tmp_path / "t.json").read_text())
    assert all(note["area"] == note["bbox"][2] * note["bbox"][3] for note in document["annotations"])


def test_coco_frames_are_those_that_the_images_name_and_a_given_rate_holds(tmp_path):
    tracks = two_objects(metric=False)
    path = write_tracks(tmp_path / "t.json", tracks, height=64, width=64)
    document = json.loads(path.read_text())
    document["images"].reverse()
    for one in document["annotations"]:
        one["instance_id"] = one.pop("track_id")
    path.write_text(json.dumps(document))
    found = read_tracks(path, fps=10).tracks
    torch.testing.assert_close(found.position, tracks.position)
    assert 1 / found.dt.item() == pytest.approx(10)  # whoever gives a rate means it


def test_coco_boxes_of_metres_are_where_the_camera_sees_the_bodies(tmp_path):
    clip = simulate_clip("collide", 1, size=32, frames=6)
    document = json.loads(coco_of(clip.truth, clip.camera, 32, 32))
    assert len(document["annotations"]) == 12
    for note in document["annotations"]:
        mask = clip.masks[0, note["image_id"] - 1, note["track_id"] - 1]
        rows, columns = mask.nonzero().unbind(dim=1)
        x, y, wide, high = note["bbox"]  # a box's pixel 0 reaches from 0 to 1
        assert x == pytest.approx(float(columns.min()), abs=1)
        assert x + wide == pytest.approx(float(columns.max()) + 1, abs=1)
        assert y == pytest.approx(float(rows.min()), abs=1)
        assert y + high == pytest.approx(float(rows.max()) + 1, abs=1)


def test_imported_tracks_are_judged_as_tracks_are():
    tracks = two_objects()
    report = assess(tracks, clip="t", source="readout", floor=None)
    assert report["free_fall"].value < 1e-6


ROWS = [
    {"frame": frame, "time": frame / 30, "object": "ball", "x": 0.1 * frame, "z": 1.0} for frame in range(4)
]


def table(path, rows, columns=None):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_an_object_waits_where_it_comes_in_and_has_its_usual_size(tmp_path):
    sizes = (0.1, 0.1, 0.9)
    late = [{**row, "object": "late", "half_x": size} for row, size in zip(ROWS[1:], sizes, strict=True)]
    found = read_tracks(table(tmp_path / "t.csv", [*({**row, "half_x": ""} for row in ROWS), *late])).tracks
    assert found.present[0, :, 1].tolist() == [False, True, True, True]
    assert found.position[0, :, 1, 0].tolist() == pytest.approx([0.1, 0.1, 0.2, 0.3])
    assert found.extent[0].tolist() == [[0, 0, 0], pytest.approx([0.1] * 3)]


def changed(place: int, **values) -> list[dict]:
    return [{**row, **values} if number == place else row for number, row in enumerate(ROWS)]


def test_a_plain_table_is_enough(tmp_path):
    found = read_tracks(table(tmp_path / "t.csv", ROWS)).tracks
    assert found.metric and found.position.shape == (1, 4, 1, 3)
    assert 1 / found.dt.item() == pytest.approx(30)
    assert 1 / read_tracks(tmp_path / "t.csv", fps=60).tracks.dt.item() == pytest.approx(60)
    bare = table(tmp_path / "b.csv", ROWS, ["frame", "object", "x", "z"])
    assert 1 / read_tracks(bare, fps=10).tracks.dt.item() == pytest.approx(10)
    pixels = [{"frame": 3 + n, "object": 1, "x": 5, "y": 7 * n, "unit": "px"} for n in range(3)]
    found = read_tracks(table(tmp_path / "p.csv", pixels), fps=25).tracks
    assert not found.metric and found.position[0, :, 0, 2].tolist() == [0, -7, -14]  # rows grow downward


@pytest.mark.parametrize(
    ("rows", "columns", "sentence"),
    [
        (ROWS, ["frame", "object", "z"], "it lacks x"),
        (ROWS, ["frame", "object", "x"], "it lacks z"),
        (ROWS, ["frame", "object", "x", "z"], "no column time to tell frames per second from; give --fps"),
        (changed(2, x="nan"), None, "line 4: x must be a finite number; got 'nan'. Leave the row out"),
        (changed(1, z="high"), None, "line 3: z must be a finite number; got 'high'"),
        (changed(2, frame=0), None, "line 4: frames of an object must rise; object ball has frame 0 after"),
        (changed(2, frame=1), None, "object ball has frame 1 twice"),
        (changed(2, frame=1.5), None, "frames must be whole numbers from 0 on; got '1.5'"),
        (changed(0, frame=-1), None, "frames must be whole numbers from 0 on; got '-1'"),
        (changed(3, frame=10**7, time=10**7 / 30), None, "at most 100000 frames"),
        (changed(1, object=""), None, "line 3 must name its object"),
        (changed(3, time=0.5), None, "must have equally spaced times"),
        (changed(3, time=-0.1), None, "times must rise with frames"),
        (changed(1, time=0.09), None, "times must rise with frames"),
        (changed(1, time=0.02), None, "one is 0.0133 s off, with 0.0333 s between frames. Resample it"),
        (
            [*ROWS, {**ROWS[2], "object": "b", "time": 0.5}],
            None,
            "line 6: a frame has one time; frame 2 has 0.0666667 and 0.5",
        ),
        ([{**row, "time": 1000 * row["time"]} for row in ROWS], None, "Divide milliseconds by 1000"),
        ([{**row, "time": 1e9 * row["time"]} for row in ROWS], None, "t.csv: time must be in seconds"),
        (changed(2, x=1e300), None, "x must be a finite number of at most 1e+09; got '1e+300'"),
        (changed(2, x="", z=1.0), None, "line 4: x must be a finite number"),
        ([{**row, "x": "", "z": ""} for row in ROWS], None, "nothing is seen in any of its rows"),
        ([{**row, "unit": "ft"} for row in ROWS], None, "one unit, m or px; got ft"),
        ([{"frame": 0, "object": 1, "x": 1, "y": 1}], None, "metres need a column z"),
    ],
)
def test_bad_tables_are_explained(tmp_path, rows, columns, sentence):
    with pytest.raises(ValueError) as error:
        read_tracks(table(tmp_path / "t.csv", rows, columns))
    assert sentence in str(error.value)


def note(**values) -> dict:
    return {"id": 5, "image_id": 1, "track_id": 1, "bbox": [0, 0, 2, 2], **values}


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"images": []}, "COCO-style json with images and annotations; KeyError: 'annotations'"),
        ({"annotations": [note(track_id=None)]}, "annotation 5 must have a track_id"),
        ({"annotations": [note(image_id=7)]}, "there is none with id 7"),
        ({"annotations": [note(image_id={"a": 1})]}, "there is none with id {'a': 1}"),
        ({"annotations": [note(bbox=[10**400, 1, 1, 1])]}, "bbox must be a finite number; got 1000"),
        ({"annotations": [note(bbox=[1, 2])]}, "bbox [x, y, width, height]; got [1, 2]"),
        ({"annotations": [note(bbox=[1, 2, None, 1])]}, "bbox must be a finite number; got None"),
        ({"annotations": [note(bbox=[1, 2, -1, 1])]}, "a bbox of positive size; got -1 x 1"),
        ({"annotations": [note(), note()]}, "track 1 has two in frame 0"),
        ({"annotations": []}, "annotations with a track_id; it has none"),
        ({"annotations": [note()], "videos": [{}, {}]}, "the tracks of one video; got 2"),
        ({"annotations": [note()], "videos": [{}]}, "does not say its frames per second; give --fps"),
        ({"annotations": [note()], "videos": [{"fps": -1}]}, "fps must be positive"),
        (
            {"annotations": [note()], "videos": [{"fps": 0.033}]},
            "fps must be in seconds; got 30.3 from frame",
        ),
        ({"annotations": [note()], "videos": [{"fps": "fast"}]}, "fps must be a finite number"),
        ({"annotations": [], "images": [7]}, "COCO-style json with images and annotations; AttributeError"),
        ({"images": [{"id": 1, "frame_id": 0}, {"id": 2}]}, "in all images or in none; image 2 has none"),
        (
            {"images": [{"id": 1, "frame_id": "x"}]},
            "image 1: frames must be whole numbers from 0 on; got 'x'",
        ),
        ({"images": [{"id": 1, "frame_id": 3}, {"id": 2, "frame_id": 3}]}, "one image to a frame and an id"),
        ({"images": [{"id": 1}, {"id": 5}]}, "ids without gaps; got image 1 to 5 without"),
        ({"images": [{"id": "b"}, {"id": "a"}]}, "which frame each image is: by a frame_id"),
        ({"images": [{"id": 1, "video_id": 1}, {"id": 2, "video_id": 2}]}, "one video; got 2. Split it"),
    ],
)
def test_bad_coco_files_are_explained(tmp_path, document, sentence):
    path = tmp_path / "t.json"
    whole = {"images": [{"id": 1}], "annotations": [note()], "videos": [{"fps": 25}], **document}
    if document == {"images": []}:
        whole = document
    path.write_text(json.dumps(whole))
    with pytest.raises(ValueError) as error:
        read_tracks(path)
    assert sentence in str(error.value)


def written(path, rows: list[dict], rate: float = 30) -> Path:
    """COCO: an image and a box of one track for each of the rows' frames."""
    images = [
        {"id": number + 1, "file_name": f"cup{rate:g}/frame_{row['frame']:06d}.rf.{7 * number % 5}a.png"}
        for number, row in enumerate(rows)
    ]
    boxes = [note(id=n, image_id=n + 1, bbox=[row["x"], 50 - row["z"], 2, 2]) for n, row in enumerate(rows)]
    path.write_text(json.dumps({"images": images, "annotations": boxes, "videos": [{"fps": rate}]}))
    return path


def fall(step: int, frames: int = 60) -> list[dict]:
    """Every ``step``-th frame of a second of free fall at 60 frames per second."""
    return [
        {"frame": n, "time": n / 60, "object": "ball", "x": 1.5, "z": 6 - 4.905 * (n / 60) ** 2}
        for n in range(0, frames, step)
    ]


@pytest.mark.parametrize("step", [2, 3, 10])
@pytest.mark.parametrize("name", ["t.csv", "t.json", "t.trk"])
def test_of_frames_that_were_not_marked_none_is_missed(tmp_path, name, step):
    rows = fall(step)
    if name == "t.trk":  # written densely, and then every other mark taken out
        path = write_tracks(tmp_path / name, read_tracks(table(tmp_path / "a.csv", fall(1))).tracks)
        marks = re.compile(
            r'<property name="\[(\d+)\]" type="object">\n.*PointMass.*\n.*\n</object></property>\n'
        )
        path.write_text(marks.sub(lambda mark: "" if int(mark[1]) % step else mark[0], path.read_text()))
    else:
        path = table(tmp_path / name, rows) if name == "t.csv" else written(tmp_path / name, rows, 60)
    found = read_tracks(path)
    report = assess(found.tracks, clip="t", source="readout", floor=None)
    assert found.tracks.present.all() and found.tracks.present.shape == (1, len(rows), 1)
    assert found.tracks.dt.item() == pytest.approx(step / 60)
    assert report["permanence"].value == 1
    if name == "t.csv":
        assert float(report["free_fall"].note.partition("a = ")[2].split()[0]) == pytest.approx(
            9.81, abs=0.01
        )
    [said] = found.notes
    assert f"frame is marked: {60 / step:.4g} frames per second of 60 are judged" in said


def test_rows_that_see_nothing_are_looked_at(tmp_path):
    """What pandas writes: whole numbers as floats beside a nan, nothing for a nan, rows of nothing."""
    rows = [{**row, "frame": float(row["frame"])} for row in fall(2, 20)]
    blank = dict.fromkeys(rows[0], "")
    unseen = [
        {**blank, "frame": float(n), "object": "ball", "x": "nan", "time": n / 60} for n in range(1, 18, 2)
    ]
    found = read_tracks(
        table(tmp_path / "t.csv", sorted([*rows, *unseen], key=lambda row: row["frame"]) + [blank])
    )
    assert found.tracks.present[0, :, 0].nonzero().flatten().tolist() == [*range(0, 20, 2)]
    assert found.tracks.dt.item() == pytest.approx(1 / 60) and found.notes == ()
    never = [{**rows[0], "object": "ghost", "x": "", "z": ""}]
    found = read_tracks(table(tmp_path / "n.csv", never + rows))
    assert found.tracks.present.shape == (1, 10, 1)
    assert "ghost is seen in no frame, and left out." in found.notes


def test_images_play_in_the_order_of_their_frames_however_they_are_listed(tmp_path):
    rows = fall(1, 30)
    plain = read_tracks(written(tmp_path / "a.json", rows, 60)).tracks
    document = json.loads((tmp_path / "a.json").read_text())
    for order in (sorted, lambda rows, key: rows[::-1], lambda rows, key: rows[1::2] + rows[::2]):
        document["images"] = order(document["images"], key=lambda image: image["id"])
        for keep in (True, False):  # by the number in the name, else by the ids
            images = [image if keep else {"id": image["id"]} for image in document["images"]]
            (tmp_path / "b.json").write_text(json.dumps({**document, "images": images}))
            assert torch.equal(read_tracks(tmp_path / "b.json").tracks.position, plain.position)
    shuffled = [rows[n * 7 % 30] for n in range(30)]  # ids that say nothing: names do
    assert torch.equal(
        read_tracks(written(tmp_path / "c.json", shuffled, 60)).tracks.position, plain.position
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_tables_in_any_encoding(tmp_path, encoding):
    path = table(tmp_path / "t.csv", [{**row, "object": "Größe"} for row in ROWS])
    wanted = read_tracks(path).tracks.position
    path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    assert torch.equal(read_tracks(path).tracks.position, wanted)


def test_other_bad_input_is_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match="No track file at"):
        read_tracks(tmp_path / "none.csv")
    (tmp_path / "t.txt").write_text("")
    with pytest.raises(ValueError, match="must end in .csv, .json, .trk; got t.txt"):
        read_tracks(tmp_path / "t.txt")
    (tmp_path / "t.json").write_text("{")
    with pytest.raises(ValueError, match="must be COCO-style json .* JSONDecodeError"):
        read_tracks(tmp_path / "t.json")
    tracks = two_objects()
    with pytest.raises(ValueError, match="to write metres give a camera, height and width"):
        write_tracks(tmp_path / "m.json", tracks)
    with pytest.raises(ValueError, match="must end in .csv, .json, .trk"):
        write_tracks(tmp_path / "m.mat", tracks)
    broken = tracks.position.clone()
    broken[0, 3, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="must be finite where objects are present"):
        write_tracks(tmp_path / "m.csv", replace(tracks, position=broken))
    assert not list(tmp_path.glob("m.*"))
    path = write_tracks(tmp_path / "bad.trk", tracks)
    path.write_text(
        path.read_text().replace('name="mass" type="double">0.5', 'name="mass" type="double">NaN')
    )
    with pytest.raises(ValueError, match="mass must be a finite number; got 'NaN'"):
        read_trk(path)
