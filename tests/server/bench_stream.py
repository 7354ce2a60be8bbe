"""CPU time of the server per streamed token, engine and tokenizer left out. Run by hand:

    python tests/server/bench_stream.py [STREAMS] [TOKENS]

The server runs on uvicorn and uvloop in this process; the client is a process of its own. Each
step hands one token to every stream, as an engine does, and wakes its reader.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import uvloop
from fake_service import FakeService

from berth.server.app import create_app
from berth.server.lifecycle import Lifecycle
from berth.server.run import listen, serve
from berth.server.settings import ServerSettings
from berth.serving.models import Model, Models
from berth.serving.prompt import Prompt
from berth.serving.request import Answer, Options, Piece

STEP_SECONDS = 0.004
_CLIENT = """
import socket, sys, threading
def read():
    body = b'{"messages":[{"role":"user","content":"x"}],"prompts":["x"],"stream":true}'
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as s:
        s.sendall(b"POST %s HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\ncontent-length: %d"
                  b"\\r\\n\\r\\n" % (sys.argv[3].encode(), len(body)) + body)
        while s.recv(1 << 16): pass
threads = [threading.Thread(target=read) for _ in range(int(sys.argv[2]))]
[t.start() for t in threads]; [t.join() for t in threads]
"""


class Stepped:
    """A generation that is given one piece at a time, like serving's own."""

    prompt_tokens = 1
    cached_tokens = 0

    def __init__(self) -> None:
        self.listener: Callable[[], None] | None = None
        self.piece: Piece | None = None

    def give(self, piece: Piece) -> None:
        self.piece = piece
        if self.listener is not None:
            self.listener()

    def listen(self, listener: Callable[[], None]) -> None:
        self.listener = listener

    def take(self) -> Piece | None:
        piece, self.piece = self.piece, None
        return piece

    async def answer(self) -> Answer:
        raise NotImplementedError

    def cancel(self) -> None:
        self.piece = None


class SteppedService(FakeService):
    def __init__(self) -> None:
        super().__init__()
        self.stepped: list[Stepped] = []

    def submit(  # type: ignore[override]
        self, prompt: Prompt, options: Options, *, request_id: str
    ) -> Stepped:
        self.stepped.append(Stepped())
        return self.stepped[-1]


async def measure(path: str, streams: int, tokens: int) -> float:
    """Microseconds of CPU per token: all of this process, less what a step costs by itself."""
    service, lifecycle = SteppedService(), Lifecycle()
    settings = ServerSettings(port=0)
    app = create_app(Models([Model(service)]), settings, lifecycle=lifecycle)
    listener: socket.socket = listen("127.0.0.1", 0)

    async def nothing() -> None: ...

    server = asyncio.create_task(
        serve(app, settings, lifecycle, start=nothing, stop=nothing, listener=listener)
    )
    port = str(listener.getsockname()[1])
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CLIENT, port, str(streams), path
    )
    while len(service.stepped) < streams:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    asleep = await _cost_of_sleeping(100)
    idle = [Stepped() for _ in range(streams)]
    spent = 0.0
    for number in range(1, tokens + 1):
        piece = Piece(" token", number, "length" if number == tokens else None)
        began = time.process_time()
        for one in idle:
            one.give(piece)
        middle = time.process_time()
        for one in service.stepped:
            one.give(piece)
        await asyncio.sleep(STEP_SECONDS)
        spent += time.process_time() - middle - (middle - began) - asleep
    await client.wait()
    lifecycle.request_shutdown()
    await server
    return spent / (streams * tokens) * 1e6


async def _cost_of_sleeping(times: int) -> float:
    """CPU seconds of one step in which nothing happens."""
    began = time.process_time()
    for _ in range(times):
        await asyncio.sleep(STEP_SECONDS)
    return (time.process_time() - began) / times


def main(streams: int, tokens: int) -> None:
    for path in ("/generate", "/v1/chat/completions"):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            cost = runner.run(measure(path, streams, tokens))
        sys.stdout.write(f"{path}: {streams} streams, {cost:.1f} us of CPU per token\n")


if __name__ == "__main__":
    main(*(int(argument) for argument in (sys.argv[1:] or ["8", "500"])))
