"""The API answers, refuses in a sentence, and loses nothing; its queue is not started here."""

import asyncio
import json
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx", reason="starlette's test client needs it")
from starlette.testclient import TestClient

from worldgen.server.app import MOST_JSON, RATE, RATE_SECONDS, make_app
from worldgen.server.folder import ServerFolder
from worldgen.server.jobs import JobQueue, ServerLimits

ROOT = Path(__file__).resolve().parents[2]
VIDEO = (ROOT / "assets/readme/drop.mp4").read_bytes()
SIMULATE = {"kind": "simulate", "family": "drop"}
OUTSIDE = "f" * 32


def open_client(tmp_path, token=None, **limits):
    queue = JobQueue(
        ServerFolder(tmp_path), {"generator": ROOT / "assets/nano/generator"}, ServerLimits(**limits)
    )
    return TestClient(
        make_app(queue, 8765, token), base_url="http://127.0.0.1:8765", raise_server_exceptions=False
    )


@pytest.fixture
def client(tmp_path):
    return open_client(tmp_path)


def upload(client, content=VIDEO, name="drop.mp4"):
    return client.post("/api/uploads", params={"name": name}, content=content)


def test_the_page_is_whole_and_loads_nothing_from_elsewhere(client):
    page = client.get("/")
    assert page.status_code == 200 and "worldgen" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    linked = page.text + client.get("/page/page.js").text
    for name in ("page.css", "page.js", "draw.js"):
        assert f"/page/{name}" in linked
        text = client.get(f"/page/{name}").text
        own = text.replace("// ", "")
        own = own.replace('"http://www.w3.org/2000/svg"', "")  # a name that nobody fetches
        assert text and "//" not in own
    assert "http" not in page.text
    assert client.get("/page/app.py").status_code == client.get("/page/..%2fapp.py").status_code == 404


def test_a_job_is_taken_found_and_canceled(client):
    made = client.post("/api/jobs", json=SIMULATE)
    job = made.json()
    assert made.status_code == 201 and job["state"] == "waiting" and job["ahead"] == 1
    assert job["ask"] == {**SIMULATE, "seed": 0, "size": 64, "frames": 16, "fps": 25.0}
    assert client.get(made.headers["location"]).json() == job
    assert [one["id"] for one in client.get("/api/jobs").json()["jobs"]] == [job["id"]]
    assert client.post(f"/api/jobs/{job['id']}/cancel").json()["state"] == "canceled"
    events = client.get(f"/api/jobs/{job['id']}/events").text  # over: it ends
    assert json.loads(events.partition("data: ")[2])["state"] == "canceled"
    assert client.get(f"/api/jobs/{job['id']}/files/job.json").json()["state"] == "canceled"
    missing = client.get(f"/api/jobs/{job['id']}/files/clip.mp4")
    assert missing.status_code == 404 and missing.json() == {"error": "The job has no such file, or not yet."}


def test_the_same_key_is_the_same_job_also_after_a_restart(client, tmp_path):
    headers = {"Idempotency-Key": "mine"}
    job = client.post("/api/jobs", json=SIMULATE, headers=headers).json()
    assert client.post("/api/jobs", json=SIMULATE, headers=headers).json()["id"] == job["id"]
    assert client.post("/api/jobs", json={**SIMULATE, "seed": 1}, headers=headers).status_code == 409
    again = open_client(tmp_path)
    assert again.post("/api/jobs", json=SIMULATE, headers=headers).json()["id"] == job["id"]
    assert len(again.get("/api/jobs").json()["jobs"]) == 1


def test_a_full_queue_says_when_to_come_back(tmp_path):
    client = open_client(tmp_path, waiting=2)
    jobs = [client.post("/api/jobs", json=SIMULATE) for _ in range(3)]
    assert [job.status_code for job in jobs] == [201, 201, 429]
    assert int(jobs[2].headers["retry-after"]) >= 1 and "2 jobs wait already" in jobs[2].json()["error"]
    client.post(f"/api/jobs/{jobs[0].json()['id']}/cancel")
    assert client.post("/api/jobs", json=SIMULATE).status_code == 201


def test_old_jobs_make_room(tmp_path):
    client = open_client(tmp_path, kept=2)
    for _ in range(4):
        job = client.post("/api/jobs", json=SIMULATE).json()
        client.post(f"/api/jobs/{job['id']}/cancel")
    assert len(client.get("/api/jobs").json()["jobs"]) == len([*(tmp_path / "jobs").iterdir()]) == 2


def test_uploads_are_taken_by_what_is_in_them(tmp_path):
    client = open_client(tmp_path, upload=len(VIDEO))
    kept = upload(client, name="/etc/passwd").json()
    assert kept == {"id": kept["id"], "name": "passwd", "size": len(VIDEO)}
    assert upload(client, b"no video").status_code == 422
    assert upload(client, VIDEO + b"x").status_code == 413
    chunked = client.post("/api/uploads", content=iter([VIDEO, b"x"]))  # that does not say how long it is
    assert chunked.status_code == 413 and "at most" in chunked.json()["error"]
    assert len([*(tmp_path / "uploads").iterdir()]) == 2


