import pytest
import torch

from worldgen.data import trajectories
from worldgen.data.trajectories import TrajectoryDataModule, choose_windows, touches


@pytest.fixture
def data(tmp_path):
    return TrajectoryDataModule(count=8, val_splits=("id",), val_count=4, batch_size=4, cache=tmp_path)


def test_what_was_simulated_once_is_read_again(data, monkeypatch):
    first = data.open("wide", 8)
    monkeypatch.setattr(trajectories, "play_balls", None)
    again = data.open("wide", 8)
    assert again.family == first.family == ("drop", "bounce", "collide", "projectile") * 2
    assert again.split == "wide"
    for name in ("position", "velocity", "mass", "present"):
        assert torch.equal(getattr(again.trajectory, name), getattr(first.trajectory, name))
    assert torch.equal(again.dead_floor, first.dead_floor)
    data.fps = 50.0
    with pytest.raises(TypeError):  # another frame rate: it would simulate
        data.open("wide", 8)


def test_a_touch_is_neither_flight_nor_rest(data):
    states = data.open("id", 8)
    found = touches(states).any(dim=-1)
    assert not found[3].any() and not found[7].any()  # projectiles
    for scene in (0, 1, 2):
        assert found[scene].any()
    collide = states.trajectory.velocity[2].diff(dim=0).norm(dim=-1).amax(dim=-1)
    assert torch.equal(found[2], collide > 1e-2)


def test_pairs_are_all_with_a_touch_and_a_third_as_many_without(data):
    states = data.open("wide", 8)
    pairs, found = choose_windows(states, torch.Generator().manual_seed(0)), touches(states).any(dim=-1)
    hot = found[pairs[:, 0], pairs[:, 1]]
    assert int(hot.sum()) == int(found.sum())
    assert int((~hot).sum()) == int(found.sum()) // 3


def test_a_touch_is_of_the_balls_that_touch(data):
    states = data.open("id", 8)
    speed = states.trajectory.velocity[2, :, :, 0]
    struck = (speed.diff(dim=0).abs() > 1e-2) & states.trajectory.present[2, 1:]
    assert struck.any() and torch.equal(touches(states)[2], struck)
    lone = ~states.trajectory.present[1, 0]  # bounce has one ball
    assert lone.tolist() == [False, True] and not touches(states)[1, :, 1].any()


def test_a_family_that_stands_twice_is_drawn_twice_as_often(tmp_path):
    data = TrajectoryDataModule(count=6, families=("crowd", "drop", "crowd"), frames=3, cache=tmp_path)
    states = data.open("id", 6)
    assert states.family == ("crowd", "drop", "crowd") * 2
    crowds = states.trajectory.position[[0, 2, 3, 5], 0]
    assert all(not torch.equal(crowds[one], crowds[other]) for one in range(4) for other in range(one))


def test_longer_windows_are_so_many_frames_one_after_another(tmp_path):
    data = TrajectoryDataModule(count=8, batch_size=16, cache=tmp_path, ahead=5)
    data.setup()
    states = data.states
    windows = choose_windows(states, torch.Generator().manual_seed(0), 5)
    assert windows[:, 1].max() == 10  # of 16 frames, the last
    found = touches(states).any(dim=-1)
    hot = torch.stack([found[clip, first : first + 5].any() for clip, first in windows.tolist()])
    assert 0 < int((~hot).sum()) <= int(hot.sum()) // 3 or int((~hot).sum()) == 1
    batch = next(iter(data.train_dataloader())).trajectory.position
    assert batch.shape[1] == 6
    for window in batch:
        clip, first = torch.nonzero((states.trajectory.position == window[0]).all(dim=(2, 3)))[0].tolist()
        assert torch.equal(window, states.trajectory.position[clip, first : first + 6])


def test_a_batch_holds_two_frames_of_each_pair(data):
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert batch.trajectory.position.shape == (4, 2, 2, 3)
    whole = data.states.trajectory
    for clip in range(4):
        pair = batch.trajectory.position[clip]
        same = (whole.position[:, :-1] == pair[0]).all(dim=(2, 3)) & (whole.position[:, 1:] == pair[1]).all(
            dim=(2, 3)
        )
        found = torch.nonzero(same)
        assert len(found) >= 1
        scene = int(found[0, 0])
        assert float(batch.gravity[clip]) == float(data.states.gravity[scene])
        assert batch.family[clip] == data.states.family[scene]


def test_validation_gives_each_split_whole(data):
    (loader,) = data.val_dataloader()
    (states,) = loader
    assert len(states) == 4 and states.split == "id"
    assert states.trajectory.position.shape[1] == 16


def test_settings_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(ValueError, match="data.frames at least 3"):
        TrajectoryDataModule(frames=2, cache=tmp_path)
    with pytest.raises(
        ValueError, match="data.ahead must be at least 1 and less than data.frames; got 16 and"
    ):
        TrajectoryDataModule(ahead=16, cache=tmp_path)
