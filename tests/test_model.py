from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.models import NANO, build, perceiving
from tests.told import some_clips, told_model
from worldgen.conditioning import Conditioner
from worldgen.diffusion.codec import IdentityCodec, KLCodec
from worldgen.diffusion.context import hold
from worldgen.diffusion.dit import DiT
from worldgen.diffusion.known import Known, OtherContexts
from worldgen.diffusion.process import CleanFlowMatching
from worldgen.diffusion.sampler import Sampler, Start
from worldgen.diffusion.state_codec import StateCodec
from worldgen.encoders.base import Placed, Tokens
from worldgen.encoders.lora import Lora
from worldgen.encoders.t5 import T5
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.model import WorldModel
from worldgen.physics.dynamics import GraphDynamics
from worldgen.physics.flight import Ballistic
from worldgen.simulation.clips import simulate_clip
from worldgen.tasks.schedule import draw_step
from worldgen.types import Clip


@pytest.fixture(scope="module")
def clip():
    return simulate_clip("collide", 5, size=16, frames=8)


def arguments(model, clip, seed=0):
    latents = model.encode(clip)
    eps = torch.randn(latents.z.shape, generator=torch.Generator().manual_seed(seed))
    return latents, torch.ones(1, dtype=torch.long), torch.tensor([0.7]), eps, torch.tensor([True])


def test_an_untrained_denoiser_has_the_loss_of_predicting_stillness(clip):
    model = build()
    latents, which, sigma, eps, keep = arguments(model, clip)
    x = latents.z - latents.still[:, 1]
    assert_close(model.loss(latents, which, sigma, eps, keep), (x.square() / 0.49).flatten(1).mean(dim=1))


def test_what_is_known_is_given_exactly(clip):
    model = build()
    latents = model.encode(clip)
    assert_close(latents.still[:, 1, :2], latents.z[:, :2])
    assert (latents.still[:, 0, 1] - latents.z[:, 1]).abs().max() > 1e-3


def test_motion_lies_beside_the_noise_and_one_frame_has_none(clip):
    latents = build().encode(clip)
    assert latents.motion.shape == (1, 2, 2, 1, 1)
    assert not latents.motion[:, 0].any() and latents.motion[:, 1].any()


def test_loss_reaches_every_trained_weight_and_no_frozen_one(clip):
    model = build()
    torch.nn.init.normal_(model.denoiser.to_patch.weight, std=0.1)
    torch.nn.init.normal_(model.denoiser.modulation[-1].weight, std=0.1)
    torch.nn.init.normal_(model.denoiser.blocks[0].cross_attention.out.weight, std=0.1)
    model.loss(*arguments(model, clip)).sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.numel() and name != "conditioner.null":  # of use only when the condition is dropped
            assert parameter.grad.abs().max() > 0, name


