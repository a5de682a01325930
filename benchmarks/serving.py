"""What `worldgen serve` takes: many clients at once while jobs run, and a clip against other ways to make it.

    python benchmarks/serving.py load    # 50 clients for 2 minutes: lost or doubled, memory, p95 of the page
    python benchmarks/serving.py paint   # from the command to the first paint in Chromium
    python benchmarks/serving.py clips   # ten clips in a row: by the server, by the function, by the command

Times are of one run on one machine, side by side.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUN = ROOT / "assets/nano/generator"
DROP = ROOT / "assets/readme/drop.mp4"
PROMPT = "a red ball drops"


@contextmanager
def serving(out: str) -> Iterator[tuple[subprocess.Popen, str]]:
    words = [sys.executable, "-m", "worldgen", "serve", "--port", "0", "--no-browser", "--out", out]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process, process.stdout.readline().split()[0]
    finally:
        process.kill()
        process.wait()


async def ask(port: int, method: str, path: str, body: bytes = b"", key: str = "") -> tuple[int, dict, bytes]:
    """One request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
    head += (
        f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\n"
        + (f"Idempotency-Key: {key}\r\n" if key else "")
        + "\r\n"
    )
    writer.write(head.encode() + body)
    answer = await reader.read()
    writer.close()
    top, _, content = answer.partition(b"\r\n\r\n")
    lines = top.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, content


def memory(pid: int) -> float:
    """MB of the server's own process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


async def load(clients: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as out, serving(out) as (process, address):
        port, begun = int(address.rstrip("/").rpartition(":")[2]), time.monotonic()
        pages, asked, refused, memories = [], {}, 0, []

        async def client(number: int) -> None:
            nonlocal refused
            draw, count = random.Random(number), 0
            while time.monotonic() - begun < seconds:
                at = time.monotonic()
                status, _, _ = await ask(port, "GET", "/")
                pages.append(time.monotonic() - at)
                assert status == 200, status
                key = f"{number}-{count}"
                body = json.dumps({"kind": "simulate", "seed": number, "size": 32, "frames": 8}).encode()
                while time.monotonic() - begun < seconds:
                    status, headers, content = await ask(port, "POST", "/api/jobs", body, key)
                    if status == 429:
                        refused += 1
                        await asyncio.sleep(float(headers["retry-after"]) * draw.uniform(0.5, 1.5))
                        continue
                    assert status == 201, (status, content)
                    asked.setdefault(key, set()).add(json.loads(content)["id"])
                    again = await ask(port, "POST", "/api/jobs", body, key)  # sent twice: the same job
                    if again[0] == 201:
                        asked[key].add(json.loads(again[2])["id"])
                    break
                count += 1
                await asyncio.sleep(draw.uniform(0.5, 1.5))

        async def watch() -> None:
            while time.monotonic() - begun < seconds:
                memories.append(memory(process.pid))
                await asyncio.sleep(1)

        while not json.loads((await ask(port, "GET", "/api/about"))[2])["ready"]:
            await asyncio.sleep(0.2)
        begun = time.monotonic()
        await asyncio.gather(watch(), *(client(number) for number in range(clients)))
        states: dict[str, int] = {}
        ids = {name for names in asked.values() for name in names}
        for name in ids:
            for _ in range(600):
                status, _, content = await ask(port, "GET", f"/api/jobs/{name}")
                state = json.loads(content).get("state", str(status))
                if state not in ("waiting", "running"):
                    break
                await asyncio.sleep(0.2)
            states[state] = states.get(state, 0) + 1
        third = len(memories) // 3
        print(f"{clients} clients, {seconds:g} s: {len(pages)} pages, {len(ids)} jobs, {refused} times 429")
        print(f"jobs at the end: {states}; keys with two jobs: {sum(len(one) > 1 for one in asked.values())}")
        print(f"page: median {1e3 * statistics.median(pages):.0f} ms, p95 {1e3 * p95(pages):.0f} ms")
        print(
            f"memory of the server: {statistics.mean(memories[:third]):.0f} MB in the first third, "
            f"{statistics.mean(memories[-third:]):.0f} MB in the last"
        )


def p95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * len(values))]


def paint() -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play, tempfile.TemporaryDirectory() as out:
        page = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        ).new_page()
        page.goto("about:blank")  # the browser is open, as a person's is
        begun = time.monotonic()
        with serving(out) as (_, address):
            page.goto(address, wait_until="commit")
            page.locator("#go").wait_for()
            told = "performance.getEntriesByName('first-contentful-paint').length"
            while not page.evaluate(told):
                page.wait_for_timeout(5)
            print(f"from the command to the first paint: {time.monotonic() - begun:.2f} s")


def clips(count: int) -> None:
    from worldgen.generation.generate import generate_by
    from worldgen.generation.request import Request, Shape
    from worldgen.runs.folder import open_run
    from worldgen.server.asks import GenerateAsk
    from worldgen.server.client import ServerClient

    with tempfile.TemporaryDirectory() as out, serving(f"{out}/server") as (_, address):
        client, model = ServerClient(address), open_run(RUN)
        upload = client.upload(DROP)
        took: dict[str, list[float]] = {"server": [], "function": [], "command": []}
        client.wait(client.generate(GenerateAsk("generator", upload, PROMPT)))
        for seed in range(count):
            begun = time.perf_counter()
            client.wait(client.generate(GenerateAsk("generator", upload, PROMPT, seed)))
            took["server"].append(time.perf_counter() - begun)
            begun = time.perf_counter()
            asked = Request(RUN, [PROMPT], DROP, seed, shape=Shape(16))
            generate_by(model, asked, Path(out) / "function.mp4", lambda _: None)
            took["function"].append(time.perf_counter() - begun)
        for seed in range(count):
            begun = time.perf_counter()
            words = [sys.executable, "-m", "worldgen", "generate", str(RUN), "--prompt", PROMPT]
            words += ["--first-frames", str(DROP), "--seed", str(seed), "--out", f"{out}/command.mp4"]
            subprocess.run(words, check=True, capture_output=True, cwd=ROOT)
            took["command"].append(time.perf_counter() - begun)
    medians = {name: statistics.median(times) for name, times in took.items()}
    print("seconds per clip, median of", count, {name: round(value, 3) for name, value in medians.items()})
    print(f"server / function {medians['server'] / medians['function']:.2f}")
    print(f"server / command {medians['server'] / medians['command']:.3f}")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("load", "paint", "clips"))
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--count", type=int, default=10)
    given = parser.parse_args()
    if given.what == "load":
        asyncio.run(load(given.clients, given.seconds))
    elif given.what == "paint":
        paint()
    else:
        clips(given.count)
