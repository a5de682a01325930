import pytest
import torch
from torch.testing import assert_close

from worldgen.physics.slots import Maps, Sights, SlotReading, follow, gather_votes, spot, to_world
from worldgen.simulation.clips import simulate_clip

RED, BLUE = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9)


def sights(*frames):
    """Of one clip: each frame a list of (x, y, presence, color); what lacks is hardly there, far away."""
    rows = [[*frame, *[(60.0, 60.0, 0.01, (0.5, 0.5, 0.5))] * (3 - len(frame))] for frame in frames]
    return Sights(
        pixels=torch.tensor([[row[:2] for row in frame] for frame in rows]),
        half_size=torch.full((len(frames), 3), 5.0),
        presence=torch.tensor([[row[2] for row in frame] for frame in rows]),
        log_variance=torch.full((len(frames), 3), -6.0),
        color=torch.tensor([[row[3] for row in frame] for frame in rows]),
    )


def test_slots_are_taken_from_left_to_right_and_kept_whatever_is_seen_best():
    frames = [[(40.0 - 2 * t, 20.0, 0.9, RED), (10.0 + 2 * t, 20.0, 0.9, BLUE)] for t in range(5)]
    frames[3].reverse()
    reading = follow(sights(*frames), 1, 2)
    assert_close(reading.pixels[0, :, 0, 0], torch.tensor([10.0, 12, 14, 16, 18]))
    assert_close(reading.pixels[0, :, 1, 0], torch.tensor([40.0, 38, 36, 34, 32]))
    assert (reading.presence > 0.5).all()


def test_things_that_pass_each_other_are_told_apart_by_course_and_color():
    frames = [[(20.0 + 4 * t, 30.0, 0.9, RED), (44.0 - 4 * t, 32.0, 0.9, BLUE)] for t in range(7)]
    reading = follow(sights(*frames), 1, 2)
    assert_close(reading.pixels[0, -1, 0], torch.tensor([44.0, 30.0]))


def test_things_that_bounce_off_each_other_are_told_apart_by_color():
    way = [0.0, 4, 8, 4, 0]
    frames = [[(20.0 + x, 30.0, 0.9, RED), (40.0 - x, 30.0, 0.9, BLUE)] for x in way]
    reading = follow(sights(*frames), 1, 2)
    assert_close(reading.pixels[0, :, 0, 0], 20 + torch.tensor(way))


def test_a_thing_out_of_sight_goes_on_gets_less_sure_and_comes_back_to_its_slot():
    frames = [[(10.0 + 4 * t, 30.0, 0.9, RED)] for t in range(7)]
    frames[2] = frames[3] = []
    reading = follow(sights(*frames), 1, 2)
    assert_close(reading.pixels[0, :, 0, 0], 10 + 4 * torch.arange(7.0))
    assert (reading.presence[0, :, 0] > 0.5).tolist() == [True, True, False, False, True, True, True]
    assert reading.log_variance[0, 3, 0] > reading.log_variance[0, 2, 0] > reading.log_variance[0, 1, 0]
    assert not (reading.presence[0, :, 1] > 0.5).any()


def test_what_is_surely_seen_goes_before_what_is_hardly_seen_nearby():
    frames = [[(10.0 + 2 * t, 30.0, 0.9, RED), (12.0 + 2 * t, 33.0, 0.3, RED)] for t in range(4)]
    reading = follow(sights(*frames), 1, 2)
    assert_close(reading.pixels[0, :, 0, 0], 10 + 2 * torch.arange(4.0))
    assert not (reading.presence[0, :, 1] > 0.5).any()


def test_a_faint_sight_does_not_hold_back_what_is_hidden():
    frames = [[(10.0 + 3 * t, 30.0, 0.9, RED)] for t in range(12)]
    for t in range(3, 9):
        frames[t] = [(18.0, 30.0, 0.1, RED)]
    reading = follow(sights(*frames), 1, 2)
    assert_close(reading.pixels[0, 9:, 0, 0], 10 + 3 * torch.arange(9.0, 12))
    assert not (reading.presence[0, :, 1] > 0.5).any()


