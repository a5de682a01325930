import re
from pathlib import Path

import pytest
import yaml

from worldgen.cli.main import main
from worldgen.data.shards.simulate import simulate_shards

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    simulate_shards(folder, ("drop", "collide"), 24, size=16, frames=8, processes=1, clips_per_shard=16)
    return folder


@pytest.fixture
def words(shards: Path, tmp_path: Path) -> list[str]:
    """The arguments of a fit of a generator on object states, of two steps."""
    config = tmp_path / "config.yaml"
    codec = {"class_path": "worldgen.diffusion.state_codec.StateCodec", "init_args": {"objects": 2}}
    model = {
        "codec": codec,
        "conditioner": {"text": None, "dim": 16, "queries": 2},
        "denoiser": {"init_args": {"dim": 24, "depth": 1, "heads": 2, "patch": [1, 1, 1]}},
        "cache": str(tmp_path / "cache"),
        "sampled": 0,
    }
    logger = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": str(tmp_path)}}
    trainer = {"max_steps": 2, "logger": logger, "callbacks": [], "accelerator": "cpu"}
    data = {"train": str(shards), "batch_size": 8}
    config.write_text(yaml.safe_dump({"model": model, "data": data, "trainer": trainer}))
    return ["-c", str(ROOT / "configs/base.yaml"), "-c", str(config)]


def refused(capsys: pytest.CaptureFixture, *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_plan_fit_show_verify(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    cache = tmp_path / "cache"
    main(["cache", "plan", *words])
    plan = capsys.readouterr().out
    assert "24 clips in" in plan and "To encode: 24 clips; " in plan and "holds nothing yet" in plan
    assert not cache.exists()
    planned = {row[0]: int(row[1].replace(",", "")) for row in re.findall(r"│ (\S.*?) +│ +([\d,]+) +│", plan)}
    assert planned["Float16"] < planned["Exact"]
    main(["fit", *words])
    assert "Encoding 24 of 24 clips: " in capsys.readouterr().out
    size = sum(path.stat().st_size for path in cache.rglob("part-*"))
    assert abs(size / planned["Exact"] - 1) < 0.02
    main(["cache", "show", "--folder", str(cache)])
    shown = capsys.readouterr().out
    assert (
        "24 clips in 1 parts" in shown
        and "contexts: 1 2" in shown
        and "weights of StateCodec (codec)" in shown
    )
    main(["cache", "verify", *words, "--sample", "3"])
    assert "24 checksums agree; 3 clips computed again agree." in capsys.readouterr().out
    main(["cache", "plan", *words, "--model.codec.init_args.length", "0.25"])
    assert "24 clips; weights of StateCodec (codec) changed." in capsys.readouterr().out
    main(["cache", "plan", *words])
    plan = capsys.readouterr().out
    assert "24 of them in" in plan and "trained on" not in plan
    shards = yaml.safe_load(Path(words[-1]).read_text())["data"]["train"]
    main(["cache", "plan", *words, "--data.val", shards])
    assert "24 of 24 clips of data.val are trained on: simulate others." in capsys.readouterr().out


def test_verify_finds_what_is_wrong(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "must hold clips of" in refused(capsys, "cache", "verify", *words)
    main(["fit", *words])
    from worldgen.model import WorldModel

    encode = WorldModel.encode
    with monkeypatch.context() as patch:  # code that has changed, though its recipe has not
        patch.setattr(
            WorldModel,
            "encode",
            lambda self, clip: encode(self, clip)._replace(z=encode(self, clip).z + 0.1),
        )
        sentence = refused(capsys, "cache", "verify", *words, "--sample", "2")
    assert "2 of 2 entries of" in sentence and re.search("(drop|collide)-0000000", sentence)
    (part,) = (tmp_path / "cache").rglob("*.safetensors")
    data = bytearray(part.read_bytes())
    data[-9] ^= 4
    part.write_bytes(data)
    sentence = refused(capsys, "cache", "verify", *words)
    assert "1 of 24 entries are damaged: " in sentence and f"Delete {part.name}" in sentence


def test_bad_input_is_one_sentence(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert (
        refused(capsys, "cache", "fill")
        == "worldgen: worldgen cache has no command 'fill'; it has plan, verify, show."
    )
    assert "must hold a cache; there is none" in refused(
        capsys, "cache", "show", "--folder", str(tmp_path / "nowhere")
    )
    assert "No folder of clips at nowhere" in refused(
        capsys, "cache", "plan", *words, "--data.train", "nowhere"
    )
    assert "lrr" in refused(capsys, "cache", "plan", *words, "--model.lrr", "1")
    main(["cache", "--help"])
    assert "verify" in capsys.readouterr().out
