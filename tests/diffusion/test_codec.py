from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch.testing import assert_close

from worldgen.diffusion.codec import IdentityCodec, KLCodec, load_codec
from worldgen.diffusion.context import context_mask, context_motion, encode_held, hold
from worldgen.diffusion.optical_flow import optical_flow
from worldgen.encoders.base import fingerprint
from worldgen.types import Camera, Clip


def clip_of(frames):
    return Clip(frames, torch.full((len(frames),), 25.0), ("",) * len(frames))


@pytest.fixture(scope="module")
def codec():
    torch.manual_seed(0)
    codec = KLCodec(channels=4, widths=(16, 16, 32), temporal_stride=3)
    codec.shift.normal_()
    codec.spread.uniform_(0.5, 2.0)
    return codec.requires_grad_(False)


@pytest.fixture
def frames():
    return torch.rand(2, 10, 3, 16, 24, generator=torch.Generator().manual_seed(1))


def test_shapes_and_the_image_is_a_video_of_one_frame(codec, frames):
    z = codec.encode(clip_of(frames))
    assert z.shape == (2, 4, 4, 2, 3)
    assert codec.decode(z, clip_of(frames)).shape == frames.shape
    image = codec.encode(clip_of(frames[:, :1]))
    assert image.shape == (2, 1, 4, 2, 3)
    assert_close(z[:, :1], image)


def test_encoding_is_causal(codec, frames):
    z = codec.encode(clip_of(frames))
    later = frames.clone()
    later[:, 7:] = 1 - later[:, 7:]
    changed = codec.encode(clip_of(later))
    assert_close(changed[:, :3], z[:, :3])
    assert (changed[:, 3] - z[:, 3]).abs().max() > 1e-3


def test_decoding_is_causal(codec, frames):
    z = codec.encode(clip_of(frames))
    changed = z.clone()
    changed[:, 3] += 1
    before, after = (codec.reconstruct(latent) for latent in (z, changed))
    assert_close(after[:, :7], before[:, :7])
    assert (after[:, 7:] - before[:, 7:]).abs().max() > 1e-4


def test_normalization_is_taken_back_by_decode(codec, frames):
    mean = codec.squeeze(codec.features(frames)).z
    restored = codec.decode(codec.encode(clip_of(frames)), clip_of(frames))
    assert_close(restored, codec.reconstruct(mean).clamp(0, 1), atol=1e-5, rtol=1e-4)


