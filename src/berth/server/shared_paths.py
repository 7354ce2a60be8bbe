"""Paths that several dialects claim: the one key that only a shape requires decides which it is.

One table, so that what is asked of /generate or /chat can be read in one place, and a further
dialect adds an entry instead of a branch.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from fastapi import Request
from starlette.responses import Response

from berth.server.body import LARGE_BODY, decode, read_body
from berth.server.context import Server
from berth.server.dialect import Dialect, speak
from berth.server.errors import Malformed
from berth.server.routes import Operation, Routes, Shapes
from berth.serving import offload

_keys = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedShape:
    """One shape of body that a shared path takes, and what answers it."""

    key: str  # required in this shape, unknown in the others of the path
    shown: str  # how such a body begins, and its dialect: '{"prompt": "…"}, as Falcon has it'
    answer: Callable[[Server, Request, bytes], Awaitable[Response]]
    request: type[msgspec.Struct]
    response: type[msgspec.Struct]
    example: Mapping[str, object]
    stream: Shapes
    events: str


@dataclass(frozen=True, slots=True)
class _Claim:
    dialect: Dialect
    shape: SharedShape


@dataclass(slots=True)
class SharedPaths:
    """The table: a path's shapes. The first dialect of a path owns the errors before a choice."""

    _claims: dict[str, list[_Claim]] = field(default_factory=dict)
    _summaries: dict[str, str] = field(default_factory=dict)

    def add(self, path: str, summary: str, dialect: Dialect, shape: SharedShape) -> None:
        """One more shape for a path. `summary` says what the path does with it.

        Raises ValueError if another shape of the path has the same key.
        """
        claims = self._claims.setdefault(path, [])
        if shape.key in (claim.shape.key for claim in claims):
            raise ValueError(f"two shapes of {path} have the key {shape.key}")
        claims.append(_Claim(dialect, shape))
        said = self._summaries.get(path)
        self._summaries[path] = summary if said is None else f"{said} {summary}"

    def mount(self, routes: Routes, server: Server) -> None:
        """Add a route for each path."""
        for path, claims in self._claims.items():
            owner, *others = dict.fromkeys(claim.dialect for claim in claims)
            shapes = [claim.shape for claim in claims]
            answers: dict[str, Shapes] = {"application/json": [one.response for one in shapes]}
            for claim in claims:
                kind = claim.dialect.framing.media_type
                answers[kind] = (*answers.get(kind, ()), *claim.shape.stream)
            handler = _handler(server, claims)
            handler.__name__ = path.strip("/").replace("/", "_")
            handler.__doc__ = self._summaries[path]
            routes.add(
                Operation(
                    method="POST",
                    path=path,
                    handler=handler,
                    dialect=owner,
                    others=others,
                    tag=owner.name,
                    requests=[shape.request for shape in shapes],
                    example=shapes[0].example,
                    answers={200: answers},
                    statuses=[status for claim in claims for status in claim.dialect.statuses],
                    events=" ".join(dict.fromkeys(shape.events for shape in shapes)),
                )
            )


def _handler(server: Server, claims: Sequence[_Claim]) -> Callable[[Request], Awaitable[Response]]:
    async def shared(request: Request) -> Response:
        body = await read_body(server, request.scope, request.receive)
        claim = claims[0]
        if len(claims) > 1:
            shapes = [one.shape for one in claims]
            claim = claims[await offload.run(len(body) > LARGE_BODY, choose, shapes, body)]
        speak(request.scope, claim.dialect)
        answer = claim.shape.answer(server, request, body)
        del body  # it is not kept while the answer is made
        return await answer

    return shared


def choose(shapes: Sequence[SharedShape], body: bytes) -> int:
    """Which of the shapes has the key that the body has.

    Raises:
        Malformed: no JSON object, or one with none of the keys, or with more than one.
    """
    keys = decode(_keys, body)
    found = [index for index, shape in enumerate(shapes) if shape.key in keys]
    if len(found) == 1:
        return found[0]
    *others, last = [shape.shown for shape in shapes]
    fault = "one of them is required." if not found else "not both."
    if len(found) > 2:
        fault = "only one of them."
    raise Malformed(
        f"This route takes {', '.join(others)}, or {last}: {fault}",
        (),
        "value_error" if found else "missing",
    )
