import json

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close
from transformers import (
    T5Config,
    VJEPA2Config,
    VJEPA2ForVideoClassification,
    VJEPA2Model,
    VJEPA2VideoProcessor,
)

from tests.tiny import tiny_vjepa2
from worldgen.conditioning import Conditioner
from worldgen.encoders.base import fingerprint
from worldgen.encoders.lora import Lora
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.types import Clip

TINY = tiny_vjepa2()
"""Two layers of random weights, large enough that tokens differ."""


def clip_of(frames, fps=8.0):
    return Clip(frames, torch.full((len(frames),), fps), ("",) * len(frames))


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vjepa2")
    torch.manual_seed(0)
    VJEPA2Model(TINY).save_pretrained(folder)
    VJEPA2VideoProcessor(crop_size=32).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(folder):
    return VJEPA2(str(folder))


@pytest.mark.parametrize("height, width", [(36, 36), (36, 50)], ids=["square", "wide"])
def test_tokens_equal_transformers(folder, encoder, height, width):
    """The library's processor gets bytes; frames of its own size are not resized, and nothing is rounded."""
    videos = (noise(2, 8, 3, height, width) * 255).to(torch.uint8)
    pixels = VJEPA2VideoProcessor.from_pretrained(folder)(list(videos), return_tensors="pt")
    with torch.no_grad():
        expected = VJEPA2Model.from_pretrained(folder).eval()(**pixels, skip_predictor=True).last_hidden_state
    values, mask = encoder.encode(clip_of(videos / 255))
    assert values.shape == (2, 4 * 2 * 2, encoder.dim) and bool(mask.all())
    assert_close(values, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("side", [20, 90], ids=["smaller", "larger"])
def test_resized_frames_are_the_processors_up_to_its_rounding_to_bytes(folder, encoder, side):
    videos = (noise(1, 4, 3, side, side + 8) * 255).to(torch.uint8)
    expected = VJEPA2VideoProcessor.from_pretrained(folder)(list(videos), return_tensors="pt")
    got = encoder.processor(list(videos / 255), do_rescale=False, return_tensors="pt")
    one_grey_level = 1 / 255 / min(encoder.processor.image_std)
    assert_close(got["pixel_values_videos"], expected["pixel_values_videos"], atol=one_grey_level, rtol=0)
    assert encoder.encode(clip_of(videos / 255)).values.shape == (1, 8, 32)


def test_a_long_clip_is_sampled_as_the_processor_samples(folder, encoder):
    video = (noise(21, 3, 36, 36) * 255).to(torch.uint8)
    sampled = VJEPA2VideoProcessor.from_pretrained(folder)(
        video,
        do_sample_frames=True,
        num_frames=8,
        video_metadata={"total_num_frames": 21},
        return_tensors="pt",
    )
    with torch.no_grad():
        expected = encoder.model.encoder(sampled["pixel_values_videos"]).last_hidden_state
    assert_close(encoder.encode(clip_of(video[None] / 255)).values, expected, atol=1e-5, rtol=1e-5)


def test_a_processor_that_names_a_number_of_frames_is_followed(encoder, tmp_path):
    encoder.model.save_pretrained(tmp_path)
    VJEPA2VideoProcessor(crop_size=32, num_frames=4).save_pretrained(tmp_path)
    frames = noise(1, 8, 3, 36, 36)
    few = VJEPA2(str(tmp_path)).encode(clip_of(frames)).values
    assert_close(few, encoder.encode(clip_of(frames[:, ::2])).values, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("frames, full", [(1, 2), (3, 4), (7, 8)])
def test_the_last_frame_of_a_short_clip_is_repeated(encoder, frames, full):
    short = noise(2, frames, 3, 32, 32)
    padded = torch.cat([short, short[:, -1:]], dim=1)
    assert_close(
        encoder.encode(clip_of(short)).values, encoder.encode(clip_of(padded)).values, atol=0, rtol=0
    )
    assert encoder.encode(clip_of(short)).values.shape[1] == full // 2 * 4


def test_clips_of_a_batch_do_not_see_each_other(encoder):
    frames = noise(3, 4, 3, 40, 32)
    together = encoder.encode(clip_of(frames)).values
    assert_close(together[1:2], encoder.encode(clip_of(frames[1:2])).values, atol=1e-5, rtol=1e-5)


def test_another_size_gives_another_grid(folder):
    encoder = VJEPA2(str(folder), size=64, frames=4)
    frames = noise(1, 6, 3, 73, 73)
    assert encoder.encode(clip_of(frames)).values.shape == (1, 2 * 4 * 4, 32)
    config = VJEPA2Config.from_pretrained(folder, crop_size=64)
    torch.manual_seed(1)
    model = VJEPA2Model(config).eval()
    model.load_state_dict(encoder.model.state_dict())
    pixels = VJEPA2VideoProcessor(crop_size=64)(
        list(frames[:, [0, 1, 3, 4]]), do_rescale=False, return_tensors="pt"
    )
    with torch.no_grad():
        expected = model(**pixels, skip_predictor=True).last_hidden_state
    assert_close(encoder.encode(clip_of(frames)).values, expected, atol=1e-5, rtol=1e-5)


def test_a_processor_that_does_not_resize_shows_the_whole_picture(encoder, tmp_path):
    encoder.model.save_pretrained(tmp_path)
    VJEPA2VideoProcessor(crop_size=32, do_resize=False).save_pretrained(tmp_path)
    whole, frames = VJEPA2(str(tmp_path)), noise(1, 4, 3, 32, 32)
    pixels = whole.inputs(clip_of(frames)).values
    mean, std = (torch.tensor(getattr(whole.processor, f"image_{name}")) for name in ("mean", "std"))
    assert_close(pixels, (frames - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    wide = noise(4, 3, 64, 96)
    small = functional.interpolate(wide, (32, 48), mode="bilinear", antialias=True)[..., 8:40]
    assert_close(
        whole.inputs(clip_of(wide[None])).values, whole.inputs(clip_of(small[None])).values, atol=1e-4, rtol=0
    )
    assert VJEPA2(str(tmp_path), size=64).encode(clip_of(frames)).values.shape == (1, 2 * 16, 32)


def test_positions_say_where_a_token_looks(encoder):
    """One patch of one frame changes: one embedding does, and its position is that patch's."""
    frames = noise(1, 8, 3, 36, 36)
    changed = frames.clone()
    changed[:, 5, :, 20:30, 5:15] = 1 - changed[:, 5, :, 20:30, 5:15]  # below, left, third tubelet
    first, second = (
        encoder.model.encoder.embeddings(
            encoder.processor(list(f), do_rescale=False, return_tensors="pt")["pixel_values_videos"]
        )
        for f in (frames, changed)
    )
    moved = (first - second).abs().amax(dim=-1)[0] > 1e-3
    assert moved.nonzero().flatten().tolist() == [2 * 4 + 2]
    position = encoder.positions(clip_of(frames, fps=10.0))
    assert position.shape == (1, 16, 3)
    assert_close(position[0, 10], torch.tensor([0.45, 0.75, 0.25]))  # frames 4 and 5 at 10 fps


def test_positions_keep_the_seconds_of_sampled_and_short_clips(encoder):
    clip = Clip(noise(2, 16, 3, 32, 32), torch.tensor([8.0, 16.0]), ("", ""))
    t = encoder.positions(clip)[:, ::4, 0]
    assert_close(t[0], torch.tensor([1.0, 5.0, 9.0, 13.0]) / 8)
    assert_close(t[1], t[0] / 2)
    assert_close(encoder.positions(clip_of(noise(1, 3, 3, 32, 32)))[0, ::4, 0], torch.tensor([0.5, 2.0]) / 8)


def test_the_future_does_not_leak_into_context_or_prediction(folder, encoder):
    frames, other = noise(2, 8, 3, 36, 36), noise(2, 8, 3, 36, 36, seed=1)
    other[:, :4] = frames[:, :4]
    past, same_past, cut = clip_of(frames), clip_of(other), clip_of(frames[:, :4])
    for clip in (same_past, cut):
        assert (
            encoder.context_only(past, 4).values - encoder.context_only(clip, 4).values
        ).abs().max() == 0.0
        assert (encoder.predict(past, 4, 4).values - encoder.predict(clip, 4, 4).values).abs().max() == 0.0
    assert (encoder.encode(past).values - encoder.encode(same_past).values)[:, :8].abs().max() > 1e-3

    # The library's own forward, told the same masks, does look ahead.
    model = VJEPA2Model.from_pretrained(folder).eval()
    ids = torch.arange(16).expand(2, -1)
    with torch.no_grad():
        told = [
            model(
                encoder.processor(list(f), do_rescale=False, return_tensors="pt")["pixel_values_videos"],
                context_mask=[ids[:, :8]],
                target_mask=[ids[:, 8:]],
            ).predictor_output.last_hidden_state
            for f in (frames, other)
        ]
    assert (told[0] - told[1]).abs().max() > 1e-4


def test_a_prediction_is_the_predictors_of_the_context_alone(folder, encoder):
    frames = noise(1, 8, 3, 36, 36)
    made = encoder.predict(clip_of(frames), 4, 4).values
    pixels = VJEPA2VideoProcessor.from_pretrained(folder)(
        list(frames), do_rescale=False, return_tensors="pt"
    )["pixel_values_videos"]
    model = VJEPA2Model.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = model.predictor(
            encoder_hidden_states=model.encoder(pixels[:, :4]).last_hidden_state,
            context_mask=[torch.arange(8)[None]],
            target_mask=[torch.arange(8, 16)[None]],
        ).last_hidden_state
    assert_close(made, expected, atol=1e-6, rtol=1e-6)
    assert (made[:, :4] - made[:, 4:]).abs().max() > 1e-4  # it tells two times ahead apart


def test_it_conditions_and_only_the_trained_part_learns(folder):
    torch.manual_seed(0)
    conditioner = Conditioner(video=VJEPA2(str(folder)), dim=16, queries=3).train()
    clip = clip_of(noise(2, 4, 3, 32, 32))
    condition = conditioner(conditioner.encode(clip), torch.tensor([True, True]))
    assert condition.tokens.shape == (2, 3, 16)
    assert (condition.tokens[0] - condition.tokens[1]).abs().max() > 1e-4
    condition.tokens.square().sum().backward()
    assert not conditioner.video.model.training
    assert all(p.grad is None and not p.requires_grad for p in conditioner.video.parameters())
    assert conditioner.project[0].weight.grad.abs().max() > 0
    assert conditioner.resampler.queries.grad.abs().max() > 0


def test_lora_learns_through_it_while_its_own_weights_stay(folder):
    plain, clip = VJEPA2(str(folder)), clip_of(noise(1, 4, 3, 32, 32))
    encoder = VJEPA2(str(folder), adapter=Lora(rank=2)).train()
    assert_close(encoder.encode(clip).values, plain.encode(clip).values)  # identity at first
    kept = encoder.prepare(clip)
    assert kept.values.shape == (1, 4, 3, 32, 32)  # pixels: tokens will change
    encoder.finish(kept).values.square().sum().backward()
    learned = encoder.trained()
    assert learned and all("lora" in name for name in learned)
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in learned.values())
    assert not any("predictor" in name for name in learned)


def test_a_classifier_holds_the_encoder_too(folder, encoder, tmp_path):
    classifier = VJEPA2ForVideoClassification(TINY)
    classifier.vjepa2.load_state_dict(encoder.model.state_dict())
    classifier.save_pretrained(tmp_path)
    VJEPA2VideoProcessor(crop_size=32).save_pretrained(tmp_path)
    clip = clip_of(noise(1, 4, 3, 32, 32))
    assert_close(VJEPA2(str(tmp_path)).encode(clip).values, encoder.encode(clip).values, atol=0, rtol=0)


def test_the_fingerprint_names_everything_that_tokens_depend_on(folder, encoder, tmp_path):
    assert fingerprint(VJEPA2(str(folder))) == fingerprint(encoder)
    assert fingerprint(VJEPA2(str(folder), frames=4)) != fingerprint(encoder)
    encoder.model.save_pretrained(tmp_path)
    VJEPA2VideoProcessor(crop_size=32, image_mean=[0.5, 0.5, 0.5]).save_pretrained(tmp_path)
    assert fingerprint(VJEPA2(str(tmp_path))) != fingerprint(encoder)


def test_bad_checkpoints_get_a_sentence(encoder, tmp_path):
    with pytest.raises(
        FileNotFoundError, match="A V-JEPA 2 folder must hold config.json; .*nowhere does not"
    ):
        VJEPA2(str(tmp_path / "nowhere"))
    T5Config().save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"must be a V-JEPA 2 checkpoint \(id or folder\): its config.json says 't5'"
    ):
        VJEPA2(str(tmp_path))
    encoder.model.config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="must be a V-JEPA 2 .*Can't load video processor"):
        VJEPA2(str(tmp_path))
    encoder.processor.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="must be a V-JEPA 2 .*model.safetensors"):
        VJEPA2(str(tmp_path))


