import json
import pickle

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.testing import assert_close
from torchvision.transforms.functional import to_pil_image

from worldgen.conditioning import Conditioner
from worldgen.encoders.base import fingerprint
from worldgen.encoders.timm_video import TimmVideo
from worldgen.types import Clip


def clip_of(frames, fps=8.0):
    return Clip(frames, torch.full((len(frames),), fps), ("",) * len(frames))


def noise(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def random_model(name):
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=0).eval()


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """Random weights of timm's smallest ViT, and the encoder that reads them."""
    path = tmp_path_factory.mktemp("timm") / "model.safetensors"
    model = random_model("test_vit")
    save_file(model.state_dict(), path)
    return model, path, TimmVideo("test_vit", path)


@pytest.mark.parametrize(
    "name, grid, prefix",
    [("test_vit", 10, 1), ("test_vit2", 10, 1), ("test_vit_relpos", 10, 0), ("test_resnet", 5, None)],
)
def test_tokens_equal_timm_on_each_frame(name, grid, prefix, tmp_path):
    """Through timm's own transform of 8-bit pictures of the size that it resizes to, where nothing rounds."""
    model = random_model(name)
    torch.save({"model": model.state_dict()}, tmp_path / "weights.pth")
    encoder = TimmVideo(name, tmp_path / "weights.pth")
    config = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**config, is_training=False)
    side = transform.transforms[0].size
    frames = (noise(2, 2, 3, side, side + 7) * 255).to(torch.uint8)
    values, mask = encoder.encode(clip_of(frames / 255))
    assert values.shape == (2, 2 * grid**2, encoder.dim) and bool(mask.all())
    for clip in range(2):
        for index in range(2):
            with torch.no_grad():
                image = transform(to_pil_image(frames[clip, index]))
                features = model.forward_features(image[None])[0]
            expected = features.flatten(1).T if prefix is None else features[prefix:]
            got = values[clip, index * grid**2 : (index + 1) * grid**2]
            assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_maps_with_channels_last_are_read_by_row_and_column(vit, monkeypatch):
    _, _, encoder = vit
    features = noise(3, 2, 4, encoder.dim)
    monkeypatch.setattr(encoder.model, "forward_features", lambda images: features)
    assert_close(encoder.encode(clip_of(noise(3, 1, 3, 8, 8))).values, features.flatten(1, 2))


def test_small_and_large_frames_are_brought_to_the_models_size(vit):
    _, _, encoder = vit
    for side in (40, 300):
        assert encoder.encode(clip_of(noise(1, 1, 3, side, side))).values.shape == (1, 100, 64)


def test_every_stride_th_frame_is_looked_at(vit):
    _, path, every = vit
    frames = noise(2, 5, 3, 40, 40)
    second = TimmVideo("test_vit", path, stride=2)
    assert_close(second.encode(clip_of(frames)).values, every.encode(clip_of(frames[:, ::2])).values)
    t, y, x = second.positions(clip_of(frames, fps=10.0))[1, [0, 111, 299]].T
    assert_close(t, torch.tensor([0.0, 0.2, 0.4]))
    assert_close(y, torch.tensor([0.05, 0.15, 0.95]))
    assert_close(x, torch.tensor([0.05, 0.15, 0.95]))


def test_a_folder_that_timm_can_load_is_loaded_whole(tmp_path):
    """The road that hub ids take: weights with a head of three classes, and a data config of their own."""
    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=3, img_size=160)
    state = model.state_dict()
    save_file(state, tmp_path / "model.safetensors")
    data = {"mean": [0.5, 0.5, 0.5], "input_size": [3, 160, 160], "num_classes": 3, "classifier": "head"}
    config = {"architecture": "test_vit", "model_args": {"img_size": 160}, "pretrained_cfg": data}
    (tmp_path / "config.json").write_text(json.dumps(config))
    encoder = TimmVideo(f"local-dir:{tmp_path}")
    save_file(
        {name: value for name, value in state.items() if "head" not in name}, tmp_path / "own.safetensors"
    )
    same = TimmVideo("test_vit", tmp_path / "own.safetensors")
    assert_close(encoder.model.state_dict(), same.model.state_dict(), atol=0, rtol=0)
    assert fingerprint(encoder) != fingerprint(same)  # it normalizes otherwise
    save_file(
        {name: value for name, value in state.items() if name != "norm.bias"}, tmp_path / "model.safetensors"
    )
    with pytest.raises(ValueError, match='must be a timm model whose weights can be had: .*"norm.bias"'):
        TimmVideo(f"local-dir:{tmp_path}")


def test_it_conditions_and_only_the_trained_part_learns(vit):
    torch.manual_seed(0)
    conditioner = Conditioner(video=TimmVideo("test_vit", vit[1]), dim=16, queries=3).train()
    condition = conditioner(conditioner.encode(clip_of(noise(2, 2, 3, 32, 32))), torch.tensor([True, True]))
    assert condition.tokens.shape == (2, 3, 16)
    assert (condition.tokens[0] - condition.tokens[1]).abs().max() > 1e-5
    condition.tokens.square().sum().backward()
    assert not conditioner.video.model.training
    assert all(p.grad is None and not p.requires_grad for p in conditioner.video.parameters())
    assert conditioner.project[0].weight.grad.abs().max() > 0


class Spill:
    def __reduce__(self):
        return (open, ("spilled", "w"))


def test_a_file_that_would_run_code_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Spill()}, "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"model": Spill()}, protocol=2))
    (tmp_path / "torn.safetensors").write_bytes(b"not a file of tensors")
    for name in ("zip.pth", "plain.pth", "torn.safetensors"):
        with pytest.raises(ValueError, match=f"{name} must hold tensors and nothing else"):
            TimmVideo("test_vit", tmp_path / name)
    assert not (tmp_path / "spilled").exists()


def test_weights_of_another_model_are_refused_whole(vit, tmp_path):
    state = dict(vit[0].state_dict())
    state.pop("norm.bias")
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(ValueError, match=r"1 of \d+ tensors miss or differ, norm.bias first"):
        TimmVideo("test_vit", tmp_path / "part.safetensors")
    save_file({**state, "norm.bias": torch.zeros(7)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"VisionTransformer's weights .* 1 of \d+ .* norm.bias first"):
        TimmVideo("test_vit", tmp_path / "other.safetensors")


def test_bad_arguments_get_a_sentence(vit, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="checkpoint must be a file of weights; there is none at"):
        TimmVideo("test_vit", tmp_path / "nowhere.pth")
    with pytest.raises(ValueError, match="'no_such_vit' must be a timm model whose weights can be had"):
        TimmVideo("no_such_vit", vit[1])
    with pytest.raises(ValueError, match="'test_vit4' must be a timm model .*Give `checkpoint`"):
        TimmVideo("test_vit4")  # timm has no weights of it
    with pytest.raises(ValueError, match="stride must be at least 1 frame; got 0"):
        TimmVideo("test_vit", vit[1], stride=0)
    encoder = TimmVideo("test_vit", vit[1])
    monkeypatch.setattr(encoder.model, "forward_features", lambda images: noise(len(images), 8, 64))
    with pytest.raises(
        ValueError, match="a square grid of 64 features per frame; VisionTransformer does not"
    ):
        encoder.encode(clip_of(noise(1, 1, 3, 8, 8)))
