"""Pair folders in the published layouts, and what can miss in them."""

import shutil

from PIL import Image

from worldgen.evaluation.benchmarks.pair_layouts import find_intphys, find_intphys2, find_likephys


def test_intphys_pairs_are_movies_that_begin_alike(intphys):
    found = find_intphys(intphys)
    assert (len(found.pairs), found.expected, found.missing) == (4, 4, ())
    assert {pair.kind for pair in found.pairs} == {"O1", "O3"}
    names = [(pair.possible.parent.name, pair.impossible.parent.name) for pair in found.pairs[:2]]
    assert names == [("1", "3"), ("4", "2")]


def test_intphys_scenes_that_are_not_whole_are_listed(intphys):
    (intphys / "O1" / "01" / "2" / "status.json").unlink()
    found = find_intphys(intphys)
    assert len(found.pairs) == 2 and found.expected == 4
    assert [(one.file, one.reason) for one in found.missing] == [("O1/01/2/status.json", "missing")]
    (intphys / "O3" / "01" / "1" / "status.json").write_text('{"header": {"is_possible": false}}')
    assert "movies 1 and 3 begin alike and are both of one kind" in find_intphys(intphys).missing[1].reason
    (intphys / "O3" / "01" / "1" / "status.json").write_text("{}")
    assert "no header.is_possible, as in the unlabeled test set" in find_intphys(intphys).missing[1].reason


def test_movies_that_all_part_at_one_frame_are_no_fault_of_their_labels(intphys):
    scene = intphys / "O1" / "01"
    for movie in "234":
        shutil.rmtree(scene / movie / "scene")
        shutil.copytree(scene / "1" / "scene", scene / movie / "scene")
        for picture in sorted((scene / movie / "scene").iterdir())[3:]:
            Image.open(picture).point(lambda value, n=int(movie): (value + 20 * n) % 256).save(picture)
    found = find_intphys(intphys)
    assert {pair.scene for pair in found.pairs} == {"O3/01"}
    assert [(one.file, one.reason) for one in found.missing] == [
        ("O1/01", "its frames do not say which movies belong together, all four part after frame 3")
    ]


def test_intphys2_pairs_come_from_its_table(intphys2):
    found = find_intphys2(intphys2)
    assert (len(found.pairs), found.expected, found.missing) == (4, 4, ())
    assert {(pair.kind, pair.scene) for pair in found.pairs} == {("permanence", "0"), ("solidity", "1_0")}
    assert found.pairs == find_intphys2(intphys2 / "Main").pairs
    for pair in found.pairs:
        assert pair.impossible.name == pair.possible.name.replace("Possible", "Impossible")
    (intphys2 / "Main" / "Videos" / "0-1_Possible.mp4").unlink()
    with open(intphys2 / "Main" / "metadata.csv", "a") as file:
        file.write("Videos/odd.mp4,2,x,Perhaps,solidity,Easy\n")
        file.write("../../out.mp4,3,x,1_Possible,solidity,Easy\n")
    found = find_intphys2(intphys2)
    assert (len(found.pairs), found.expected) == (3, 4)
    reasons = {one.file: one.reason for one in found.missing}
    assert "by a path that stays there; got '../../out.mp4'" in reasons.pop("../../out.mp4")
    assert reasons == {
        "Videos/0-1_Possible.mp4": "missing",
        "Videos/odd.mp4": "type 'Perhaps' is not N_Possible",
    }


def test_likephys_pairs_every_valid_with_every_invalid_video(likephys):
    found = find_likephys(likephys)
    assert (len(found.pairs), found.expected, found.missing) == (8, 8, ())
    assert {pair.kind for pair in found.pairs} == {"ball_drop: teleport", "ball_drop: over_bounce"}
    (likephys / "ball_drop_videos" / "subgroup_001" / "teleport_00.mp4").unlink()
    for number in (0, 1):
        (likephys / "ball_drop_videos" / "subgroup_000" / f"valid_0{number}.mp4").unlink()
    found = find_likephys(likephys)
    assert len(found.pairs) == 2 and found.expected == 2 + 2 + 2
    assert [one.file for one in found.missing] == [
        "ball_drop_videos/subgroup_000/valid_00.mp4",
        "ball_drop_videos/subgroup_001/teleport_00.mp4",
    ]
