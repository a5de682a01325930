"""Every long job on every engine: the same files, from paths that are relative to the caller's folder."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from tests.data.videos import ball, write
from worldgen.data.engines.engine import Engine
from worldgen.data.engines.local import LocalEngine
from worldgen.data.engines.opening import open_engine
from worldgen.data.engines.slurm import SlurmEngine
from worldgen.data.importing.importing import import_videos
from worldgen.data.shards.simulate import simulate_shards
from worldgen.evaluation.foreign.videos import evaluate_videos
from worldgen.study.calibrate import calibrate_checks


def simulate(out: Path, engine: Engine) -> None:
    simulate_shards(out, ["drop", "collide"], 4, 16, 4, clips_per_shard=2, engine=engine)


def import_them(out: Path, engine: Engine) -> None:
    import_videos("videos", out, frames=8, engine=engine)


def calibrate(out: Path, engine: Engine) -> None:
    calibrate_checks(out, ["drop", "collide"], 1, "truth", 0, engine=engine)


def judge(out: Path, engine: Engine) -> None:
    evaluate_videos(Path("videos"), out, engine=engine)


def contents(out: Path) -> dict[str, bytes]:
    """What was made; without pages (they say the day) and findings (two copies differ in bytes)."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.suffix != ".html" and path.parent.name != "judged"
    }


def engine_of(name: str, folder: Path) -> Engine:
    if name == "slurm":  # submitit's own processes stand in for the queue
        pytest.importorskip("submitit", reason="the extra [slurm] is not installed")
        return SlurmEngine(2, folder, cluster="local")
    if name == "ray" and importlib.util.find_spec("ray") is None:
        pytest.skip("needs worldgen[ray]")
    return open_engine(name, 2)


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for number in range(3):
        write(tmp_path / "videos" / f"ball{number}.mp4", list(ball(48 + 4 * number, width=128))[::4])
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"not a video" * 99)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_recordings_are_the_same_bytes_in_pieces(there: Path) -> None:
    class OneByOne(Engine):
        def run(self, work, tasks):
            return ((task, work(task)) for task in tasks)

    import_them(Path("here"), LocalEngine(1))
    import_them(Path("pieces"), OneByOne(2))
    assert contents(there / "pieces") == contents(there / "here") and len(contents(there / "here")) > 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["processes", "ray", "slurm"])
@pytest.mark.parametrize("job", [simulate, import_them, calibrate, judge])
def test_every_engine_makes_the_same_files(job, name: str, there: Path) -> None:
    engine = engine_of(name, there / "jobs")
    job(Path("out"), open_engine("local", None))
    shutil.move(there / "out", there / "local")
    try:
        job(Path("out"), engine)
    except ConnectionError as error:  # Ray's helpers have 15 s to come up
        pytest.skip(str(error))
    assert contents(there / "out") == contents(there / "local")
    assert len(contents(there / "local")) > 2
