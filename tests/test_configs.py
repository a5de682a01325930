"""Every yaml parses against the code it configures, and every ablation changes what is trained."""

import re
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml
from diffusers import AutoencoderTiny
from jsonargparse import ArgumentParser
from safetensors.torch import save_file

from worldgen.cli.train import TRAININGS
from worldgen.data.datamodule import ClipDataModule
from worldgen.diffusion.denoisers.registers import RegisterDiT
from worldgen.encoders.adapterhub import Bottleneck
from worldgen.encoders.t5 import T5
from worldgen.simulation.clips import simulate_clip
from worldgen.study.ablation.experiment import read_experiment
from worldgen.tasks.generator import WorldGenerator
from worldgen.tasks.parts.codec import CodecTask
from worldgen.tasks.parts.control import ControlTask
from worldgen.tasks.parts.decoder import DecoderTask
from worldgen.tasks.parts.dynamics import DynamicsTask
from worldgen.tasks.parts.imagebind import ImageBindTask
from worldgen.tasks.parts.readout import ReadoutTask
from worldgen.tasks.parts.rigid import RigidTask
from worldgen.tasks.parts.sound import SoundTask
from worldgen.tasks.parts.super_resolution import SuperResolutionTask
from worldgen.tasks.parts.t5 import T5Task
from worldgen.tasks.parts.vjepa import VJEPATask
from worldgen.tasks.parts.voice import VoiceTask

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"
ABLATIONS = sorted((CONFIGS / "ablations").glob("*.yaml"))
LAYERS = (CONFIGS / "perception.yaml", CONFIGS / "adapters.yaml")
TASKS = {
    "codec": CodecTask,
    "control": ControlTask,
    "decoder": DecoderTask,
    "dynamics": DynamicsTask,
    "imagebind": ImageBindTask,
    "readout": ReadoutTask,
    "rigid": RigidTask,
    "sound": SoundTask,
    "super_resolution": SuperResolutionTask,
    "t5": T5Task,
    "vjepa": VJEPATask,
    "voice": VoiceTask,
}


def parser_of(task):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(task, "model")
    return parser


def model_section(path):
    return {"model": yaml.safe_load(path.read_text()).get("model", {})}


def build(*paths):
    """The model that the yaml files describe."""
    return build_task(*paths).model


def build_task(*paths):
    """What `fit` trains by the yaml files, later ones over earlier ones, as the command line does."""
    parser = parser_of(WorldGenerator)
    config = parser.get_defaults()
    for path in paths:
        config = parser.parse_object(model_section(path), cfg_base=config)
    torch.manual_seed(0)
    return parser.instantiate_classes(config).model


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def clip():
    return simulate_clip("collide", 3)


def loss_of(model, clip):
    latents = model.encode(clip)
    eps = torch.randn(latents.z.shape, generator=torch.Generator().manual_seed(0))
    for parameter in model.denoiser.parameters():  # adaLN-Zero hides the condition until it has trained
        torch.nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(parameter.numel()))
    for parameter in model.conditioner.parameters():  # and an adapter begins as an identity
        if parameter.requires_grad and parameter.numel():
            torch.nn.init.normal_(
                parameter, std=0.5, generator=torch.Generator().manual_seed(parameter.numel())
            )
    which, keep = torch.tensor([len(model.contexts) - 1]), torch.tensor([True])
    return model.loss(latents, which, torch.tensor([0.6]), eps, keep)


def test_the_default_experiment_takes_a_training_step(clip):
    model = build(CONFIGS / "base.yaml", CONFIGS / "size" / "nano.yaml")
    loss = loss_of(model, clip)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert model.denoiser.embed.proj.weight.grad.abs().max() > 0
    assert model.denoiser.embed.proj.in_channels == 2 * model.codec.channels + 2 + model.codec.temporal_stride


@pytest.fixture(scope="module")
def small(tmp_path_factory, vjepa2_folder, imagebind_folder):
    """A layer that puts small random encoders in the places of trained ones; and one for timm's."""
    timm = pytest.importorskip("timm")
    folder = tmp_path_factory.mktemp("small")
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), folder / "vit.safetensors")
    slots = {"video": vjepa2_folder, "multimodal": imagebind_folder}
    small = {slot: {"init_args": {"checkpoint": str(path)}} for slot, path in slots.items()}
    vit = {"video": {"init_args": {"model": "test_vit", "checkpoint": str(folder / "vit.safetensors")}}}
    for name, layer in (("small", small), ("vit", vit)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"model": {"conditioner": layer}}))
    tiny = AutoencoderTiny()
    tiny.save_pretrained(folder / "diffusers_codec")
    (folder / "taef2").mkdir()
    for part, shift in (("encoder", 0), ("decoder", 1)):  # there, saturation is no layer
        found = [(name.split(".", 2)[1:], value) for name, value in getattr(tiny, part).state_dict().items()]
        weights = {f"{int(place) + shift}.{rest}": value for (place, rest), value in found}
        torch.save(weights, folder / "taef2" / f"any_{part}.pth")
    for name, more in (("taef2", {}), ("diffusers_codec", {"subfolder": None})):
        layer = {"codec": {"init_args": {"checkpoint": str(folder / name), **more}}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"model": layer}))
    return folder


def layers(path, small):
    """The configs before ``path`` in its own command, and with it."""
    named = [ROOT / name for name in re.findall(r"-c (configs/\S+)", path.read_text().splitlines()[0])]
    before = [CONFIGS / "base.yaml", CONFIGS / "size" / "nano.yaml"]
    before += [other for other in named if other not in (*before, path) and other.parent.name != "data"]
    if any(other.stem == "perception" for other in before):
        before.append(small / "small.yaml")
    after = [*before, path, *([small / "small.yaml"] if path.stem == "perception" else [])]
    own = {"timm_video": "vit", "taef2": "taef2", "diffusers_codec": "diffusers_codec"}.get(path.stem)
    return before, after + ([small / f"{own}.yaml"] if own else [])


