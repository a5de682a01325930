"""What a program that calls tools may do: simulate, generate, evaluate, ablate; described by JSON schemas.

The same queue, jobs and limits as those of the page, without a port: `worldgen serve --tools` speaks the
Model Context Protocol on its standard input and output.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

from worldgen import __version__
from worldgen.server.asks import SLOTS, Ask, ask_schema, read_ask
from worldgen.server.folder import CLIP, JobRecord
from worldgen.server.jobs import JobQueue
from worldgen.server.uploads import receive

_MOST_SENT = 20_000_000
"""Letters of base64 in a call."""
_ABOUT = {
    "simulate": "Film a simulated scene. Its clip is an upload, which the other tools take.",
    "generate": "Make a clip with a run; `runs` tells their names. Its clip is an upload, too.",
    "evaluate": "Track and judge the physics of an uploaded video: verdict, and each check with its reason.",
}


def describe_tools() -> list[dict[str, Any]]:
    """Name, description and input schema (JSON schema) of each tool."""
    tools = []
    for kind, about in _ABOUT.items():
        schema = ask_schema(kind)
        del schema["properties"]["kind"]
        schema["required"].remove("kind")
        tools.append({"name": kind, "description": about, "inputSchema": schema})
    ablated = json.loads(json.dumps(tools[1]["inputSchema"]))
    for name in ("without", "judge"):
        del ablated["properties"][name]
    ablated["properties"]["leave_out"] = {
        "type": "array", "items": {"enum": [*SLOTS]}, "minItems": 1, "uniqueItems": True,
        "description": "Conditions to leave out, each in a clip of its own.",
    }  # fmt: skip
    ablated["required"].append("leave_out")
    about = (
        "Make a clip, and the same seed without each of some conditions, and judge all: what each does. For "
        "arms that are trained, see `worldgen ablate`."
    )
    sent = {
        "name": {"type": "string", "description": "As it is called; shown, and never a path."},
        "base64": {"type": "string", "maxLength": _MOST_SENT, "description": "The file."},
    }
    return [
        *tools,
        {"name": "ablate", "description": about, "inputSchema": ablated},
        {"name": "upload", "description": "Hand over a picture or video.", "inputSchema": _object(sent)},
        {"name": "runs", "description": "Runs, studies and families of scenes.", "inputSchema": _object({})},
    ]


class Tools:
    """What the tools do, on a queue that runs."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue

    async def call(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        """What a tool gives.

        Raises:
            ValueError: It was refused or failed, and why.
            FileNotFoundError: An upload that is not there.
        """
        if name in _ABOUT:
            return await self._run(*read_ask({**given, "kind": name}))
        if name == "ablate":
            return await self._ablate(given)
        if name == "upload":
            return await self._upload(given)
        if name == "runs" and not given:
            ready = await self._ready()
            return {"runs": [*ready.runs], "studies": [*ready.studies], "families": [*ready.families]}
        raise ValueError(f"There is no tool {name[:40]!r} that takes this.")

    async def _ready(self) -> Any:
        while self._queue.ready is None:
            await asyncio.sleep(0.1)
        return self._queue.ready

    async def _run(self, kind: str, ask: Ask) -> dict[str, Any]:
        record = await asyncio.to_thread(self._queue.submit, ask, kind)
        try:
            while not record.is_over:
                await asyncio.sleep(0.05)
                record = self._queue.find(record.id)
        except asyncio.CancelledError:
            self._queue.cancel(record.id)
            raise
        if record.state != "done":
            raise ValueError(record.error or f"The job is {record.state}.")
        return await self._tell(record)

    async def _tell(self, record: JobRecord) -> dict[str, Any]:
        folder = self._queue.folder.job_folder(record.id)
        told = {"job": record.id, **record.result, "command": record.command}
        told["files"] = [str(folder / name) for name in record.files]
        if CLIP in record.files:
            name = f"{record.ask['kind']}-{record.id[:6]}.mp4"
            told["upload"] = (await self._keep((folder / CLIP).read_bytes(), name))["upload"]
        return told

    async def _ablate(self, given: dict[str, Any]) -> dict[str, Any]:
        slots = given.get("leave_out")
        if not isinstance(slots, list) or not slots or set(given) & {"without", "judge"}:
            raise ValueError("ablate must say 'leave_out', a list of conditions, and no without or judge.")
        rest = {name: value for name, value in given.items() if name != "leave_out"}
        asks = [
            read_ask({**rest, "kind": "generate", "judge": True, "without": without})
            for without in ([], *([slot] for slot in slots))
        ]
        found = [await self._run(*one) for one in asks]
        arms = ["all conditions", *(f"without {slot}" for slot in slots)]
        return {"arms": [{"arm": arm, **clip} for arm, clip in zip(arms, found, strict=True)]}

    async def _upload(self, given: dict[str, Any]) -> dict[str, Any]:
        name, text = given.get("name"), given.get("base64")
        if not isinstance(name, str) or not isinstance(text, str) or len(given) != 2:
            raise ValueError("upload must say 'name' and 'base64', both text, and nothing else.")
        if len(text) > _MOST_SENT:
            raise ValueError(
                f"'base64' must have at most {_MOST_SENT} letters; got {len(text)}. Cut the file."
            )
        try:
            content = base64.b64decode(text, validate=True)
        except binascii.Error:
            raise ValueError("'base64' must be base64; it is not.") from None
        return await self._keep(content, name)

    async def _keep(self, content: bytes, name: str) -> dict[str, Any]:
        async def come() -> AsyncIterator[bytes]:
            yield content

        kept = await receive(self._queue.folder, come(), name, self._queue.limits.upload)
        await asyncio.to_thread(self._queue.remove_uploads)
        return {"upload": kept.id, "name": kept.name, "size": kept.size}


def serve_tools(queue: JobQueue) -> None:
    """Speak the Model Context Protocol until the input ends.

    Raises:
        ValueError: The extra is not installed.
    """
    try:
        import anyio
        from mcp import types
        from mcp.server import Server
        from mcp.server.stdio import stdio_server
    except ImportError:
        raise ValueError("worldgen serve --tools needs its extra: pip install 'worldgen[tools]'") from None
    tools = Tools(queue)

    async def list_tools(_: object, __: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[types.Tool.model_validate(one) for one in describe_tools()])

    async def call_tool(_: object, asked: types.CallToolRequestParams) -> types.CallToolResult:
        try:
            found, wrong = await tools.call(asked.name, dict(asked.arguments or {})), False
        except (ValueError, OSError) as error:
            sentence = (
                str(error) if isinstance(error, ValueError) or error.errno is None else "A file is gone."
            )
            found, wrong = {"error": sentence}, True
        except Exception as error:
            found, wrong = {"error": f"The server met an error of its own ({type(error).__name__})."}, True
        text = types.TextContent(type="text", text=json.dumps(found))
        return types.CallToolResult(content=[text], structured_content=found, is_error=wrong)

    async def run() -> None:
        with os.fdopen(own, "w", encoding="utf-8") as line:
            async with stdio_server(stdout=anyio.wrap_file(line)) as (incoming, outgoing):
                await server.run(incoming, outgoing, server.create_initialization_options())

    server = Server("worldgen", version=__version__, on_list_tools=list_tools, on_call_tool=call_tool)
    # What anything prints, the process of jobs included, must not come between the messages.
    own = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    queue.start()
    try:
        anyio.run(run)
    finally:
        queue.close()


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }
