"""The OpenAPI document of an app's routes, from the structs that parse and render."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from fastapi import FastAPI

from berth.server.auth import OPEN_PATHS
from berth.server.dialect import EVENTS, LINES
from berth.server.routes import Operation, Routes, Shape, Shapes
from berth.server.schema import Limits, Schema, components, resolved

_PHRASES = {
    200: "OK",
    400: "The request is invalid; the message names the field",
    401: "No valid key",
    403: "Not allowed from there",
    404: "No such model",
    408: "The request took too long and was cancelled",
    413: "The body is too large",
    415: "The body's Content-Encoding is not supported",
    422: "The body is not of this route's shape",
    429: "The queue is full, or a limit of the key is reached; Retry-After says when to try again",
    431: "The request's headers are too large",
    500: "The server failed",
    503: "Not ready; Retry-After says when to try again",
}
# Whatever a route does, a request may be broken HTTP, for another host, or meet a fault of ours.
_EVERYWHERE = (400, 403, 408, 431, 500)
_WITH_A_BODY = (413, 415, 429)
# Answered before there is a route, in plain text: the head was late, too large, or no HTTP.
_OF_THE_HEAD = (400, 408, 431)
_STREAMS = (EVENTS.media_type, LINES.media_type)
_TEXT = {"type": "string"}
_PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")


def install(app: FastAPI, routes: Routes, limits: Callable[[], Limits]) -> None:
    """Make this the app's own document, of the routes that there are now.

    `limits` are asked each time that it is read, and only they are filled in then.
    """
    page = document(app, routes.operations)
    cached = lru_cache(maxsize=4)(lambda now: resolved(page, now))
    app.openapi = lambda: cached(limits())  # type: ignore[method-assign]  # FastAPI's way


def document(app: FastAPI, operations: Sequence[Operation]) -> dict[str, Any]:
    """The document of these operations, its bounds still by name."""
    structs = dict.fromkeys(one for operation in operations for one in _structs(operation))
    refs, definitions = components(tuple(structs))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = _PARAMETER.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, refs)
    return {
        "openapi": "3.1.0",
        "info": {"title": app.title, "version": app.version, "description": app.description},
        "paths": paths,
        "components": {
            "schemas": dict(sorted(definitions.items())),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],  # a server without keys asks for none
    }


def _structs(operation: Operation) -> Iterator[type[msgspec.Struct]]:
    shapes: list[Shape] = [*operation.requests]
    for dialect in (operation.dialect, *operation.others):
        shapes += dialect.error_shapes.values()
    for media in operation.answers.values():
        shapes += [shape for some in media.values() for shape in some]
    for shape in shapes:
        if isinstance(shape, type):
            yield shape


_Refs = Mapping[type[msgspec.Struct], Any]


def _operation(operation: Operation, refs: _Refs) -> dict[str, Any]:
    text = inspect.getdoc(operation.handler) or ""
    slug = re.sub(r"\W+", "_", operation.path).strip("_")
    told: dict[str, Any] = {
        "tags": [operation.tag],
        "summary": operation.handler.__name__.replace("_", " ").capitalize(),
        "description": text,
        "operationId": f"{operation.handler.__name__}_{slug}_{operation.method.lower()}",
        "responses": _responses(operation, refs),
    }
    if names := _PARAMETER.findall(operation.path):
        told["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ]
    if operation.requests:
        media: dict[str, Any] = {"schema": _one_of(operation.requests, refs, "oneOf")}
        if operation.example is not None:
            media["example"] = dict(operation.example)
        told["requestBody"] = {"required": True, "content": {"application/json": media}}
    return told


def _responses(operation: Operation, refs: _Refs) -> dict[str, Any]:
    answers = {status: dict(media) for status, media in operation.answers.items()}
    for status in _statuses(operation):
        media = answers.setdefault(status, {})
        if status in _OF_THE_HEAD:
            media["text/plain"] = (_TEXT,)
        if status == 431 or (status == 408 and not operation.requests):
            continue
        errors = [
            dialect.error_shapes.get(status, dialect.error_shapes[None])
            for dialect in (operation.dialect, *operation.others)
        ]
        media["application/json"] = (*media.get("application/json", ()), *errors)
    return {
        str(status): {
            "description": _PHRASES[status],
            "content": {
                kind: _media(kind, shapes, operation, refs) for kind, shapes in media.items()
            },
        }
        for status, media in sorted(answers.items())
    }


def _statuses(operation: Operation) -> set[int]:
    """Of the errors that the route may answer, beside what its own answers tell."""
    found = {*_EVERYWHERE, *operation.statuses}
    if operation.method != "GET":
        found |= {401, 429, 503}  # a drain refuses calls
    elif operation.path not in OPEN_PATHS:
        found |= {401, 429, 503}  # a key may have limits, and its database may be out of reach
    if operation.requests:
        found.update(_WITH_A_BODY)
    return found


def _media(kind: str, shapes: Shapes, operation: Operation, refs: _Refs) -> dict[str, Any]:
    """Before OpenAPI 3.2 the schema of a stream is that of each of its messages."""
    if kind == EVENTS.media_type:
        structs = [shape for shape in shapes if isinstance(shape, type)]
        words = [shape for shape in shapes if not isinstance(shape, type)]
        parsed = {"contentMediaType": "application/json",
                  "contentSchema": _one_of(structs, refs, "anyOf")}  # fmt: skip
        data: dict[str, Any] = {"type": "string", "anyOf": _once([parsed, *words])}
        schema = {"type": "object", "properties": {"data": data}, "required": ["data"]}
    else:
        schema = _one_of(shapes, refs, "anyOf")
    if kind in _STREAMS and operation.events is not None:
        schema = {"description": operation.events, **schema}
    return {"schema": schema}


def _one_of(shapes: Shapes, refs: _Refs, several: str) -> dict[str, Any]:
    schemas = _once([refs[shape] if isinstance(shape, type) else shape for shape in shapes])
    return dict(schemas[0]) if len(schemas) == 1 else {several: schemas}


def _once(schemas: Sequence[Schema]) -> list[Schema]:
    return [one for place, one in enumerate(schemas) if one not in schemas[:place]]
