import pytest

from tests.models import NANO, build
from worldgen.conditioning import Conditioner
from worldgen.diffusion.sampler import Sampler
from worldgen.encoders.t5 import T5
from worldgen.generation.request import Sampling
from worldgen.generation.samplers import choose_sampler, find_scheduler, read_guidance


@pytest.fixture(scope="module")
def model():
    return build(conditioner=Conditioner(text=T5(str(NANO / "t5")), dim=16, queries=2))


def test_nothing_asked_is_the_runs_own_sampler(model):
    assert choose_sampler(model, Sampling()) is model.sampler
    found = choose_sampler(model, Sampling(steps=5, guidance=["text=3"]))
    assert found.steps == 5 and found.guidance == {"text": 3.0} and found.scheduler is model.sampler.scheduler
    assert read_guidance(["2.5"], model) == 2.5


@pytest.mark.parametrize(
    "name",
    ["diffusers.UniPCMultistepScheduler", "DPMSolverMultistepScheduler", "diffusers.DDIMScheduler",
     "diffusers.FlowMatchHeunDiscreteScheduler", "diffusers.EulerDiscreteScheduler"],
)  # fmt: skip
def test_schedulers_of_diffusers_lead_to_data(model, name):
    assert type(choose_sampler(model, Sampling(scheduler=name)).scheduler).__name__ == name.rpartition(".")[2]
    assert find_scheduler(name).config is not None


@pytest.mark.parametrize(
    "asked, sentence",
    [
        ({"guidance": ["much"]}, "--guidance takes a number, or text=3 video=1; got 'much'"),
        ({"guidance": ["1", "2"]}, "one number, or one for each slot"),
        ({"guidance": ["1", "text=2"]}, "one number, or one for each slot"),
        ({"guidance": ["sound=2"]}, "--guidance must name slots, text, video, multimodal; got 'sound'"),
        ({"guidance": ["video=2"]}, "slots that the run has, text; got video"),
        ({"guidance": ["-1"]}, "guidance must be 0 or more"),
        ({"negative": "a box"}, "--negative needs guidance above 1"),
        ({"scheduler": "diffusers.NoScheduler"}, "--scheduler must be the class path"),
        ({"scheduler": "nowhere.Euler"}, "--scheduler must be the class path"),
        ({"scheduler": "torch.nn.Linear"}, "--scheduler must be the class path"),
        ({"scheduler": "diffusers.AutoencoderKL"}, "that is no scheduler"),
    ],
)
def test_what_leads_nowhere_is_refused(model, asked, sentence):
    with pytest.raises(ValueError, match=sentence):
        choose_sampler(model, Sampling(**asked))


def test_guidance_of_a_condition_that_was_never_dropped_is_refused():
    never = build(conditioner=Conditioner(text=T5(str(NANO / "t5")), dim=16, queries=2, drop=0.0))
    for asked in (Sampling(guidance=["3"]), Sampling(guidance=["text=0"]), Sampling(guidance=["2"], steps=3)):
        with pytest.raises(
            ValueError, match="needs a condition that was left out in training; text never was"
        ):
            choose_sampler(never, asked)
    assert choose_sampler(never, Sampling(guidance=["1"])).guidance == 1.0
    # A negative text is a condition: nothing is left out.
    assert choose_sampler(never, Sampling(guidance=["3"], negative="a box")).guidance == 3.0
    with pytest.raises(ValueError, match="train with drop: 0.1"):
        build(conditioner=never.conditioner, sampler=Sampler(guidance=2.0))


def test_a_negative_text_needs_a_text_encoder():
    with pytest.raises(ValueError, match="trained without text"):
        choose_sampler(build(), Sampling(negative="a box", guidance=["3"]))