def test_generation_is_seeded_and_keeps_the_known_frames(clip):
    model = build()
    model.codec.renderer = lambda trajectory, scenes, size: (
        trajectory.position.sum(dim=(2, 3)).sigmoid()[:, :, None, None, None].expand(-1, -1, 3, size, size)
    )
    torch.nn.init.normal_(model.denoiser.to_patch.weight, std=0.1)
    first, again, other = (model.generate(clip, 8, seed).frames for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(first[:, :2], clip.frames[:, :2])
    assert len(list(model.generate_steps(clip, 8, 1))) == 2


def test_an_adapter_learns_with_the_generator_and_is_all_that_is_kept_of_its_encoder(clip):
    torch.manual_seed(0)
    text = T5(str(NANO / "t5"), adapter=Lora(rank=2))
    model = WorldModel(
        codec=StateCodec(),
        conditioner=Conditioner(text=text, dim=16, queries=2),
        denoiser=lambda *sizes: DiT(*sizes, dim=24, depth=1, heads=2, patch=(1, 1, 1)),
        process=CleanFlowMatching(),
        sampler=Sampler(steps=2),
    ).train()
    torch.nn.init.normal_(model.denoiser.to_patch.weight)
    for block in model.denoiser.blocks:
        torch.nn.init.normal_(block.cross_attention.out.weight)
    model.loss(*arguments(model, clip)).sum().backward()
    learned = {name: p for name, p in model.named_parameters() if ".lora_" in name}
    assert any(p.grad is not None and p.grad.any() for p in learned.values())
    kept = {name for name in model.trained_state() if name.startswith("conditioner.text.")}
    assert kept and kept <= set(learned)


def test_an_encoder_sees_the_shortest_context_in_training_and_in_sampling(clip, vjepa2_folder):
    model = perceiving(vjepa2_folder, contexts={2: 0.5, 4: 0.5})
    seen = model.encode(clip).slots[1]
    assert seen.tokens.values.shape == (1, 4, 32) and seen.positions.shape == (1, 4, 3)  # one tubelet
    later = replace(clip, frames=torch.cat([clip.frames[:, :2], 1 - clip.frames[:, 2:]], dim=1))
    for other in (later, hold(clip, 4, 4), hold(clip, 2, 2)):
        assert torch.equal(model.encode_condition(other)[1].tokens.values, seen.tokens.values)
    earlier = replace(clip, frames=torch.cat([1 - clip.frames[:, :2], clip.frames[:, 2:]], dim=1))
    assert (model.encode_condition(earlier)[1].tokens.values - seen.tokens.values).abs().max() > 1e-3


def test_guidance_of_a_slot_reaches_the_sample(clip, vjepa2_folder):
    model = perceiving(vjepa2_folder, sampler=Sampler(steps=2, guidance={"video": 0.0}))
    *_, without = model.sample(clip, 8, 0)
    model.sampler = Sampler(steps=2)
    *_, plain = model.sample(clip, 8, 0)
    (values, mask), positions = model.encode_condition(clip)[1]
    slots = (model.encode_condition(clip)[0], Placed(Tokens(values, torch.zeros_like(mask)), positions))
    *_, absent = model.sample(clip, 8, 0, slots)
    assert_close(without, absent)
    assert (without - plain).abs().max() > 1e-3
    with pytest.raises(
        ValueError, match="Sampler.guidance must name slots, text, video, multimodal; got 'sound'"
    ):
        perceiving(vjepa2_folder, sampler=Sampler(guidance={"sound": 2.0}))


def test_too_few_first_frames_are_refused(clip):
    with pytest.raises(ValueError, match="needs at least 2 first frames; got 1"):
        build(contexts={2: 1.0}).generate(type(clip)(clip.frames[:, :1], clip.fps, clip.prompts), 8, 0)


def test_of_a_picture_no_frame_is_known_while_it_is_trained(clip):
    model = build()
    latents = model.encode(
        simulate_clip("drop", 1, size=16, frames=1)
    )  # fewer frames than the longest context
    assert latents.still.shape[1] == 2 and latents.z.shape[1] == 1
    model.contexts, model.context_odds = (0, 1, 2), torch.tensor([0.1, 0.3, 0.6])
    assert model.leaving_contexts(1).tolist() == [True, False, False]
    assert model.leaving_contexts(8).all()
    which, *_ = draw_step(model, latents, torch.Generator().manual_seed(0))
    assert which.tolist() == [0]
    model.contexts = (1, 2)
    with pytest.raises(ValueError, match="Of 1 frames none is left to make where 1 or more are known; add 0"):
        model.leaving_contexts(1)


def test_a_slot_more_shifts_no_other_draw(clip, vjepa2_folder):
    few, many = build(), perceiving(vjepa2_folder)
    draws = [
        draw_step(model, model.encode(clip), torch.Generator().manual_seed(3))[:3] for model in (few, many)
    ]
    for one, other in zip(*draws, strict=True):
        assert_close(one, other, rtol=0, atol=0)
    text, video = T5(str(NANO / "t5")), VJEPA2(str(vjepa2_folder))
    alone = Conditioner(text=text, dim=16, queries=2, slot_drop={"text": 0.5})
    both = Conditioner(text=text, video=video, dim=16, queries=2, slot_drop={"text": 0.5, "video": 0.5})
    kept = [part.draw_keep(64, torch.Generator().manual_seed(3)) for part in (alone, both)]
    place = both.present.index("text")
    assert torch.equal(kept[0][:, 0], kept[1][:, place]) and 10 < int(kept[0].sum()) < 54
    assert not torch.equal(kept[1][:, 0], kept[1][:, 1])


def test_what_is_foretold_lies_beside_the_noise_and_is_no_part_of_what_learns():
    model, clips = told_model(GraphDynamics(width=8)), some_clips()
    latents = model.encode(clips)
    assert latents.forecast.shape == (3, 1, 2, 16, 26, 1, 1)
    assert not any(name.startswith("forecast.") for name in model.trained_state())
    assert not any(weight.requires_grad for weight in model.forecast.parameters())
    assert "BallForecast:" in model.frozen_fingerprint()
    assert model.frozen_fingerprint() != told_model(Ballistic()).frozen_fingerprint()
    which, keep = torch.ones(3, dtype=torch.long), torch.ones(3, dtype=torch.bool)
    ask = (which, torch.full((3,), 0.5), torch.zeros_like(latents.z), keep)
    other = latents._replace(forecast=latents.forecast + 1)
    assert (model.predict(other, *ask) - model.predict(latents, *ask)).abs().max() > 1e-3


def test_sampling_is_told_what_training_was(monkeypatch):
    model, clips = told_model(GraphDynamics(width=8), readings=3, noise=0.01), some_clips()
    latents, seen = model.encode(clips), []

    def look(x, sigma, context, condition, residuals):
        seen.append(context)
        return torch.zeros_like(x)

    monkeypatch.setattr(model.denoiser, "forward", look)
    which, keep = torch.ones(3, dtype=torch.long), torch.ones(3, dtype=torch.bool)
    model.predict(latents, which, torch.full((3,), 0.5), torch.zeros_like(latents.z), keep)
    list(model.sample(hold(clips, 2, 2), 16, 0))
    assert all(assert_close(context, seen[0]) is None for context in seen[1:])


def test_a_step_is_told_one_reading_of_each_clip_at_random():
    model, clips = told_model(GraphDynamics(width=8), readings=3, noise=0.05), some_clips(6)
    latents = model.encode(clips)
    drawn = latents.draw_reading(torch.Generator().manual_seed(1))
    assert drawn.forecast.shape[1] == 1
    apart = (latents.forecast - drawn.forecast).flatten(2).abs().amax(dim=2)  # (B, V)
    assert torch.equal(apart.amin(dim=1), torch.zeros(6))
    assert len(set(apart.argmin(dim=1).tolist())) > 1


@pytest.mark.parametrize("frames, height, width", [(7, 16, 32), (13, 24, 16), (16, 8, 8), (1, 40, 24)])
def test_any_grid_is_sampled(frames, height, width):
    model = build(
        codec=KLCodec(channels=4, widths=(8, 8, 8)),
        process=CleanFlowMatching(shift=3.0, cells=24),
        sampler=Sampler(steps=2, cells=24),
        contexts={0: 0.5, 2: 0.5},
    )
    known = min(2, frames - 1)
    context = Clip(torch.rand(2, known or 1, 3, height, width), torch.full((2,), 25.0), ("one", "two"))
    made = model.generate(context if known else hold(context, 0, 1), frames, 0)
    assert made.frames.shape == (2, frames, 3, height, width)
    if known:
        assert torch.equal(made.frames[:, :known], context.frames)


def test_a_step_draws_more_noise_for_more_cells(clip):
    plain, sized = (build(process=CleanFlowMatching(3.0, cells=cells)) for cells in (None, 2))
    latents = plain.encode(clip)  # (1, 8, C, 1, 1): four times as many cells
    (_, before, *_), (_, found, *_) = (
        draw_step(model, latents, torch.Generator().manual_seed(3)) for model in (plain, sized)
    )
    assert_close(found / (1 - found), 2 * before / (1 - before))


OTHERS = OtherContexts(last={2: 0.2}, both={1: 0.2}, random=0.2, sets=2)
ANY = {"contexts": {0: 0.2, 2: 0.2}, "other_contexts": OTHERS}


def of_pixels(**changes):
    """Not trained, and not silent either."""
    model = build(
        codec=IdentityCodec(),
        denoiser=lambda *sizes: DiT(*sizes, dim=24, depth=1, heads=2, patch=(1, 4, 4)),
        **changes,
    )
    torch.nn.init.normal_(model.denoiser.to_patch.weight, std=0.1)
    return model


def test_one_model_learns_contexts_of_any_kind_and_its_encoders_see_no_frame_that_may_be_unknown(
    clip, vjepa2_folder
):
    model = perceiving(vjepa2_folder, contexts={1: 0.2, 2: 0.2}, other_contexts=OTHERS)
    latents = model.encode(clip)
    assert model.contexts == (1, 2) and latents.still.shape[1] == len(model.context_odds) == 6
    other = replace(clip, frames=1 - clip.frames)
    seen, unseen = (model.encode_condition(one)[1].tokens.values for one in (clip, other))
    assert torch.equal(seen, unseen)
    masks = []
    look = model.denoiser.forward
    model.denoiser.forward = lambda x, sigma, context, *rest: (
        masks.append(context) or look(x, sigma, context, *rest)
    )
    for which in range(6):
        model.predict(
            latents,
            torch.tensor([which]),
            torch.tensor([0.5]),
            torch.zeros_like(latents.z),
            torch.tensor([True]),
        )
    stride, channels = model.codec.temporal_stride, model.codec.channels
    found = [
        context[0, :, channels + 2 : channels + 2 + stride, 0, 0].flatten().nonzero()[:, 0]
        for context in masks
    ]
    assert [tuple(places.tolist()) for places in found] == [(0,), (0, 1), *OTHERS.places(8)]


def test_known_frames_of_any_kind_are_kept_exactly_and_heard(clip):
    model = of_pixels(**ANY)
    for places in ((), (7,), (0, 7), (1, 4)):
        known = Known.of(clip, places, 8)
        *_, z = model.sample_known(known, [3])
        made = model.decode_known(z, known).frames
        same = [place for place in range(8) if torch.equal(made[:, place], clip.frames[:, place])]
        assert same == list(places)
    with pytest.raises(ValueError, match="A forecast goes on from first frames"):
        build(forecast=told_model(Ballistic()).forecast, **ANY)
    with pytest.raises(ValueError, match="must add up to 1; got 1.6 in all"):
        build(other_contexts=OTHERS)


def test_each_clip_of_a_batch_has_the_noise_of_its_own_seed(clip):
    model = of_pixels()
    clip = Clip(clip.frames, clip.fps, clip.prompts)
    known = Known.of(clip, (0, 1), 8)
    both = Clip(clip.frames.repeat(2, 1, 1, 1, 1), clip.fps.repeat(2), clip.prompts * 2)
    first = [list(model.sample_known(known, [seed]))[-1] for seed in (4, 9)]
    *_, together = model.sample_known(Known.of(both, (0, 1), 8), [4, 9])
    assert_close(together, torch.cat(first))
    *_, plain = model.sample(clip, 8, 4)
    assert torch.equal(plain, first[0])


def test_a_negative_text_stands_where_guidance_asks_for_none(clip, vjepa2_folder):
    model = perceiving(vjepa2_folder, sampler=Sampler(steps=2, guidance=3.0))
    known = Known.of(clip, (0, 1), 8)
    own, other = (
        model.encode_condition(replace(known.clip, prompts=(text,))) for text in ("a", "a box slides")
    )
    *_, plain = model.sample_known(known, 0, own)
    *_, led = model.sample_known(known, 0, own, negative=other)
    assert (plain - led).abs().max() > 1e-4
    *_, same = model.sample_known(known, 0, own, negative=own)
    model.sampler = Sampler(steps=2, guidance={"text": 1.0, "video": 3.0})
    *_, unguided = model.sample_known(known, 0, own, negative=own)
    *_, without = model.sample_known(known, 0, own)
    assert (unguided - without).abs().max() > 1e-4  # the text stays while the video is left out


def test_an_edit_of_no_strength_changes_nothing_and_what_is_kept_stays(clip):
    model = of_pixels()
    known, z = Known.of(clip, (0,), 8), model.codec.encode(clip)
    kept = torch.zeros(1, 8, 1, 1, 1)
    *_, same = model.sample_known(known, 0, start=Start(z, kept, 0.0))
    assert_close(same, z)
    kept[:, 4] = 1
    for strength in (0.7, 1.0):
        *_, made = model.sample_known(known, 0, start=Start(z, kept, strength))
        assert_close(made[:, 4], z[:, 4], atol=1e-5, rtol=1e-5)
        assert (made[:, 5] - z[:, 5]).abs().max() > 1e-3


def test_known_frames_are_learned_through_noise_whose_level_is_told(clip):
    model, which = of_pixels(context_noise=0.5), torch.tensor([1])
    latents, keep = model.encode(clip), torch.tensor([True])
    drawn = latents.draw_reading(torch.Generator().manual_seed(0), model.context_noise)
    assert latents.draw_reading(torch.Generator().manual_seed(0)) is latents
    (plain, _), (noisy, _) = (model.beside(one, which, keep) for one in (latents, drawn))
    channels, level = model.codec.channels, float(drawn.level)
    assert 0 < level < 0.5
    assert_close((noisy - plain)[:, :, :channels], (level * drawn.noise)[:, None].expand(-1, 8, -1, -1, -1))
    assert_close(noisy[:, :, channels + 2 :], (1 - level) * plain[:, :, channels + 2 :])
    assert torch.equal(model.change(drawn, which), model.change(latents, which))
    with pytest.raises(ValueError, match="context_noise must lie in .0, 1.; got 1.5"):
        build(context_noise=1.5)


def test_noise_on_known_frames_changes_what_is_made_and_not_what_is_known(clip):
    model = of_pixels(context_noise=0.5)
    known = Known.of(clip, (0, 1), 8)
    frames = []
    for noise in (0.0, 0.4):
        read = replace(known, noise=noise)
        *_, z = model.sample_known(read, [3])
        frames.append(model.decode_known(z, read).frames)
    assert torch.equal(frames[0][:, :2], frames[1][:, :2])
    assert (frames[0] - frames[1])[:, 2:].abs().max() > 1e-3