@pytest.fixture(scope="module")
def saved_adapter(tmp_path_factory):
    """What a fit with one bottleneck on the shipped T5 leaves behind, with weights that do something."""
    folder = tmp_path_factory.mktemp("run") / "adapters" / "text"
    encoder = T5(str(ROOT / "assets/nano/t5"), adapter=Bottleneck(name="first"))
    for parameter in encoder.trained().values():
        torch.nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(parameter.numel()))
    encoder.adapter.save(encoder.model, folder)
    return folder


@pytest.mark.parametrize("how", ["stack", "fuse"])
def test_saved_adapters_act_together(how, saved_adapter, clip, tmp_path):
    """configs/adapters_stacked.yaml with another adapter of before; and the Fuse that it names."""
    config = yaml.safe_load((CONFIGS / "adapters_stacked.yaml").read_text())
    adapter = config["model"]["conditioner"]["text"]["init_args"]["adapter"]
    adapter["init_args"]["layers"][0]["init_args"]["source"] = str(saved_adapter)
    if how == "fuse":
        saved = adapter["init_args"]["layers"][0]
        other = {**saved, "init_args": {**saved["init_args"], "name": "other"}}
        adapter.update(
            class_path="worldgen.encoders.compositions.Fuse", init_args={"members": [saved, other]}
        )
    (tmp_path / "stacked.yaml").write_text(yaml.safe_dump(config))
    paths = (CONFIGS / "base.yaml", CONFIGS / "size" / "nano.yaml")
    model = build(*paths, tmp_path / "stacked.yaml")
    text = model.conditioner.encoders[0]
    assert text.adapter.count(text.model) == sum(weight.numel() for weight in text.trained().values()) > 0
    loss = loss_of(model, clip)
    loss.sum().backward()
    learned = [weight for weight in text.trained().values() if weight.grad is not None]
    assert any(weight.grad.abs().max() > 0 for weight in learned)
    assert (loss - loss_of(build(*paths), clip)).abs().max() > 1e-3


def test_every_class_that_a_config_names_is_there():
    """In comments too: what they offer is one line away."""
    for path in (*CONFIGS.rglob("*.yaml"), *(ROOT / "experiments").rglob("*.yaml")):
        for name in re.findall(r"worldgen(?:\.\w+)+", path.read_text()):
            room, _, part = name.rpartition(".")
            assert hasattr(import_module(room), part), f"{path.name} names {name}"


@pytest.fixture(scope="module")
def losses(clip):
    """Loss by configs; many ablations begin from the same."""
    return cache(lambda paths: loss_of(build(*paths), clip).detach())


@pytest.mark.parametrize("path", [*ABLATIONS, *LAYERS], ids=lambda path: path.stem)
def test_every_ablation_is_connected(path, losses, small):
    before, after = (losses(tuple(paths)) for paths in layers(path, small))
    assert torch.isfinite(after).all()
    assert (after - before).abs().max() > 1e-3, f"{path.name} changes nothing"


def test_without_text_the_caption_says_nothing(clip):
    paths = (CONFIGS / "base.yaml", CONFIGS / "size" / "nano.yaml")
    other = replace(clip, prompts=("a red wooden ball is thrown quickly to the left",))
    for more, matters in (((), True), ((CONFIGS / "ablations" / "no_text.yaml",), False)):
        first, second = (loss_of(build(*paths, *more), one) for one in (clip, other))
        assert ((first - second).abs().max() > 0) == matters


@pytest.mark.parametrize("path", sorted((CONFIGS / "tasks").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_task_config_parses(path):
    parser = parser_of(TASKS[path.stem])
    assert parser.instantiate_classes(parser.parse_object(model_section(path))).model is not None


@pytest.mark.parametrize("path", sorted((CONFIGS / "data").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_data_config_parses(path):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(ClipDataModule, "data")
    parser.parse_object({"data": yaml.safe_load(path.read_text())["data"]})


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_yaml_opens_with_its_command_or_what_it_is(path):
    assert path.read_text().startswith("# ")


STUDIES = [path for path in sorted((ROOT / "experiments").rglob("*.yaml")) if "\narms:" in path.read_text()]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_opens_and_its_arms_are_what_fit_takes(path):
    experiment = read_experiment(path)
    assert len(experiment.arms) > 1
    for arm in experiment.arms:
        TRAININGS["fit"].check(experiment.layers(arm))


def test_a_misspelled_key_is_refused():
    with pytest.raises(Exception, match="lrr"):
        parser_of(WorldGenerator).parse_object({"model": {"lrr": 1.0}})


PHYSICS = [
    path for path in sorted((CONFIGS / "physics").glob("*.yaml")) if "regularizers:" in path.read_text()
]


@pytest.mark.parametrize("path", PHYSICS, ids=lambda path: path.stem)
def test_every_regularizer_of_a_config_is_built_and_leaves_the_denoiser_its_size(path):
    before = [
        CONFIGS / name
        for name in ("base.yaml", "size/nano.yaml", "ablations/state_latent.yaml", "physics/told.yaml")
    ]
    task = build_task(*before, path)
    names = re.findall(r"regularizers\.\w+\.(\w+Regularizer)", path.read_text())
    assert [type(one).__name__ for one in task.regularizers] == names != []
    assert task.model.denoiser.patch == (1, 1, 1) and len(task.model.denoiser.blocks) == 4
    assert isinstance(task.model.denoiser, RegisterDiT) == ("RegisterDiT" in path.read_text())
