import pytest
import torch

from worldgen.metrics.checks.articulation import check_articulation
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.violations.articulated import lean, overbend, skate, stretch
from worldgen.simulation.violations.graded import graded_violations
from worldgen.simulation.violations.refilm import NotViolable


@pytest.fixture(scope="module")
def clips():
    return {
        family: simulate_clip(family, 2, size=32, frames=16) for family in ("chain", "hop", "bend", "drop")
    }


def values(clip):
    return {check.name: check.value for check in check_articulation(clip.truth, 0.0, clip.camera)}


@pytest.mark.parametrize("violate", [overbend, skate, lean])
def test_at_no_strength_a_figure_stays_as_it_is(clips, violate):
    same = violate(clips["bend"], 0.0)
    apart = (same.truth.position - clips["bend"].truth.position).abs().max()
    assert apart < 1e-4


@pytest.mark.parametrize(
    "violate, family, check",
    [
        (overbend, "chain", "joint_limits"),
        (overbend, "hop", "joint_limits"),
        (skate, "hop", "foot_skating"),
        (skate, "bend", "foot_skating"),
        (lean, "bend", "balance"),
        (stretch, "chain", "bone_length"),
    ],
)
def test_its_check_grows_with_the_strength(clips, violate, family, check):
    right, weak, strong = (values(violate(clips[family], share))[check] for share in (0.0, 0.5, 1.0))
    assert max(right, values(clips[family])[check]) <= weak < strong
    if violate is not stretch:
        assert not torch.equal(violate(clips[family], 1.0).frames, clips[family].frames)


@pytest.mark.parametrize(
    "violate, family", [(overbend, "drop"), (skate, "chain"), (lean, "hop"), (stretch, "drop")]
)
def test_what_cannot_be_broken_so_is_told(clips, violate, family):
    with pytest.raises(NotViolable, match="needs one clip of bodies|stands free|two feet"):
        violate(clips[family], 1.0)


def test_what_moves_bodies_one_by_one_leaves_figures_out_and_frames_take_joints_with_them(clips):
    for violation in graded_violations(clips["bend"]):
        assert violation.clip.truth.joints.angle.shape[1] == violation.clip.truth.position.shape[1]
