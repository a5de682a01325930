"""Nobody asks through a browser but the page itself, and nobody without the token."""

import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx", reason="starlette's test client needs it")
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from worldgen.server.guard import Guard


def open_client(token=None):
    guard = Guard(PlainTextResponse("in"), 8765, token)
    return TestClient(guard, base_url="http://127.0.0.1:8765", follow_redirects=False)


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "LOCALHOST:8765", "[::1]:8765"])
def test_the_servers_own_names_are_answered(host):
    answer = open_client().get("/x", headers={"Host": host, "Origin": f"http://{host}"})
    assert answer.text == "in" and answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "host", ["evil.example:8765", "127.0.0.1", "127.0.0.1:80", "127.0.0.1.evil.example:8765", ""]
)
def test_a_foreign_name_is_refused(host):
    answer = open_client().get("/x", headers={"Host": host})
    assert answer.status_code == 421 and "localhost only" in answer.json()["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:8765"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_of_others_are_refused(headers):
    answer = open_client().post("/x", headers=headers)
    assert answer.status_code == 403 and answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_a_link_from_elsewhere_opens_the_page():
    assert open_client().get("/", headers={"Sec-Fetch-Site": "cross-site"}).text == "in"


def test_without_the_token_nobody_is_answered():
    client = open_client("secret")
    assert client.get("/").status_code == client.get("/?token=wrong").status_code == 401
    assert client.get("/x?token=secret").status_code == 401
    assert client.get("/x", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/x", headers={"Authorization": "Bearer secret"}).text == "in"
    opened = client.get("/?token=secret")
    assert opened.status_code == 303 and opened.headers["location"] == "/"
    assert "HttpOnly" in opened.headers["set-cookie"] and "SameSite=strict" in opened.headers["set-cookie"]
    assert client.get("/x").text == "in"  # by its cookie
