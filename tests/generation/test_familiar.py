import pytest
import torch

from worldgen.data.videos import VideoReader
from worldgen.generation.familiar import nearest_distance, tell_distance
from worldgen.runs.folder import HOME, open_run
from worldgen.runs.trained_on import read_training
from worldgen.types import Clip


def test_a_distance_has_its_quantile_among_those_of_training():
    training = torch.tensor([[0.0], [1.0], [3.0], [3.0], [7.0]])  # nearest others: 1, 1, 2, 4, in its spread
    spread = float(training.std())
    inside, outside = (nearest_distance(torch.tensor([place]), training) for place in (5.2, 20.0))
    assert inside.value == pytest.approx(1.8 / spread, rel=1e-2) and inside.quantile == 0.5
    assert (
        outside.value == pytest.approx(13 / spread, rel=1e-2)
        and outside.quantile == 1.0
        and outside.ratio > 3
    )
    with pytest.raises(ValueError, match="2 or more different training clips; got 1"):
        nearest_distance(torch.zeros(1), torch.zeros(3, 1))


def test_what_lies_far_from_training_is_told_and_what_does_not_is_not():
    run = HOME / "assets" / "nano" / "generator"
    model, trained = open_run(run), read_training(run)
    frame = VideoReader(size=64, most=1, fps=25.0).read(HOME / "assets" / "readme" / "drop.mp4").frames
    prompts = ("a red ball drops onto the floor and bounces", "a cat plays the piano")
    clip = Clip(frame.expand(2, -1, -1, -1, -1), torch.full((2,), 25.0), prompts)
    (said,) = tell_distance(model, trained, clip, True)
    assert (
        said.startswith('The prompt "a cat plays the piano" lies far')
        and "100% of the training clips" in said
    )
    noise = Clip(torch.rand_like(clip.frames), clip.fps, prompts[:1] * 2)
    assert [said[:12] for said in tell_distance(model, trained, noise, True)] == ["The picture "]
    assert tell_distance(model, trained, noise, False) == []
    assert all("is not known" in said for said in tell_distance(model, None, clip, True))


@pytest.mark.parametrize(
    ("size", "fps", "said"),
    [
        (64, 25.0, []),
        (96, 25.0, ["are 64 x 64 at 25 frames per second; of 96 x 96 at 25 things may come apart."]),
        (64, 12.5, ["are 64 x 64 at 25 frames per second; of 64 x 64 at 12.5 things may come apart."]),
    ],
)
def test_another_size_or_rate_than_that_of_training_is_told(size, fps, said):
    run = HOME / "assets" / "nano" / "generator"
    clip = Clip(torch.zeros(1, 1, 3, size, size), torch.tensor([fps]), ("a red ball drops onto the floor",))
    told = [
        one for one in tell_distance(open_run(run), read_training(run), clip, False) if "come apart" in one
    ]
    assert [one[one.index("are ") :] for one in told] == said
