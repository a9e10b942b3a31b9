"""An agent makes a piece, writes a passage of it anew and fetches it, by the Model Context Protocol."""

from __future__ import annotations

import ast
import base64
from typing import Any

import anyio
import pytest

from musicgen.app.web.guard import OwnRoutes
from musicgen.data_prep import read_midi

pytestmark = pytest.mark.slow
MCP = "gradio_api/mcp"


def taken(answer: Any) -> str:
    """The MIDI file of the take in an answer, which Gradio writes as Python does."""
    return str(ast.literal_eval(answer.content[0].text)["takes"][0]["midi"])


async def talk(url: str) -> Any:
    """Its tools, and what they gave."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async with (
        streamable_http_client(f"{url}/{MCP}") as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        made: Any = await session.call_tool("make", {"prime": "bach", "prime_to": 5, "seconds": 3, "seed": 7})
        midi = taken(made)
        filled = await session.call_tool("fill", {"piece": midi, "start": 2, "stop": 4})
        refused = await session.call_tool("make", {"seconds": -1})
        return tools, made, filled, refused


def test_an_agent_makes_fills_and_fetches(site: Any) -> None:
    tools, made, filled, refused = anyio.run(talk, site.url)
    assert {"make", "fill", "accompany", "score", "sound", "about"} <= tools.keys()
    schema = tools["fill"].inputSchema["properties"]
    assert "Second at which the passage begins" in schema["start"]["description"]
    first, second = taken(made), taken(filled)
    notes, anew = (read_midi(base64.b64decode(midi))[0] for midi in (first, second))
    assert len(notes) > 20 and len(anew) > 20 and first != second
    assert refused.isError and "seconds" in refused.content[0].text


def test_agents_are_let_in_only_where_that_is_asked_for() -> None:
    answers = []

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        answers.append("let in")

    async def nothing() -> Any:
        return {"type": "http.request"}

    async def told(message: Any) -> None:
        answers.append(message.get("status"))

    scope = {"type": "http", "method": "POST", "path": f"/{MCP}", "headers": []}
    anyio.run(OwnRoutes(behind), scope, nothing, told)
    anyio.run(OwnRoutes(behind, agents=True), scope, nothing, told)
    assert answers[0] == 403 and answers[-1] == "let in"
