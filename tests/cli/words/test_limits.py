"""Numbers that cannot be meant are refused by name, in options and in keys of yaml."""

import ast
import re
from pathlib import Path

import pytest

from worldgen.cli.train import CACHES, PARTS, TRAININGS
from worldgen.cli.words.limits import KEYS, LIMITS, limits_of, require_within
from worldgen.cli.words.source import read_module, signature

ROOT = Path(__file__).resolve().parents[3]
BASE = ["-c", str(ROOT / "configs/base.yaml"), "-c", str(ROOT / "configs/size/nano.yaml")]
ROOMS = ("tasks", "diffusion", "encoders", "conditioning.py", "model.py", "physics/ball_forecast.py")
DATA = ("trajectories", "datamodule", "captions", "transforms", "cache/precision")
NOT_YAMLS = {
    "Known",
    "WeightAverage",
    "Block",
    "CrossAttention",
    "ImageBindConfig",
    "Positions",
    "Size",
}
"""Classes that other classes build."""
OF_OTHERS = {"both", "context_channels", "condition_dim", "contexts", "last", "outputs"}
"""What the model fills in, and shares that it checks itself."""


@pytest.mark.parametrize("limits", [(0, 1), (-2.5, 1e9)])
def test_a_number_within_its_limits_passes_and_no_other(limits: tuple[float, float]) -> None:
    for value in limits:
        require_within(value, limits, "--x")
    for value in (limits[0] - 1e-6, limits[1] + 1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"^--x must be from .* to .*; got "):
            require_within(value, limits, "--x")


@pytest.mark.parametrize(
    "words",
    [
        "--model.sampler.steps 0",
        "--model.sampler.guidance -1",
        "--model.sampler.guidance.text -2",
        "--data.batch_size 0",
        "--data.workers -1",
        "--data.clips 0",
        "--data.noise.init_args.read -1",
        "--model.denoiser.init_args.dim -32",
        "--model.denoiser.init_args.depth 0",
        "--model.denoiser.init_args.patch [1,0,2]",
        "--model.process.init_args.shift 0",
        "--model.process.shift nan",
        "--model.lr .inf",
        "--model.lr -.inf",
        "--model.average 1",
        "--model.sampled -1",
        "--model.conditioner.drop 1.5",
        "--model.conditioner.queries 0",
        "--model.conditioner.text.init_args.length 0",
        "--seed_everything -1",
        "--trainer.max_steps -7",
        "--trainer.gradient_clip_val -1",
    ],
)
def test_a_number_that_cannot_be_meant_is_refused_by_its_name(words: str) -> None:
    name, value = words.split()
    with pytest.raises(ValueError, match=f"^{re.escape(name)}(: [a-z.]+)? must be from .* to .*; got "):
        TRAININGS["fit"].check([*BASE, name, value])


def test_numbers_of_yaml_are_refused_with_the_file_and_in_sections(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    for text, name in (
        ("model: {sampler: {steps: -3}}", "model.sampler.steps"),
        ("model: {conditioner: {slot_drop: {text: 2}}}", "model.conditioner.slot_drop"),
        ("model: {denoiser: {init_args: {heads: 0}}}", "model.denoiser.heads"),
        ("seed_everything: -4", "seed_everything"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=rf"^{file}: {re.escape(name)} must be from"):
            TRAININGS["fit"].check([*BASE, "-c", str(file)])
    with pytest.raises(ValueError, match=r"^--model: model\.lr must be from"):
        TRAININGS["fit"].check([*BASE, "--model", "{lr: -1}"])


@pytest.mark.parametrize(
    "part, words",
    [("codec", "--model.kl -1"), ("vjepa", "--model.tubelet 0"), ("t5", "--data.batch_size 0")],
)
def test_parts_have_limits_too(part: str, words: str) -> None:
    name, value = words.split()
    with pytest.raises(ValueError, match=f"^{name} must be from"):
        PARTS[part].check(["-c", str(ROOT / f"configs/tasks/{part}.yaml"), name, value])


@pytest.mark.parametrize("words", ["--sample -1", "--sample 0", "--tolerance nan", "--tolerance -1"])
def test_what_verifies_a_cache_has_limits(words: str) -> None:
    name, value = words.split()
    with pytest.raises(ValueError, match=f"^{name} must be from"):
        CACHES["verify"].check([*BASE, name, value])


def test_what_can_be_meant_passes() -> None:
    meant = "--model.warmup 0 --trainer.max_steps -1 --seed_everything true --data.workers 0 --model.lr 0"
    meant += " --model.sampler.guidance {text:2.0} --trainer.limit_train_batches 0.5 --data.size null"
    TRAININGS["fit"].check([*BASE, *meant.split()])


def test_every_number_that_yaml_sets_has_limits() -> None:
    """A new one is thought about once."""
    package = ROOT / "worldgen"
    files = [path for room in ROOMS for path in [package / room, *(package / room).rglob("*.py")]]
    files = [path for path in files if path.is_file()] + [package / "data" / f"{name}.py" for name in DATA]
    looked_at = set()
    for path in files:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        module = read_module(name)
        assert module is not None
        for one, definition in module.defined.items():
            if not isinstance(definition, ast.ClassDef) or one.startswith("_") or one in NOT_YAMLS:
                continue
            known = signature(f"{name}.{one}")
            for key, parameter in known.parameters.items() if known else ():
                if re.fullmatch(r"[a-z, |\[\]]*\b(int|float)\b[a-zN, |\[\]]*", parameter.annotation):
                    assert key in OF_OTHERS or limits_of(f"{name}.{one}", key), f"{one}.{key}"
                    looked_at.add(key)
    shared = {name for name in KEYS if "." not in name} - looked_at
    assert len(looked_at) > 40 and shared <= {
        "sample",
        "seed_everything",
        "test_clips",
        "tolerance",
        "train_clips",
        *LIMITS,
    }
