"""``/ws``: what ComfyUI's clients hear of their prompts while they are drawn."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import struct
import time
from collections.abc import Iterator
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from sfumato.jobs.states import State
from sfumato.jobs.types import Event
from sfumato.server import work
from sfumato.server.api import comfy_prompts
from sfumato.server.api.comfy_prompts import Prompt, Prompts
from sfumato.server.services import Services

#: The head of a preview: the event's number, and that it is a JPEG.
_PREVIEW = struct.pack(">II", 1, 1)
#: Letters of a client's name.
MAX_CLIENT = 200
Message = dict[str, Any] | bytes


async def serve(websocket: WebSocket, services: Services, prompts: Prompts) -> None:
    """Talk to one client until it goes."""
    client = websocket.query_params.get("clientId", "")[:MAX_CLIENT] or secrets.token_hex(16)
    await websocket.accept()
    teller, closed = Teller(prompts, client), asyncio.Event()

    async def gone() -> bool:
        return closed.is_set()

    async def listen() -> None:
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass  # what clients say of themselves
        closed.set()

    listener = asyncio.create_task(listen())
    try:
        with contextlib.suppress(WebSocketDisconnect):
            async for event in work.events(services, None, gone=gone):
                for message in await asyncio.to_thread(teller.tell, event):
                    await _send(websocket, message)
    finally:
        listener.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listener
    if websocket.client_state is WebSocketState.CONNECTED:
        await websocket.close()


async def _send(websocket: WebSocket, message: Message) -> None:
    if isinstance(message, bytes):
        await websocket.send_bytes(message)
    else:
        await websocket.send_json(message)


class Teller:
    """Makes messages of events, for one client."""

    def __init__(self, prompts: Prompts, client: str) -> None:
        self._prompts, self._client = prompts, client
        self._greeted = False
        self._preview: bytes | None = None

    def tell(self, event: Event | None) -> list[Message]:
        """What to send; first of all how long the queue is."""
        if not self._greeted:
            self._greeted = True
            return [self._status(sid=self._client), *self.tell(event)]
        prompt = None if event is None else self._prompts.find(event.job)
        if event is None or prompt is None:
            return []
        ours = prompt.client == self._client
        if event.kind == "progress":
            return list(self._progress(prompt, event)) if ours else []
        return [*(self._moved(prompt, event) if ours else ()), self._status()]

    def _status(self, **more: str) -> Message:
        told = {"status": {"exec_info": {"queue_remaining": self._prompts.remaining()}}, **more}
        return {"type": "status", "data": told}

    def _progress(self, prompt: Prompt, event: Event) -> Iterator[Message]:
        now = event.progress
        if now is None:
            return
        about = {"prompt_id": prompt.id, "node": prompt.wanted.sampler}
        yield {"type": "progress", "data": {"value": now.step, "max": now.steps, **about}}
        if now.preview is not None and now.preview != self._preview:
            self._preview = now.preview
            yield _PREVIEW + now.preview

    def _moved(self, prompt: Prompt, event: Event) -> Iterator[Message]:
        def say(kind: str, **more: Any) -> Message:
            return {"type": kind, "data": {**more, "prompt_id": prompt.id}}

        wanted, now = prompt.wanted, int(1000 * time.time())
        before = wanted.order.index(wanted.sampler)
        if event.state is State.RUNNING:
            yield say("execution_start", timestamp=now)
            yield say("execution_cached", nodes=[], timestamp=now)
            for node in wanted.order[: before + 1]:
                yield say("executing", node=node, display_node=node)
        elif event.state is not None and event.state.ended and self._prompts.settle(prompt):
            if event.state is State.DONE:
                yield from self._finished(prompt, say)
                yield say("execution_success", timestamp=now)
            else:
                kind, about = comfy_prompts.failure(prompt)
                yield {"type": kind, "data": about}
            yield say("executing", node=None)

    def _finished(self, prompt: Prompt, say: Any) -> Iterator[Message]:
        wanted, made = prompt.wanted, comfy_prompts.outputs(prompt)
        for node in wanted.order[wanted.order.index(wanted.sampler) + 1 :]:
            yield say("executing", node=node, display_node=node)
            if node in made:
                yield say("executed", node=node, display_node=node, output=made[node])
