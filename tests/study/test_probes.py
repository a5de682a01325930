import csv

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from worldgen.cli.main import main
from worldgen.data.batching import stack_clips
from worldgen.data.shards.shards import write_shards
from worldgen.data.shards.simulate import simulate_shards
from worldgen.data.sources import ShardedClips
from worldgen.encoders.base import Encoder, Tokens
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.study import probes
from worldgen.study.probes import (
    Answers,
    Pixels,
    Readings,
    Ridge,
    measure_readings,
    pool,
    read_clips,
    untrained,
)
from worldgen.tasks.parts.vjepa import VJEPATask
from worldgen.types import Clip


class Oracle(Encoder):
    """A token per frame: how fast things move, and the mean color; what a good encoder would know."""

    def __init__(self):
        super().__init__()
        self.dim = 4
        self.freeze()

    def encode(self, clip):
        speed = clip.truth.velocity.norm(dim=-1).sum(dim=2) / clip.truth.present.sum(dim=2)
        values = torch.cat([speed[..., None], clip.frames.mean(dim=(3, 4))], dim=2)
        return Tokens(values, torch.ones(values.shape[:2], dtype=torch.bool))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    simulate_shards(folder, ("drop", "collide"), 40, size=16, frames=8, processes=1)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nano") / "vjepa2"
    torch.manual_seed(9)
    VJEPATask(
        dim=24,
        layers=1,
        heads=2,
        predictor_dim=24,
        predictor_layers=1,
        predictor_heads=2,
        size=16,
        frames=8,
        patch=8,
    ).save(folder)
    return folder


# ---------------------------------------------------------------- the regression


def regression(clips=40, features=6, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(clips, features)) * rng.uniform(0.1, 9, features) + 3
    return x, x @ rng.normal(size=(features, 2)) + noise * rng.normal(size=(clips, 2))


@pytest.mark.parametrize("features", [6, 90], ids=["fewer features than clips", "more"])
def test_ridge_is_the_normal_equations(features, monkeypatch):
    monkeypatch.setattr(probes, "PENALTIES", np.array([7.0]))
    x, y = regression(features=features)
    test = regression(12, features, seed=1)[0]
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    weights = np.linalg.solve(z.T @ z + 7 * np.eye(features), z.T @ (y - y.mean(axis=0)))
    expected = (test - x.mean(axis=0)) / x.std(axis=0) @ weights + y.mean(axis=0)
    np.testing.assert_allclose(Ridge(x).fit(y)(test), expected, rtol=1e-5, atol=1e-6)


def test_the_penalty_is_the_one_that_leaving_out_each_clip_in_turn_would_choose():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(30, 25))
    y = x[:, :1] + 3 * rng.normal(size=(30, 1))
    z = (x - x.mean(axis=0)) / x.std(axis=0)  # standardized once: what is left out is the fit
    errors = []
    for penalty in probes.PENALTIES:
        error = 0.0
        for out in range(30):
            rest = np.delete(np.arange(30), out)
            # The intercept is fitted without the clip, too.
            design = np.column_stack([np.ones(29), z[rest]])
            shrink = penalty * np.diag([0.0, *np.ones(25)])
            weights = np.linalg.solve(design.T @ design + shrink, design.T @ y[rest, 0])
            error += (y[out, 0] - np.array([1, *z[out]]) @ weights) ** 2
        errors.append(error)
    best = probes.PENALTIES[int(np.argmin(errors))]
    assert probes.PENALTIES[0] < best < probes.PENALTIES[-1]
    weights = np.linalg.solve(z.T @ z + best * np.eye(25), z.T @ (y - y.mean()))
    np.testing.assert_allclose(Ridge(x).fit(y)(x), z @ weights + y.mean(), rtol=1e-6, atol=1e-6)


# ---------------------------------------------------------------- pooling and reading


def test_pooling_in_closed_form():
    values = torch.arange(24.0).view(1, 12, 2)
    every = torch.ones(1, 12, dtype=torch.bool)
    assert_close(pool(Tokens(values, every), 1), values.mean(dim=1))
    runs = pool(Tokens(values, every), 4).view(1, 2, 4)
    assert_close(runs, values.view(1, 4, 3, 2).mean(dim=2).transpose(1, 2))
    some = every.clone()
    some[0, 5:] = False
    assert_close(pool(Tokens(values, some), 1), values[:, :5].mean(dim=1))
    assert pool(Tokens(values, every), 99).shape == (1, 24)


