"""Every trained part is read from its folder whole, or refused with one sentence."""

import json
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file

from worldgen.audio.letters import LettersToMel, load_letters
from worldgen.diffusion.codec import KLCodec, load_codec
from worldgen.diffusion.control import Control, load_control
from worldgen.diffusion.maps import EdgeMap
from worldgen.diffusion.super_resolution import SpatialEnlargement, SuperResolution, load_stage
from worldgen.parts import CONFIG_FILE, WEIGHTS_FILE, load_part, save_part
from worldgen.physics.dynamics import DenseDynamics, load_dynamics
from worldgen.physics.readout import ObjectReadout, load_readout

PARTS = {
    "codec": (partial(KLCodec, widths=(8, 8, 8)), load_codec),
    "control": (
        partial(Control, EdgeMap(), dim=8, blocks=1, patch=(1, 1, 1), temporal_stride=1),
        load_control,
    ),
    "stage": (partial(SuperResolution, SpatialEnlargement(), (8, 8, 8)), load_stage),
    "readout": (partial(ObjectReadout, widths=(8, 8, 8), size=16), load_readout),
    "network of dynamics": (DenseDynamics, load_dynamics),
    "nano voice": (partial(LettersToMel, 16, 1, 1), load_letters),
}


@pytest.fixture(params=PARTS)
def part(request, tmp_path):
    """What it is called, itself, its folder, and how it is read."""
    make, load = PARTS[request.param]
    torch.manual_seed(0)
    made = make()
    made.save(tmp_path / "part")
    return request.param, made, tmp_path / "part", load


def test_a_part_comes_back_with_its_weights(part):
    _, made, folder, load = part
    found, kept = load(str(folder)).state_dict(), made.state_dict()
    assert list(found) == list(kept)
    for name, value in kept.items():
        assert found[name].dtype == value.dtype == torch.float32
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("lost", [CONFIG_FILE, WEIGHTS_FILE])
def test_half_a_folder_is_none(part, lost):
    kind, _, folder, load = part
    (folder / lost).unlink()
    with pytest.raises(
        FileNotFoundError, match=f"folder of a {kind} must hold {lost}; .* Train one: `worldgen"
    ):
        load(str(folder))


@pytest.mark.parametrize("config", ["{", "[]", '{"what": 1}', "3"])
def test_a_config_of_something_else_is_one_sentence(part, config):
    kind, _, folder, load = part
    (folder / CONFIG_FILE).write_text(config)
    with pytest.raises(
        ValueError, match=f"must hold a whole {kind}; got \\w+: .*. Copy it again.$"
    ) as refused:
        load(str(folder))
    assert "\n" not in str(refused.value)


def test_weights_of_something_else_are_refused(part):
    kind, _, folder, load = part
    weights = load_file(folder / WEIGHTS_FILE)
    last = sorted(weights)[-1]
    for changed in ({**weights, "more": torch.zeros(1)}, {**weights, last: torch.zeros(3, 1, 1, 1, 1, 1)}):
        save_file(changed, folder / WEIGHTS_FILE)
        with pytest.raises(
            ValueError, match=f"must hold the {kind} of its {CONFIG_FILE}; its tensors differ"
        ):
            load(str(folder))
    (folder / WEIGHTS_FILE).write_bytes((folder / CONFIG_FILE).read_bytes())
    with pytest.raises(ValueError, match=f"must hold a whole {kind}; got"):
        load(str(folder))


def test_a_folder_is_replaced_as_a_whole_and_precision_is_as_asked(tmp_path):
    part = torch.nn.Linear(2, 3)
    for half, dtype in ((True, torch.float16), (False, torch.float32)):
        save_part(part, {"sizes": [2, 3]}, tmp_path / "part", half)
        assert load_file(tmp_path / "part" / WEIGHTS_FILE)["weight"].dtype == dtype
    assert json.loads((tmp_path / "part" / CONFIG_FILE).read_text()) == {"sizes": [2, 3]}
    again = load_part(tmp_path / "part", "line", "nothing", lambda config: torch.nn.Linear(*config["sizes"]))
    assert torch.equal(again.weight, part.weight) and list(tmp_path.iterdir()) == [tmp_path / "part"]
