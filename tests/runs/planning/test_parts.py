from torch import nn

from worldgen.runs.planning.parts import Weights, count_parts, find_weights, license_of


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.codec = nn.Linear(3, 4).requires_grad_(False)
        self.denoiser = nn.Sequential(nn.Linear(4, 4, bias=False))
        self.denoiser.append(self.denoiser[0])  # counted once
        self.register_buffer("latent_std", nn.Parameter().detach())


class Task(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = Model()
        self.average = nn.BatchNorm1d(2, affine=False)


def test_parts_are_counted_once_with_what_learns():
    found = {part.name: (part.parameters, part.learning, part.size) for part in count_parts(Task())}
    assert found == {
        "model.codec": (16, 0, 64),
        "model.denoiser": (16, 16, 64),
        "average": (0, 0, 2 * 2 * 4 + 8),
    }


def test_weights_that_a_config_names_are_found_with_their_license(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "README.md").write_text("---\nlicense: bsd-3-clause\n---\nMy weights.")
    config = {
        "model": {
            "codec": {"init_args": {"checkpoint": str(tmp_path / "mine")}},
            "text": [{"checkpoint": "google-t5/t5-large"}, {"checkpoint": "google-t5/t5-large"}],
            "multimodal": {"checkpoint": str(tmp_path / "imagebind_huge.pth"), "other": 3},
        }
    }
    assert find_weights(config) == [
        Weights(str(tmp_path / "mine"), True, "bsd-3-clause"),
        Weights("google-t5/t5-large", False, "Apache-2.0"),
        Weights(str(tmp_path / "imagebind_huge.pth"), False, "CC-BY-NC 4.0"),
    ]
    (tmp_path / "README.md").unlink()
    (tmp_path / "mine" / "LICENSE").write_text("MIT License")
    assert license_of(str(tmp_path / "mine")) == "MIT"
    (tmp_path / "mine" / "LICENSE").unlink()
    assert license_of(str(tmp_path / "mine")) == ""
