"""Whether one client's body holds up the others: `python -m benchmarks.bodies`.

While one stream runs and /livez is asked all the time, the worst bodies that are known arrive one
after another. Printed of each: the answer, the slowest /livez and the longest gap of the stream.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import click

from benchmarks.soak.server import Server, serving
from benchmarks.soak.streams import Call, Reply, ask
from berth.cli.http_client import ClientError, Target, send

_SIZE = 15_500_000
# A path, what the body begins with, what is repeated, and its end.
_BODIES: dict[str, tuple[str, bytes, bytes, bytes]] = {
    "one-token prompts": ("/v1/completions", b'{"prompt":[', b"[1],", b"[1]]}"),
    "empty prompts": ("/v1/completions", b'{"prompt":[', b'"",', b'""]}'),
    "token ids": ("/v1/completions", b'{"prompt":[', b"1,", b"1]}"),
    "escaped text": ("/v1/completions", b'{"prompt":"', b"\\u00e9", b'"}'),
    "plain text": ("/v1/completions", b'{"prompt":"', b"word ", b'"}'),
    "logit biases": ("/v1/completions", b'{"prompt":"a","logit_bias":{', b'"1":1,', b'"2":1}}'),
    "user messages": (
        "/v1/chat/completions", b'{"messages":[', b'{"role":"user","content":""},',
        b'{"role":"user","content":"a"}]}',
    ),
    "alternating messages": (
        "/v1/chat/completions", b'{"messages":[',
        b'{"role":"user","content":""},{"role":"assistant","content":""},',
        b'{"role":"user","content":"a"}]}',
    ),
    "content parts": (
        "/v1/chat/completions", b'{"messages":[{"role":"user","content":[',
        b'{"type":"text","text":"a"},', b'{"type":"text","text":"a"}]}]}',
    ),
    "unknown parameters": (
        "/generate", b'{"prompts":["a"],"parameters":{', b'"k":0,', b'"max_gen_len":1}}'
    ),
    "dialogs": (
        "/chat", b'{"input_data":{"input_string":[', b'[{"role":"user","content":""}],',
        b'[{"role":"user","content":"a"}]]}}',
    ),
    "a model's name": ("/v1/completions", b'{"prompt":"a","model":"', b"m", b'"}'),
    "brackets": ("/generate", b'{"prompts":', b"[", b""),
}  # fmt: skip


def _body(name: str, size: int) -> bytes:
    _, start, repeated, end = _BODIES[name]
    return start + repeated * ((size - len(start) - len(end)) // len(repeated)) + end


async def _post(target: Target, path: str, body: bytes) -> str:
    try:
        async with send(target, "POST", path, body=body) as answer:
            return f"{answer.status} {(await answer.read())[:70].decode(errors='replace')}"
    except ClientError as error:
        return str(error)


async def _watch(target: Target, worst: list[float], stop: asyncio.Event) -> None:
    while not stop.is_set():
        began = time.perf_counter()
        async with send(target, "GET", "/livez") as answer:
            await answer.read()
        worst[0] = max(worst[0], time.perf_counter() - began)


async def _measure(server: Server, name: str, size: int) -> tuple[str, float, float]:
    stop, livez = asyncio.Event(), [0.0]
    stream = Reply([""])
    call = Call(
        path="/v1/completions",
        body={"prompt": "a", "max_tokens": 400, "ignore_eos": True, "stream": True},
    )
    streaming = asyncio.create_task(ask(server.target, call, stream))
    watching = asyncio.create_task(_watch(server.target, livez, stop))
    while stream.events < 3:  # noqa: ASYNC110  (the stream's reader has no event to wait for)
        await asyncio.sleep(0.01)
    stream.longest_gap = livez[0] = 0.0
    # In a thread: this process must not hold up its own clock while it makes the body.
    body = await asyncio.to_thread(_body, name, size)
    said = await _post(server.target, _BODIES[name][0], body)
    stop.set()
    await watching
    gap = stream.longest_gap
    streaming.cancel()
    await asyncio.gather(streaming, return_exceptions=True)
    return said, livez[0], gap


@click.command()
@click.option("--model", help="A folder or preset. [default: the built-in model]")
def main(model: str | None) -> None:
    """Print, for each body at its full size and at the largest size that is read, what it cost."""
    log = Path(tempfile.mkdtemp(prefix="berth-bodies-")) / "server.log"
    with serving(model or "", (), log) as server:
        worst_livez = worst_gap = 0.0
        for size in (_SIZE, 4_000_000, 1_000_000):
            for name in _BODIES:
                said, livez, gap = asyncio.run(_measure(server, name, size))
                worst_livez, worst_gap = max(worst_livez, livez), max(worst_gap, gap)
                click.echo(
                    f"{size / 1e6:5.1f} MB  {name:<22} /livez {1000 * livez:6.1f} ms  "
                    f"stream {1000 * gap:6.1f} ms  {said}"
                )
        click.echo(f"worst: /livez {1000 * worst_livez:.1f} ms, stream {1000 * worst_gap:.1f} ms")


if __name__ == "__main__":
    main()