def test_a_checkpoint_that_holds_only_a_part_is_refused(encoder, tmp_path):
    state = {name: value for name, value in encoder.model.state_dict().items() if "predictor" not in name}
    encoder.model.save_pretrained(tmp_path, state_dict=state)
    encoder.processor.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"must hold a whole V-JEPA 2; \d+ tensors miss, predictor"):
        VJEPA2(str(tmp_path))


def test_weights_of_another_size_are_refused(encoder, tmp_path):
    encoder.model.save_pretrained(tmp_path)
    encoder.processor.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_size": 48}))
    with pytest.raises(ValueError, match="must be a V-JEPA 2 .*size mismatch"):
        VJEPA2(str(tmp_path))


def test_bad_numbers_get_a_sentence(folder, encoder):
    with pytest.raises(ValueError, match="size must be a multiple of the patch, 16 pixels; got 40"):
        VJEPA2(str(folder), size=40)
    with pytest.raises(ValueError, match="frames must be at least 1; got 0"):
        VJEPA2(str(folder), frames=0)
    with pytest.raises(ValueError, match="size must be a multiple of the patch, 16 pixels; got 0"):
        VJEPA2(str(folder), size=0)
    clip = clip_of(noise(1, 4, 3, 32, 32))
    with pytest.raises(ValueError, match=r"context must lie in 1 .. 4 frames, the clip's length; got 6"):
        encoder.context_only(clip, 6)
    with pytest.raises(ValueError, match="context must be a multiple of 2 frames, a tubelet; got 1"):
        encoder.predict(clip, 1, 4)
    with pytest.raises(ValueError, match="target must be a multiple of 2 frames, a tubelet; got 0"):
        encoder.predict(clip, 2, 0)
    with pytest.raises(ValueError, match=r"at most 8 frames together; got 4 \+ 6. Predict fewer"):
        encoder.predict(clip, 4, 6)
