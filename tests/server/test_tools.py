"""A program over standard input and output: it simulates, generates, ablates, and is refused in sentences."""

import asyncio
import base64
import json
import os
import sys
from pathlib import Path

import pytest

from worldgen.server.folder import ServerFolder
from worldgen.server.jobs import JobQueue, ServerLimits
from worldgen.server.tools import Tools, describe_tools

ROOT = Path(__file__).resolve().parents[2]
DROP = ROOT / "assets/readme/drop.mp4"


def test_each_tool_is_described_by_a_schema():
    tools = {tool["name"]: tool["inputSchema"] for tool in describe_tools()}
    assert [*tools] == ["simulate", "generate", "evaluate", "ablate", "upload", "runs"]
    assert tools["generate"]["required"] == ["run"] and tools["evaluate"]["required"] == ["upload"]
    assert tools["ablate"]["required"] == ["run", "leave_out"] and "kind" not in str(tools)
    assert all(tool["additionalProperties"] is False for tool in tools.values())


@pytest.mark.parametrize(
    "name, given, said",
    [
        ("simulate", {"size": 10**6}, "'size' must be from 1 to 256"),
        ("generate", {"run": "/etc"}, "'run' must be one of generator"),
        ("evaluate", {"upload": "../x"}, "32 hex digits"),
        ("ablate", {"run": "generator"}, "must say 'leave_out'"),
        ("ablate", {"run": "generator", "leave_out": ["sound"]}, "'without' must be a list of text"),
        ("upload", {"name": "a.mp4", "base64": "?"}, "must be base64"),
        ("upload", {"name": "a.mp4", "base64": "aGVsbG8="}, "must be a picture or video"),
        ("upload", {"path": "/etc/passwd"}, "'name' and 'base64'"),
        ("dance", {}, "There is no tool 'dance'"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(tmp_path, name, given, said):
    tools = Tools(JobQueue(ServerFolder(tmp_path), {"generator": Path("run")}, ServerLimits()))
    with pytest.raises(ValueError, match=said):
        asyncio.run(tools.call(name, given))


def test_a_program_over_standard_input_and_output(tmp_path):
    pytest.importorskip("mcp", reason="the tools need worldgen[tools]")
    from mcp import ClientSession, StdioServerParameters, stdio_client

    words = ["-m", "worldgen", "serve", "--tools", "--out", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    server = StdioServerParameters(command=sys.executable, args=words, cwd=str(ROOT), env=environment)

    async def talk():
        async with stdio_client(server) as (incoming, outgoing), ClientSession(incoming, outgoing) as session:
            await session.initialize()

            async def call(tool, **given):
                answer = await session.call_tool(tool, given)
                return answer.is_error, json.loads(answer.content[0].text)

            names = [tool.name for tool in (await session.list_tools()).tools]
            runs = await call("runs")
            scene = await call("simulate", family="drop", seed=3)
            begun = {"run": "generator", "upload": scene[1]["upload"], "frames": 7, "steps": 1}
            arms = await call("ablate", **begun, prompt="a red ball drops", leave_out=["text"])
            sent = await call("upload", name="a.mp4", base64=base64.b64encode(DROP.read_bytes()).decode())
            judged = await call("evaluate", upload=sent[1]["upload"])
            refused = await call("generate", run="other")
            return names, runs, scene, arms, judged, refused

    names, runs, scene, arms, judged, refused = asyncio.run(talk())
    assert "ablate" in names and runs[1]["runs"][0]["name"] == "generator"
    assert Path(scene[1]["files"][0]).is_file() and "drop" in runs[1]["families"]
    told = arms[1]["arms"]
    assert [arm["arm"] for arm in told] == ["all conditions", "without text"]
    assert told[0]["sha256"] != told[1]["sha256"] and "--guidance text=0" in told[1]["command"]
    assert "checks that apply" in judged[1]["verdict"]
    assert refused == (True, {"error": "'run' must be one of generator; got 'other'."})