def test_clips_of_a_batch_do_not_see_each_other(codec, frames):
    assert_close(codec.encode(clip_of(frames))[1:], codec.encode(clip_of(frames[1:])), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("known", [1, 2, 4, 5])
def test_the_short_way_to_a_still_world_is_the_long_way(codec, frames, known):
    clip = clip_of(frames)
    assert_close(
        encode_held(codec, clip, known, 10), codec.encode(hold(clip, known, 10)), atol=1e-5, rtol=1e-5
    )


def test_hold_keeps_known_frames_and_repeats_the_last(frames):
    held = hold(clip_of(frames), 2, 5)
    assert_close(held.frames[:, :2], frames[:, :2])
    assert_close(held.frames[:, 2:], frames[:, 1:2].expand(-1, 3, -1, -1, -1))
    with pytest.raises(ValueError, match="Context must be 0 to 10 frames of the clip; got 11"):
        hold(clip_of(frames), 11, 12)


def test_hold_silences_what_would_tell_the_future(frames):
    sound, imu = torch.rand(len(frames), 100), torch.rand(len(frames), 50, 6)
    clip = replace(clip_of(frames), sound=sound, imu=imu, fps=torch.full((len(frames),), 1600.0))
    held = hold(clip, 2, 10)  # 2 of 10 frames are known, and so 20 samples at 16 kHz
    assert_close(held.sound[:, :20], sound[:, :20])
    assert_close(held.imu[:, :10], imu[:, :10])
    assert not held.sound[:, 20:].any() and not held.imu[:, 10:].any()
    short = hold(clip, 2, 2)
    assert_close(short.sound, held.sound)
    assert_close(short.imu, imu[:, :10])
    again = hold(short, 1, 10)  # what is left of a clip knows no more and no less than the clip
    assert_close(again.sound, hold(clip, 1, 10).sound)
    assert_close(again.imu, hold(clip, 1, 10).imu)


def test_known_motion_is_the_flow_of_the_last_two_known_frames(frames):
    clip = clip_of(frames)
    assert_close(context_motion(clip, 3, (2, 2)), optical_flow(frames[:, 1], frames[:, 2], (2, 2)))
    assert context_motion(clip, 3, (2, 2)).any()
    assert not context_motion(clip, 1, (2, 2)).any()


def test_known_mask_marks_frames_of_each_step(codec):
    expected = torch.tensor([[1.0, 1, 1], [1, 0, 0], [0, 0, 0]])
    assert_close(context_mask(codec, 2, 7), expected)
    assert_close(context_mask(IdentityCodec(), 2, 4), torch.tensor([[1.0], [1], [0], [0]]))


def test_save_then_load_gives_the_same_latents(codec, frames, tmp_path):
    codec.save(tmp_path)
    again = load_codec(str(tmp_path))
    assert_close(
        again.encode(clip_of(frames)), codec.encode(clip_of(frames)), atol=2e-2, rtol=2e-2
    )  # half precision
    assert not list(tmp_path.glob("*.partial"))


def test_bad_input_gets_a_sentence(codec, frames, tmp_path):
    with pytest.raises(ValueError, match=r"takes 1 \+ 3 n frames; got 9. Cut the clip to 7"):
        codec.encode(clip_of(frames[:, :9]))
    with pytest.raises(ValueError, match="multiples of 8 pixels; got 12 x 24"):
        codec.encode(clip_of(frames[..., :12, :]))
    with pytest.raises(FileNotFoundError, match="must hold config.json"):
        load_codec(str(tmp_path))
    codec.save(tmp_path)
    (tmp_path / "config.json").write_text('{"channels": 5, "widths": [16, 16, 32], "temporal_stride": 3}')
    with pytest.raises(ValueError, match="must hold the codec of its config.json"):
        load_codec(str(tmp_path))


@pytest.mark.parametrize("cell, stride", [(2, 1), (4, 2), (8, 4), (16, 3), (32, 8)])
def test_compression_of_space_and_time_are_arguments(cell, stride, tmp_path):
    torch.manual_seed(0)
    codec = KLCodec(channels=4, widths=(16, 16, 32), temporal_stride=stride, cell=cell).requires_grad_(False)
    clip = clip_of(torch.rand(1, 1 + 2 * stride, 3, 64, 32))
    z = codec.encode(clip)
    assert z.shape == (1, 3, 4, 64 // cell, 32 // cell)
    assert codec.decode(z, clip).shape == clip.frames.shape
    codec.save(tmp_path)
    assert load_codec(str(tmp_path)).encode(clip).shape == z.shape
    with pytest.raises(ValueError, match=f"multiples of {cell} pixels; got 64 x 33"):
        codec.encode(clip_of(torch.rand(1, 1, 3, 64, 33)))


def test_a_cell_that_is_no_power_of_two_is_refused():
    for cell in (0, 1, 6, -8):
        with pytest.raises(ValueError, match=f"KLCodec.cell must be a power of 2 from 2; got {cell}"):
            KLCodec(cell=cell)


def test_a_codec_of_another_room_is_not_loaded(codec, tmp_path):
    codec.save(tmp_path)
    for name in ("os.system", "worldgen.diffusion.codec.Nothing", "worldgen.diffusion.nothing.KLCodec"):
        (tmp_path / "config.json").write_text(f'{{"class_path": "{name}"}}')
        with pytest.raises(ValueError, match="must hold a whole codec"):
            load_codec(str(tmp_path))


def test_shipped_weights_have_the_name_that_generators_know_them_by():
    shipped = Path(__file__).resolve().parents[2] / "assets" / "nano"
    with safe_open(shipped / "generator" / "model.safetensors", "pt") as file:
        frozen = file.metadata()["frozen"]
    assert f"KLCodec:{fingerprint(load_codec(str(shipped / 'codec')))}" in frozen.split()


def test_identity_is_its_own_inverse(frames):
    codec, clip = IdentityCodec(), clip_of(frames)
    assert_close(codec.decode(codec.encode(clip), clip), frames)


def test_hold_keeps_a_moving_camera_where_it_was_last_known(frames):
    position = torch.arange(30.0).reshape(1, 10, 3).expand(len(frames), -1, -1)
    turn = torch.eye(3).expand(len(frames), 10, 3, 3)
    camera = Camera(position, turn, torch.full((len(frames),), 30.0))
    held = hold(replace(clip_of(frames), camera=camera), 2, 10)
    assert_close(held.camera.position[:, 2:], position[:, 1:2].expand(-1, 8, -1))
    assert_close(held.camera.position[:, :2], position[:, :2])
