import pytest

from worldgen.cli import main as cli
from worldgen.data.batching import stack_clips
from worldgen.data.shards.members import decode_clip, encode_clip
from worldgen.data.sources import ShardedClips
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.scenes.captions import describe
from worldgen.simulation.scenes.families import ARTICULATED, FAMILIES, draw_scene, retake

PLAIN = {
    "fps", "camera.position", "camera.rotation", "camera.fovy", "truth.position", "truth.rotation",
    "truth.velocity", "truth.spin", "truth.mass", "truth.extent", "truth.present", "truth.dt",
    "contacts.time", "contacts.bodies", "contacts.point", "contacts.normal", "contacts.impulse",
}  # fmt: skip


@pytest.fixture(scope="module")
def clips():
    return {
        family: simulate_clip(family, 1, size=32, frames=8) for family in (*ARTICULATED, "drop", "cradle")
    }


def test_they_are_drawn_only_where_they_are_asked_for():
    assert not set(ARTICULATED) & set(FAMILIES) and len(FAMILIES) == 12
    with pytest.raises(ValueError, match="has no second takes"):
        retake(draw_scene("chain", 0), 1)


@pytest.mark.parametrize("family", ARTICULATED)
def test_the_same_seed_is_the_same_clip_and_the_caption_says_what_is_seen(clips, family):
    again = simulate_clip(family, 1, size=32, frames=8)
    assert (again.frames == clips[family].frames).all() and again.masks[0].any(dim=(0, 2, 3)).sum() >= 2
    words = {"chain": "links", "hop": "hops", "bend": "bends its knees"}[family]
    assert words in clips[family].prompts[0] and clips[family].descriptions[0]
    side = "right" if clips["hop"].truth.velocity[0, 0, 0, 0] > 0 else "left"
    assert f"to the {side}" in clips["hop"].prompts[0]
    assert describe(draw_scene(family, 3)) == describe(draw_scene(family, 3))


def test_shards_keep_joints_and_those_of_rigid_bodies_hold_what_they_held(clips):
    from safetensors.numpy import load

    for family, clip in clips.items():
        members = encode_clip(clip, family, 1)
        told = set(load(members["state.safetensors"]))
        joints = {"angle", "anchor", "limits", "bodies", "hinge", "feet"} if family in ARTICULATED else set()
        assert told == PLAIN | {f"joints.{name}" for name in joints}
        read = decode_clip({name: memoryview(data) for name, data in members.items()}).truth.joints
        assert (read is None) == (family not in ARTICULATED)
        if read is not None:
            assert (read.angle == clip.truth.joints.angle).all() and (
                read.feet == clip.truth.joints.feet
            ).all()


def test_batches_of_like_figures_have_joints_and_mixed_ones_have_none(clips):
    assert stack_clips([clips["bend"], clips["bend"]]).truth.joints.angle.shape == (2, 8, 6)
    assert stack_clips([clips["bend"], clips["hop"]]).truth.joints is None
    assert stack_clips([clips["hop"], clips["drop"]]).truth.joints is None


def test_simulate_writes_them_where_they_are_named(tmp_path):
    words = "simulate --families chain hop --clips 2 --frames 4 --size 16 --out"
    cli.main([*words.split(), str(tmp_path / "data")])
    source = ShardedClips(tmp_path / "data")
    assert [source[index].truth.joints.hinge.shape[1] for index in range(2)] == [
        source[0].truth.position.shape[2], 2,
    ]  # fmt: skip
