"""A chain of rooms: dynamics go on from what is read off the known frames, with nothing of the truth."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from worldgen.data.batching import stack_clips
from worldgen.physics.ball_forecast import BallForecast
from worldgen.physics.forecast_maps import ForecastMaps
from worldgen.physics.readout import ObjectReadout
from worldgen.simulation.clips import simulate_clip

ROOT = Path(__file__).resolve().parents[2]


def given_by(config):
    return yaml.safe_load((ROOT / config).read_text())["model"]["forecast"]["init_args"]


def build(kind, given):
    balls = given.get("forecast", {"init_args": given})["init_args"]
    for part in ("dynamics", "reader"):
        balls[part]["init_args"]["checkpoint"] = str(ROOT / balls[part]["init_args"]["checkpoint"])
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "forecast")
    return parser.instantiate_classes(parser.parse_object({"forecast": given})).forecast


@pytest.fixture(scope="module")
def forecast():
    return build(BallForecast, given_by("configs/physics/rollout_read.yaml"))


@pytest.fixture(scope="module")
def clips():
    return stack_clips([simulate_clip(f, s) for f in ("drop", "bounce", "collide") for s in (970, 971, 972)])


@pytest.mark.parametrize("known", [2, 4])
def test_a_roll_out_from_pixels_stays_within_a_pixel(forecast, clips, known):
    assert isinstance(forecast.reader, ObjectReadout)
    rolled, _ = forecast.foretell(replace(clips, truth=None), known, 16)
    off = (rolled.position - clips.truth.position).norm(dim=-1) * 26
    off = torch.where(clips.truth.present, off, torch.nan)[:, known:].square().nanmean(dim=(1, 2)).sqrt()
    assert off.median() < 0.6
    assert off.max() < 2.5
    still = (clips.truth.position - clips.truth.position[:, known - 1 : known]).norm(dim=-1) * 26
    assert still[:, -1].amax(dim=1).median() > 8


def test_how_sure_the_readout_is_is_told(forecast, clips):
    blind = replace(clips, truth=None)
    _, deviation = forecast.reader(blind)
    told = forecast.draw(blind, [2], 16)[:, 0, 0, :, 4:, 0, 0].unflatten(-1, (2, 11))[..., 10]
    there = clips.truth.present[:, 0]
    assert deviation[:, 0][there].mean() * 26 < 0.3
    assert (told[:, -1][there] > told[:, 0][there]).all()  # and that a roll-out is less so


def test_two_frames_and_a_prompt_are_all_that_maps_need(clips):
    maps = build(ForecastMaps, given_by("configs/physics/maps_from_words.yaml"))
    seen = replace(clips, truth=None, scenes=None, camera=None, masks=None, depth=None)
    drawn = maps.draw(seen, [2], 16, 1, (64, 64))[:, 0, 0]
    shown = (clips.masks.amax(dim=2) if clips.masks.ndim == 5 else clips.masks > 0).float()
    cover = (drawn[:, 2:, 0] > 0.5).float()
    overlap = (cover * shown[:, 2:]).sum(dim=(1, 2, 3)) / shown[:, 2:].sum(dim=(1, 2, 3))
    assert overlap.median() > 0.85
    still = (shown[:, 1:2] * shown[:, 2:]).sum(dim=(1, 2, 3)) / shown[:, 2:].sum(dim=(1, 2, 3))
    assert still.median() < 0.6
    silent = replace(seen, prompts=tuple(text.replace("rubber", "wooden") for text in seen.prompts))
    assert not torch.equal(maps.draw(silent, [2], 16, 1, (64, 64))[:, 0, 0], drawn)
