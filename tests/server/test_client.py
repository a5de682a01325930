"""A real server in a process of its own, with the shipped model, asked by the client in Python."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("uvicorn")
from worldgen.data.media import read_video
from worldgen.server.asks import GenerateAsk, SimulateAsk
from worldgen.server.client import ServerClient, ServerRefused

ROOT = Path(__file__).resolve().parents[2]
DROP = ROOT / "assets/readme/drop.mp4"


@contextmanager
def server(out, *words):
    words = [
        sys.executable,
        "-m",
        "worldgen",
        "serve",
        "--port",
        "0",
        "--no-browser",
        "--out",
        str(out),
        *words,
    ]
    process = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        yield process, process.stdout.readline().split()[0].partition("?")[0]
    finally:
        process.kill()
        process.wait()


def test_a_clip_is_made_and_outlives_the_server(tmp_path):
    with server(tmp_path, "--token", "secret") as (process, address):
        with pytest.raises(ServerRefused, match="wants its token") as refused:
            ServerClient(address).simulate(SimulateAsk())
        assert refused.value.status == 401
        client = ServerClient(address, "secret")
        with pytest.raises(ServerRefused, match="must be a picture or video"):
            client.upload(ROOT / "README.md")
        upload = client.upload(DROP)
        asked = GenerateAsk("generator", upload, "a red ball drops", frames=4)
        job = client.generate(asked, key="mine")
        assert client.generate(asked, key="mine").id == job.id
        told = [*client.follow(job)]
        assert told[-1].state == "done" and told[-1].step == told[-1].steps > 0
        client.download(told[-1], "clip.mp4", tmp_path / "clip.mp4")
        assert len(read_video(tmp_path / "clip.mp4")[0]) == 4
        unwanted = client.generate(GenerateAsk("generator", upload, frames=4))
        assert client.cancel(unwanted).is_over or [*client.follow(unwanted)][-1].state == "canceled"
        running = client.generate(GenerateAsk("generator", upload, frames=16))
        next(one for one in client.follow(running) if one.state == "running")
        process.send_signal(signal.SIGKILL)
        process.wait()
    with server(tmp_path) as (_, address):
        client = ServerClient(address)
        assert client.job(job.id).files == ("clip.mp4", "clip.json")
        with pytest.raises(ServerRefused, match="ended while this job ran"):
            client.wait(running)
    with pytest.raises(ConnectionError, match="Start `worldgen serve`"):
        client.job(job.id)
