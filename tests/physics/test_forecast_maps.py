from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.models import NANO
from worldgen.data.batching import stack_clips
from worldgen.encoders.base import fingerprint
from worldgen.physics.ball_forecast import BallForecast, TrueStates
from worldgen.physics.dynamics import GraphDynamics
from worldgen.physics.flight import Ballistic
from worldgen.physics.forecast_maps import ForecastMaps, draw_maps
from worldgen.physics.readout import load_readout
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.scenes.materials import prompt_materials, scene_materials
from worldgen.simulation.scenes.staging import usual_camera
from worldgen.types import select


@pytest.fixture(scope="module")
def clip():
    return stack_clips([simulate_clip("collide", 0, size=64), simulate_clip("bounce", 1, size=64)])


def maps_of(clip, deviation=0.0, cells=(16, 16), seen=1):
    doubt = torch.full_like(clip.truth.position[..., 0], deviation)
    return draw_maps(clip.truth, doubt, clip.camera, clip.frames[:, seen], seen, cells)


def test_the_cover_is_where_the_pictures_show_the_things(clip):
    cover = maps_of(clip, cells=(64, 64))[:, :, 0]
    shown = clip.masks.amax(dim=2).float() if clip.masks.ndim == 5 else (clip.masks > 0).float()
    assert shown.mean() > 0.01
    assert ((cover > 0.5).float() - shown).abs().mean() < 0.15 * shown.mean()


def test_each_cell_tells_the_way_to_the_middle_of_the_nearest_thing(clip):
    maps = maps_of(clip)[1, 5]  # one ball
    place = clip.camera.project(clip.truth.position, 64, 64)[1, 5, 0]
    row, column = ((place.flip(0) + 0.5) / 4 - 0.5).round().long().tolist()
    for step in (-1, 0, 1):
        offset = maps[1:3, row, column + step]
        assert_close(
            offset, (place - (torch.tensor([column + step, row]) + 0.5) * 4 + 0.5) / 4, atol=1e-4, rtol=0
        )
    corners = [maps[1:10, i, j] for i in (0, -1) for j in (0, -1)]
    assert sum(not corner.any() for corner in corners) >= 2  # nothing is near
    assert (maps[10] == 1).all()


def test_motion_is_that_of_the_thing_in_cells_of_a_frame(clip):
    maps = maps_of(clip)[1]
    place = clip.camera.project(clip.truth.position, 64, 64)[1, :, 0]
    row, column = ((place[5].flip(0) + 0.5) / 4 - 0.5).round().long().tolist()
    assert_close(maps[5, 4:6, row, column] * 0.25 * 4, place[5] - place[4], atol=1e-3, rtol=0)
    assert not maps[0, 4:6].any()


def test_with_detail_the_cover_is_told_of_points_within_each_cell(clip):
    forecast = BallForecast(scene_materials, GraphDynamics(), reader=TrueStates())
    plain, fine = ForecastMaps(forecast), ForecastMaps(forecast, detail=4)
    whole, told = (maps.draw(clip, [2], 16, None, (16, 16))[:, 0, 0] for maps in (plain, fine))
    assert told.shape[2] == fine.channels == 27
    assert torch.equal(told[:, :, :11], whole)
    shape = torch.nn.functional.pixel_shuffle(told[:, :, 11:].flatten(0, 1), 4).view(2, 16, 64, 64)
    assert torch.equal(shape, plain.draw(clip, [2], 16, None, (64, 64))[:, 0, 0, :, 0])
    shown = (clip.masks.amax(dim=2) if clip.masks.ndim == 5 else clip.masks > 0).float()
    edge = ((whole[:, :, 0].repeat_interleave(4, -1).repeat_interleave(4, -2)) - shown).abs().mean()
    assert (shape - shown)[:, :4].abs().mean() < 0.5 * edge  # before they meet


def test_doubt_softens_the_cover_and_is_told(clip):
    sure, unsure = maps_of(clip, 0.001)[1, 5], maps_of(clip, 0.3)[1, 5]
    cell = divmod(int(sure[0].argmax()), 16)
    assert sure[0][cell] > 0.8 > unsure[0][cell]
    assert unsure[6][cell] > sure[6][cell] + 0.5


def test_things_keep_the_color_that_they_were_seen_in(clip):
    maps = maps_of(clip, cells=(64, 64))[1]
    later = 8
    inside = maps[later, 0] > 0.9
    assert inside.any()
    shown = clip.frames[1, later][:, inside].mean(dim=1) - 0.5
    told = (maps[later, 7:10] / maps[later, 0])[:, inside].mean(dim=1)
    assert (told - shown).abs().max() < 0.15
    assert shown.abs().max() > 0.1