def test_pixels_are_the_means_of_squares():
    frames = torch.rand(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    values, _ = Pixels().encode(Clip(frames, torch.full((2,), 8.0), ("", "")))
    assert values.shape == (2, 3, 192)
    assert_close(values[1, 2].view(3, 8, 8)[1, 7, 0], frames[1, 2, 1, 14:, :2].mean())


def test_answers_are_those_of_the_simulator(shards):
    source = ShardedClips(shards)
    answers = read_clips({"pixels": Pixels()}, source, 20).answers
    assert answers.family == ("drop", "collide") * 10
    for index in (0, 1, 7):
        truth = source[index].truth
        assert answers.count[index] == truth.position.shape[2]
        assert_close(
            float(answers.speed[index]), float(truth.velocity.norm(dim=-1).mean()), rtol=1e-5, atol=0
        )
    assert {1, 2} == set(answers.count)


def test_features_do_not_depend_on_the_batch(shards):
    source = ShardedClips(shards)
    found = read_clips({"pixels": Pixels()}, source, 18).features["pixels", "timed"]
    one = pool(Pixels().encode(stack_clips([source[17]])), 8)
    assert_close(torch.from_numpy(found[17]), one[0].double())


def test_untrained_is_the_same_network_with_other_weights(checkpoint):
    encoder = VJEPA2(str(checkpoint))
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    fresh = untrained(encoder, 0)
    shapes = {name: value.shape for name, value in fresh.state_dict().items()}
    assert shapes == {name: value.shape for name, value in before.items()}
    assert all((value == encoder.state_dict()[name]).all() for name, value in before.items())
    weight = "model.encoder.layer.0.mlp.fc1.weight"
    assert (fresh.state_dict()[weight] - before[weight]).abs().max() > 1e-2
    assert not any(parameter.requires_grad for parameter in fresh.parameters())
    again, other = untrained(encoder, 0), untrained(encoder, 1)
    assert (again.state_dict()[weight] == fresh.state_dict()[weight]).all()
    assert (other.state_dict()[weight] != fresh.state_dict()[weight]).any()
    assert untrained(Pixels(), 0) is None


# ---------------------------------------------------------------- verdicts


def readings(clips, knows, seed):
    rng = np.random.default_rng(seed)
    family, count, speed = (
        rng.integers(3, size=clips),
        rng.integers(1, 3, size=clips),
        rng.uniform(0, 2, clips),
    )
    told = np.stack([*(family == kind for kind in range(3)), count, speed], axis=1).astype(float)
    blind = rng.normal(size=told.shape)
    features = {}
    for pooling in ("mean", "timed"):
        features["encoder", pooling] = told if knows else rng.normal(size=told.shape)
        features["untrained", pooling] = blind
    return Readings(features, Answers(tuple("abc"[k] for k in family), tuple(count.tolist()), speed))


def test_an_encoder_that_knows_is_told_from_one_that_does_not():
    for knows in (True, False):
        rows = {row.name: row for row in measure_readings(readings(300, knows, 0), readings(200, knows, 1))}
        assert (
            abs(rows["family: chance"].value - 1 / 3) < 0.08
            and abs(rows["count: chance"].value - 1 / 2) < 0.08
        )
        for name in ("family", "count", "speed"):
            for pooling in ("mean", "timed"):
                row, lead = (
                    rows[f"{name}, {pooling}: encoder"],
                    rows[f"{name}, {pooling}: encoder - untrained"],
                )
                assert row.low <= row.value <= row.high
                if lead.low is None:  # both right, or both wrong, on the same clips
                    assert lead.value == 0
                else:
                    assert lead.low <= lead.value <= lead.high
                assert_close(lead.value, row.value - rows[f"{name}, {pooling}: untrained"].value)
                assert (row.value > 0.99) == knows
                assert (lead.low is not None and lead.low > 0.3) == knows


def test_the_command_finds_what_is_there(shards, checkpoint, tmp_path, capsys):
    words = ["probe", "--encoder", f"{__name__}.Oracle"]
    words += ["--train", str(shards), "--test", str(shards), "--out", str(tmp_path), "--train-clips", "32"]
    main(words)
    told = capsys.readouterr().out
    assert "No fresh weights beside it: the network of Oracle has no config" in told
    rows = {row["name"]: row for row in csv.DictReader((tmp_path / "results.csv").open())}
    assert float(rows["speed, mean: encoder"]["value"]) > 0.99
    assert not any("untrained" in name for name in rows)

    words[2:3] = ["worldgen.encoders.vjepa2.VJEPA2", "--encoder.checkpoint", str(checkpoint)]
    main(words)
    assert "speed, timed: encoder - untrained" in (tmp_path / "results.csv").read_text()
    assert not list(tmp_path.glob(".results*"))


# ---------------------------------------------------------------- bad input


def fails(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_bad_input_gets_a_sentence(shards, tmp_path, capsys):
    plain = tmp_path / "plain"
    clip = Clip(torch.rand(2, 8, 3, 16, 16), torch.full((2,), 8.0), ("", ""))
    write_shards([clip], plain)
    words = ["probe", "--encoder", "worldgen.study.probes.Pixels", "--out", str(tmp_path / "out"), "--train"]
    assert "Probes need simulated clips, whose truth is known; " in fails(
        capsys, *words, str(plain), "--test", str(shards)
    )
    assert "No folder of shards at " in fails(capsys, *words, str(tmp_path / "no"), "--test", str(shards))
    other = tmp_path / "other"
    simulate_shards(other, ("roll",), 2, size=16, frames=8, processes=1)
    assert "must be among those to fit on; roll is not" in fails(
        capsys, *words, str(shards), "--test", str(other)
    )
    assert "worldgen.types.Clip does not correspond to a subclass of Encoder" in fails(
        capsys, *words[:2], "worldgen.types.Clip", *words[3:], "x", "--test", "y"
    )
    assert not (tmp_path / "out").exists()
