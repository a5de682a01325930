"""The smallest study that trains: state latents, two layers, a few steps."""

from pathlib import Path

import yaml

from worldgen.data.shards.simulate import simulate_shards

ROOT = Path(__file__).resolve().parents[3]
SMALL = {
    "model.denoiser.init_args.dim": 32,
    "model.denoiser.init_args.depth": 1,
    "model.denoiser.init_args.heads": 2,
    "model.conditioner.dim": 32,
    "model.conditioner.queries": 2,
    "model.average": 0.9,
    "data.batch_size": 4,
}


def simulate(folder: Path) -> None:
    """Clips to train and to evaluate on."""
    simulate_shards(folder / "train", ("drop",), 16, seed=0, processes=1)
    simulate_shards(folder / "test", ("drop",), 5, seed=600, processes=1, held_out=True)


def declaration(data: Path, **changes: object) -> dict[str, object]:
    """What the yaml file of a study says."""
    ablations = ROOT / "configs" / "ablations"
    names = ("base.yaml", "size/nano.yaml", "ablations/state_latent.yaml")
    declared = {
        "configs": [str(ROOT / "configs" / name) for name in names],
        "options": {
            "data.train": str(data / "train"),
            "model.conditioner.text.init_args.checkpoint": str(ROOT / "assets/nano/t5"),
            **SMALL,
        },
        "arms": {
            "no_text": str(ablations / "no_text.yaml"),
            "half_data": {"options": {"data.clips": 8}},
        },
        "seeds": [0, 1],
        "budget": {"steps": 6},
        "evaluation": {"data": str(data / "test"), "clips": 4},
        "primary": "trajectory RMSE",
        "measures": ["object present"],
    }
    return {**declared, **changes}


def write(path: Path, declared: dict[str, object]) -> Path:
    path.write_text(yaml.safe_dump(declared, sort_keys=False))
    return path
