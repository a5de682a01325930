"""Who may ask: a browser page of this server or a program on this machine, and nobody through a browser.

A page of another site can make a browser send requests to loopback, or have its own name point there (DNS
rebinding). Both are told by what browsers say of a request: Host, Origin and Sec-Fetch-Site.
"""

from __future__ import annotations

import hmac
import json
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.datastructures import URL, Headers, MutableHeaders, QueryParams
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "worldgen_token"
SORRY = "The server met an error of its own, and goes on."
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer."""


def refuse(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    """An answer that says in one sentence why there is no other."""
    body = json.dumps({"error": sentence})
    return Response(body, status, headers, media_type="application/json")


class Guard:
    """Lets through what may ask, and lays the headers of safety on every answer.

    Args:
        app: What is guarded.
        port: Of the server.
        token: What each request must bring, as ``Authorization: Bearer`` or by the page's cookie; none when
            None.
    """

    def __init__(self, app: ASGIApp, port: int, token: str | None = None) -> None:
        self.app, self._token = app, token
        self._port = port
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
        if port == 80:
            self._hosts |= {"127.0.0.1", "localhost", "[::1]"}
        self._origins = {f"http://{host}" for host in self._hosts}
        self._cookie = f"{COOKIE}_{port}"  # cookies know no ports: two servers would take each other's

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        answered = False

        async def send_guarded(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        answer: Response | None = self._refusal(scope)
        if answer is None:
            try:
                await self.app(scope, receive, send_guarded)
                return
            except Exception as error:
                # Its sentence may hold what a client wrote, and logs hold none of that.
                print(f"worldgen serve: {type(error).__name__} at {scope['path'][:80]!r}.", flush=True)
                if answered:
                    return
                answer = refuse(500, SORRY)
        await answer(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            return refuse(421, f"The server is asked for as 127.0.0.1:{self._port} or localhost only.")
        if headers.get("origin", "").lower() not in self._origins | {""}:
            return refuse(403, "Pages of other sites may not ask this server.")
        site = headers.get("sec-fetch-site", "none")
        is_visit = scope["path"] == "/" and scope["method"] == "GET"
        if site not in ("none", "same-origin") and not is_visit:
            return refuse(403, "Pages of other sites may not ask this server.")
        return self._token_refusal(scope, headers)

    def _token_refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if self._token is None:
            return None
        given = headers.get("authorization", "").removeprefix("Bearer ")
        brought = QueryParams(scope["query_string"]).get("token", "")
        if scope["path"] == "/" and self._is_token(brought):
            answer = RedirectResponse(URL("/"), 303)
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
            return answer
        if self._is_token(given) or self._is_token(_cookie_of(headers, self._cookie)):
            return None
        why = "This server wants its token: open the address that it printed, or send it as a Bearer token."
        return refuse(401, why, {"WWW-Authenticate": "Bearer"})

    def _is_token(self, text: str) -> bool:
        assert self._token is not None
        return hmac.compare_digest(text.encode(), self._token.encode())


def _cookie_of(headers: Headers, name: str) -> str:
    try:
        found: Any = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value
