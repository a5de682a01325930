import json
import pickle
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from tests.encoders.small_imagebind import MERGES, SMALL, random_model
from worldgen.encoders import imagebind_files
from worldgen.encoders.imagebind_files import load_imagebind, save_imagebind
from worldgen.encoders.imagebind_inputs import (
    bpe_tokenizer,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("imagebind")
    save_imagebind(random_model(SMALL), path, bpe_tokenizer(MERGES))
    return path


def test_a_model_comes_back_as_it_was_saved(folder):
    loaded, saved = load_imagebind(folder), random_model(SMALL)
    assert loaded.config == SMALL
    for name, value in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert not list(folder.glob(".*")), "no temporary file stays"


def test_a_model_without_some_towers_comes_back(tmp_path):
    config = replace(SMALL, thermal=None, text=None)
    save_imagebind(random_model(config), tmp_path)
    assert load_imagebind(tmp_path).config.modalities == ("vision", "audio", "depth", "imu")


def test_the_published_file_loads_with_a_word_about_its_license(tmp_path, monkeypatch):
    monkeypatch.setattr(imagebind_files, "HUGE", SMALL)
    torch.save(random_model(SMALL).half().state_dict(), tmp_path / "imagebind_huge.pth")
    with pytest.warns(UserWarning, match="CC-BY-NC 4.0: for non-commercial use only"):
        loaded = load_imagebind(tmp_path / "imagebind_huge.pth")
    expected = random_model(SMALL).half().float().state_dict()
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, expected[name]), name


class Danger:
    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    danger = Danger()
    danger.path = tmp_path / "was_run"
    torch.save({"x": danger}, tmp_path / "model.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"x": danger}, protocol=2))
    for name in ("model.pth", "plain.pth"):
        with pytest.raises(ValueError, match="must be a pickle of tensors only") as caught:
            load_imagebind(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "was_run").exists()


def test_wrong_files_get_a_sentence(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="is not there"):
        load_imagebind(tmp_path / "nowhere.pth")
    with pytest.raises(FileNotFoundError, match="must hold config.json"):
        load_imagebind(tmp_path)
    settings = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(FileNotFoundError, match="must hold model.safetensors"):
        load_imagebind(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors at all")
    with pytest.raises(ValueError, match="must be a safetensors file"):
        load_imagebind(tmp_path)
    for change, told in (
        ({"architecture": "CLIP"}, '"architecture" is not "ImageBind"'),
        ({"size": 3}, "its keys differ in .'size'."),
        ({"out_dim": -1}, "out_dim must be positive integers; got -1"),
        ({"patch": 5}, "image_size must be a multiple of patch"),
        ({"vision": {"dim": 30, "blocks": 1, "heads": 4}}, "dim must be a multiple of heads; got 30 and 4"),
        ({"vision": None}, "vision, which all else is bound to, must not be null"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(settings | change))
        with pytest.raises(ValueError, match=told):
            load_imagebind(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="must describe an ImageBind"):
        load_imagebind(tmp_path)
    for content, told in (([1, 2], "must be a state dict"), ({"a": torch.ones(1)}, "must hold every tensor")):
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(ValueError, match=told):
            load_imagebind(tmp_path / "other.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "other.pth").read_bytes()[:200])
    with pytest.raises(ValueError, match="must be"):
        load_imagebind(tmp_path / "cut.pth")


def test_weights_of_another_size_are_refused(folder, tmp_path):
    settings = asdict(replace(SMALL, out_dim=21)) | {"architecture": "ImageBind"}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="6 of 197 miss, are too many or differ in shape, modality_heads"):
        load_imagebind(tmp_path)


@pytest.mark.parametrize("kept", [1000, -100, -1])
def test_a_file_that_is_torn_anywhere_gets_a_sentence(kept, tmp_path):
    path = tmp_path / "torn.pth"
    torch.save({"weight": torch.zeros(100, 100)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="must be a whole torch file; it cannot be read as one"):
        load_imagebind(path)
