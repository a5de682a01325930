"""Measures through an encoder are what their metrics say."""

import math

import pytest

from tests.tasks.judged import WINDOWS, read
from worldgen.data.batching import stack_clips
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.metrics.distances import clip_features, frechet, jedi
from worldgen.metrics.geophys import clip_geometry
from worldgen.metrics.surprise import surprise
from worldgen.simulation.violations.graded import freeze
from worldgen.tasks.measures_encoded import GeometryMetric, SetDistanceMetric, SurpriseMetric


def test_encoded_measures_are_those_of_the_metrics(made, truth, vjepa2_folder):
    encoder = VJEPA2(str(vjepa2_folder))
    found = read(SurpriseMetric(lambda: encoder, WINDOWS), made, truth)
    ours, real = (surprise(encoder, clip, WINDOWS).average[:, 0] for clip in (made, truth))
    assert found["after_4"] == (pytest.approx(float(ours.mean())), 4)
    assert found["after_4_of_truth"] == (pytest.approx(float(real.mean())), 4)
    assert found["after_4_more_than_truth"] == (float((ours > real).double().mean()), 4)
    assert read(SurpriseMetric(lambda: encoder, WINDOWS), truth, truth)["after_4_more_than_truth"] == (0, 4)

    x, y = (clip_features(encoder, [clip]) for clip in (made, truth))
    found = read(SetDistanceMetric(lambda: encoder), made, truth)
    assert found["jedi"] == (pytest.approx(jedi(x, y)), 4) and jedi(x, y) > 0
    assert found["frechet_distance"] == (pytest.approx(frechet(x, y)), 4)
    assert found["jedi_floor"][1] == 4 and found["jedi_floor"][0] > 0
    few = read(SetDistanceMetric(lambda: encoder), made[0], truth[0])
    assert all(n == 0 and math.isnan(value) for value, n in few.values())

    still = stack_clips([freeze(made[0], context_frames=1), made[1]])
    shapes = [clip_geometry(encoder, clip)[1] for clip in (still, truth)]
    assert shapes[0] is not None and clip_geometry(encoder, still)[0] is None
    both = stack_clips([truth[0], truth[1]])
    found = read(GeometryMetric(lambda: encoder), still, both)
    assert found["speed_larger_than_truth"] == (float(shapes[0].speed > shapes[1].speed), 1)