@pytest.mark.parametrize(
    "body, status, said",
    [
        (b"{", 422, "must be JSON"),
        (b"[" * 30_000, 422, "must be JSON"),
        (b'"' + b"x" * MOST_JSON + b'"', 413, "Shorten its prompt"),
        (json.dumps({"kind": "evaluate", "upload": OUTSIDE}).encode(), 404, "Upload the file again"),
        (
            json.dumps({"kind": "generate", "upload": OUTSIDE, "run": "/etc"}).encode(),
            422,
            "must be one of generator",
        ),
    ],
)
def test_a_wrong_job_is_refused_in_a_sentence(client, body, status, said):
    answer = client.post("/api/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status and said in answer.json()["error"]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", "/nothing", 404),
        ("DELETE", "/api/jobs", 405),
        ("POST", "/api/jobs", 415),
        ("GET", f"/api/jobs/{OUTSIDE}", 404),
        ("GET", "/api/jobs/..%2f..%2fsecret", 404),
        ("GET", "/api/jobs/x/files/job.json", 422),
        ("GET", f"/api/jobs/{OUTSIDE}/events", 404),
    ],
)
def test_every_error_is_a_sentence(client, method, path, status):
    answer = client.request(method, path)
    assert answer.status_code == status and answer.json()["error"].endswith(".")


def test_an_error_of_ours_is_no_traceback(client, monkeypatch, capsys):
    def fail(_):
        raise RuntimeError("what a client wrote")

    monkeypatch.setattr(JobQueue, "list", fail)
    answer = client.get("/api/jobs")
    assert answer.status_code == 500
    assert answer.json() == {"error": "The server met an error of its own, and goes on."}
    assert client.get("/api/about").status_code == 200
    logged = capsys.readouterr().out
    assert "RuntimeError at '/api/jobs'" in logged and "wrote" not in logged


def test_jobs_that_come_too_fast_are_told_when_to_come_back(client, monkeypatch):
    assert [client.post("/api/jobs", json={}).status_code for _ in range(RATE)] == [422] * RATE
    late = client.post("/api/jobs", json=SIMULATE)
    assert late.status_code == 429 and 1 <= int(late.headers["retry-after"]) <= RATE_SECONDS
    assert f"{RATE} jobs were asked for in 10 s" in late.json()["error"]
    monkeypatch.setattr("worldgen.server.app.RATE_SECONDS", 0.0)
    assert client.post("/api/jobs", json=SIMULATE).status_code == 201


def call(app, path, pieces):
    """Status, headers and body that an application answers with to a client that sends pieces, or no more."""
    came, sent = iter(pieces), []

    async def receive():
        piece = next(came, None)
        if piece is None:
            await asyncio.sleep(60)
        return piece

    async def send(message):
        sent.append(message)

    host = (b"host", b"127.0.0.1:8765")
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [host, (b"content-type", b"application/json")], "http_version": "1.1", "scheme": "http",
        "server": ("127.0.0.1", 8765), "client": ("127.0.0.1", 1), "root_path": "", "app": None,
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(part.get("body", b"") for part in sent[1:])


HALF = {"type": "http.request", "body": VIDEO[:100], "more_body": True}


@pytest.mark.parametrize(
    "path, pieces, status, said",
    [
        ("/api/uploads", [HALF], 408, b"An upload must arrive within 0.2 s"),
        ("/api/jobs", [HALF], 408, b"A job must arrive within 0.2 s"),
        ("/api/uploads", [HALF, {"type": "http.disconnect"}], 400, b"went away"),
        ("/api/jobs", [HALF, {"type": "http.disconnect"}], 400, b"went away"),
    ],
)
def test_a_client_that_stops_or_goes_away_in_the_middle_leaves_nothing(
    tmp_path, monkeypatch, path, pieces, status, said
):
    for name in ("UPLOAD_SECONDS", "JSON_SECONDS"):
        monkeypatch.setattr(f"worldgen.server.app.{name}", 0.2)
    client = open_client(tmp_path)
    answer = call(client.app, path, pieces)
    assert answer[0] == status and said in answer[2]
    assert not [*(tmp_path / "uploads").iterdir()] and upload(client).status_code == 201


def test_uploads_that_come_together_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("worldgen.server.app.UPLOADING", 0)
    status, headers, body = call(open_client(tmp_path).app, "/api/uploads", [HALF])
    assert status == 429 and headers["retry-after"] == "2" and b"Come back in 2 s" in body


def test_what_the_server_is_and_has(client):
    about = client.get("/api/about").json()
    assert about["runs"] == ["generator"] and about["ready"] is False
    assert client.get("/api/runs").json() == {
        "runs": [{"name": "generator", "state": "not read yet"}],
        "studies": [],
    }
    assert client.get("/api/openapi.json").json()["openapi"] == "3.1.0"