def test_a_roll_out_is_drawn_where_the_things_will_be_and_nothing_later_is_read(clip):
    forecast = ForecastMaps(BallForecast(scene_materials, GraphDynamics(), reader=TrueStates()))
    drawn = forecast.draw(clip, [1, 2], 16, None, (16, 16))
    assert drawn.shape == (2, 1, 2, 16, 11, 16, 16) and not drawn[:, :, 0].any()
    told = drawn[1, 0, 1]  # of one ball
    cell = told[:, 0].flatten(1).argmax(dim=1)
    offset = told[:, 1:3].flatten(2)[torch.arange(16), :, cell]
    place = (torch.stack([cell % 16, cell // 16], dim=-1) + 0.5 + offset) * 4 - 0.5
    truth = clip.camera.project(clip.truth.position, 64, 64)[1, :, 0]
    assert (place - truth).norm(dim=-1).max() < 1
    assert (truth - truth[1]).norm(dim=-1).max() > 10
    later = torch.arange(16)[:, None, None] >= 2
    other = replace(
        clip,
        frames=torch.where(later[..., None], 1 - clip.frames, clip.frames),
        truth=replace(clip.truth, position=torch.where(later, clip.truth.position + 1, clip.truth.position)),
    )
    assert torch.equal(drawn, forecast.draw(other, [1, 2], 16, None, (16, 16)))


def test_what_it_cannot_draw_is_refused(clip):
    with pytest.raises(ValueError, match="its forecast has no dynamics. Name some"):
        ForecastMaps(BallForecast(scene_materials))
    with pytest.raises(ValueError, match="detail of ForecastMaps must be at least 1; got 0"):
        ForecastMaps(BallForecast(scene_materials, GraphDynamics()), detail=0)
    forecast = ForecastMaps(BallForecast(scene_materials, GraphDynamics()))
    with pytest.raises(ValueError, match="needs a camera that stands still; the clip has none"):
        forecast.draw(replace(clip, camera=None), [2], 16)


def test_a_camera_that_is_assumed_draws_as_the_clips_own_and_never_in_place_of_it(clip):
    forecast = BallForecast(scene_materials, GraphDynamics(), reader=TrueStates())
    plain, assuming = ForecastMaps(forecast), ForecastMaps(forecast, camera=usual_camera())
    drawn = plain.draw(clip, [2], 16, None, (16, 16))
    assert_close(
        assuming.draw(replace(clip, camera=None), [2], 16, None, (16, 16)), drawn, atol=1e-3, rtol=1e-3
    )
    beside = replace(clip.camera, position=clip.camera.position + torch.tensor([0.5, 0.0, 0.0]))
    moved = replace(clip, camera=beside)
    assert torch.equal(
        assuming.draw(moved, [2], 16, None, (16, 16)), plain.draw(moved, [2], 16, None, (16, 16))
    )
    assert not torch.allclose(assuming.draw(moved, [2], 16, None, (16, 16)), drawn, atol=0.1)


def test_what_maps_are_made_of_is_in_their_fingerprint():
    def mark(materials=scene_materials, camera=None, detail=1, **changes):
        return fingerprint(ForecastMaps(BallForecast(materials, dynamics, **changes), camera, detail))

    dynamics = GraphDynamics()
    marks = [
        mark(), mark(prompt_materials), mark(camera=usual_camera()), mark(readings=2), mark(noise=0.1),
        mark(objects=3), mark(reader=TrueStates(0.1)), mark(detail=2), mark(detail=4),
    ]  # fmt: skip
    assert len(set(marks)) == len(marks) and mark() == marks[0]


def test_of_scenes_that_are_not_of_balls_nothing_is_drawn_and_the_others_are_as_alone(clip):
    maps = ForecastMaps(BallForecast(prompt_materials, GraphDynamics()))
    drawn = maps.draw(clip, [1, 2], 8, None, (16, 16))
    assert drawn[:, 0, 1].flatten(1).any(dim=1).all()
    mixed = maps.draw(replace(clip, prompts=("a box slides", clip.prompts[1])), [1, 2], 8, None, (16, 16))
    assert not mixed[0].any()
    assert_close(mixed[1], drawn[1])


@pytest.mark.parametrize("apart, drawn", [(0.6, False), (1.0, True)])
def test_of_two_things_that_lie_within_each_other_nothing_is_told(clip, apart, drawn):
    def misread(one):
        states, deviation = TrueStates()(one)
        radii = states.extent[0, :, 0].sum()
        states.position[0, :, 1] = states.position[0, :, 0] + torch.tensor([1.0, 0.0, 0.0]) * apart * radii
        return states, deviation

    maps = ForecastMaps(BallForecast(scene_materials, Ballistic(), reader=misread)).draw(
        stack_clips([simulate_clip("collide", 0, size=64), simulate_clip("bounce", 1, size=64)]), [2], 8
    )
    assert bool(maps[0].any()) == drawn and maps[1].any()


def test_where_nothing_is_seen_no_roll_out_is_told_and_the_others_are_as_alone(clip):
    readout = load_readout(str(NANO / "readout"))
    maps = ForecastMaps(BallForecast(scene_materials, GraphDynamics(), reader=readout))
    drawn = maps.draw(clip, [2], 8, None, (16, 16))
    empty = replace(clip, frames=torch.stack([torch.full_like(clip.frames[0], 0.5), clip.frames[1]]))
    with pytest.warns(UserWarning, match="the readout sees nothing, or too much: no roll-out is told there"):
        told = maps.draw(empty, [2], 8, None, (16, 16))
    assert not told[0].any() and drawn[0].any()
    assert_close(told[1], drawn[1])


def test_where_more_is_seen_than_can_be_told_no_roll_out_is_told_and_the_others_are_as_alone(clip):
    readout = load_readout(str(NANO / "readout"))
    maps = ForecastMaps(BallForecast(prompt_materials, GraphDynamics(), reader=readout))
    three = simulate_clip("drop", 4, size=64, split="ood:count")
    both = stack_clips([three, select(clip, slice(1, 2))])
    drawn = maps.draw(clip, [2], 8, None, (16, 16))
    with pytest.warns(UserWarning, match="the readout sees nothing, or too much: no roll-out is told there"):
        told = maps.draw(both, [2], 8, None, (16, 16))
    assert not told[0].any()
    assert_close(told[1], drawn[1])


def test_a_model_without_weights_has_a_camera_all_the_same():
    with torch.device("meta"):
        camera = usual_camera()
    assert camera.position.tolist() == usual_camera().position.tolist()