def test_what_comes_later_takes_a_free_slot_and_what_is_too_much_is_told():
    frames = [[(40.0, 30.0, 0.9, RED)]] * 2 + [[(40.0, 30.0, 0.9, RED), (10.0, 30.0, 0.8, BLUE)]] * 2
    reading = follow(sights(*frames), 1, 2)
    assert_close(reading.pixels[0, 3, :, 0], torch.tensor([40.0, 10.0]))
    assert (reading.presence[0, :, 1] > 0.5).tolist() == [False, False, True, True]
    assert (reading.beyond < 0.5).all()
    assert follow(sights(*frames), 1, 1).beyond[0].tolist() == pytest.approx([0.01, 0.01, 0.8, 0.8])


def test_no_frame_depends_on_a_later_one():
    frames = [[(10.0 + 3 * t, 30.0, 0.9, RED), (50.0 - 3 * t, 30.0, 0.9, BLUE)] for t in range(6)]
    whole, part = follow(sights(*frames), 1, 2), follow(sights(*frames[:3]), 1, 2)
    assert_close(whole.pixels[:, :3], part.pixels)


def maps_of(*things, columns=16):
    """Cells of two pixels; those within 5 px of a thing vote for it, the others for themselves."""
    grid = torch.arange(columns) * 2 + 0.5
    place = torch.stack(torch.meshgrid(grid, grid, indexing="xy"), dim=-1).flatten(0, 1)
    vote, presence = place.clone(), torch.full((len(place),), -9.0)
    for thing in torch.tensor(things):
        away = (place - thing).norm(dim=-1)
        vote[away < 5] = thing
        presence[away < 2.5] = 3.0
    ones = torch.zeros_like(presence)[None]
    return Maps(place, presence[None], vote[None], ones, ones + 1.6, ones - 4, torch.zeros(1, len(place), 3))


def test_votes_that_agree_become_one_thing_each_and_no_more():
    found = spot(maps_of((9.3, 8.1), (20.2, 8.6)), 3)
    expected = torch.tensor([[9.3, 8.1], [20.2, 8.6]])
    assert_close(found.pixels[0, :2].sort(dim=0).values, expected, atol=0.05, rtol=0)
    assert (found.presence[0] > 0.5).tolist() == [True, True, False]
    assert_close(found.half_size[0, :2], torch.tensor([1.6, 1.6]).exp())


def test_votes_for_another_thing_do_not_count():
    maps = maps_of((9.0, 8.0), (19.5, 8.0))
    place, *_ = gather_votes(maps, torch.tensor([[[9.5, 8.0]]]))
    assert_close(place[0, 0], torch.tensor([9.0, 8.0]), atol=0.05, rtol=0)


def reading_of(pixels, presence=1.0):
    flat = torch.full(pixels.shape[:3], 1.0)
    return SlotReading(pixels, 5 * flat, presence * flat, -4 * flat, flat[..., 0])


def test_pixels_become_the_metres_that_they_were_projected_from():
    clip = simulate_clip("collide", 3, size=16, frames=4)
    pixels = clip.camera.project(clip.truth.position, 64, 64)
    states, deviation = to_world(reading_of(pixels), clip.camera, clip.fps, 64)
    assert_close(states.position, clip.truth.position, atol=1e-4, rtol=0)
    middle = clip.truth.velocity[:, 1:3]  # sliding without friction: no force
    assert_close(states.velocity[:, 1:3], middle, atol=5e-3, rtol=0)
    assert_close(states.dt, clip.truth.dt)
    assert_close(states.extent, torch.full((1, 2, 3), 5 / 26), rtol=0.02, atol=0)
    assert_close(deviation, torch.full((1, 4, 2), 0.1353 / 26), atol=3e-4, rtol=0)
    assert (states.mass == 0).all()


def test_what_is_not_seen_is_not_present():
    clip = simulate_clip("collide", 3, size=16, frames=4)
    reading = reading_of(clip.camera.project(clip.truth.position, 64, 64))
    reading.presence[0, 2, 1] = 0.2
    states, _ = to_world(reading, clip.camera, clip.fps, 64)
    assert states.present[0, :, 1].tolist() == [True, True, False, True]
    assert_close(states.velocity[0, 3, 1], torch.zeros(3))


def test_a_camera_that_looks_past_the_plane_is_refused():
    clip = simulate_clip("bounce", 1, size=16, frames=2)
    away = type(clip.camera)(-clip.camera.position, clip.camera.rotation, clip.camera.fovy)
    with pytest.raises(ValueError, match="must look at the vertical plane y = 0"):
        to_world(reading_of(torch.full((1, 2, 1, 2), 30.0)), away, clip.fps, 64)
