"""The app's routes: mounted, documented, and each with the dialect that it belongs to."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec
from fastapi import FastAPI
from starlette.responses import Response

from berth.server.dialect import PLAIN, Dialect
from berth.server.schema import Schema

if TYPE_CHECKING:
    from berth.server.shared_paths import SharedPaths, SharedShape

Handler = Callable[..., Awaitable[Response]]
Shape = type[msgspec.Struct] | Schema
Shapes = Sequence[Shape]  # any one of these


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path, as the OpenAPI document describes it."""

    method: str
    path: str
    handler: Handler
    dialect: Dialect  # that it answers errors in
    others: Sequence[Dialect] = ()  # which answer some of its bodies
    tag: str
    requests: Shapes = ()
    example: Mapping[str, object] | None = None
    # By status and media type.
    answers: Mapping[int, Mapping[str, Shapes]]
    # Statuses of errors beside those that every such route has.
    statuses: Sequence[int] = ()
    events: str | None = None  # what a stream's messages are, in words


@dataclass(slots=True)
class Routes:
    """All routes of one app. `dialects` explain what no route has, by their prefixes."""

    app: FastAPI
    shared: SharedPaths
    dialects: Sequence[Dialect] = ()
    operations: list[Operation] = field(default_factory=list)
    _of_path: dict[str, Dialect] = field(default_factory=dict)
    _patterns: list[tuple[re.Pattern[str], Dialect]] = field(default_factory=list)

    def within(self, dialect: Dialect) -> Mount:
        """Where `dialect` adds its routes."""
        return Mount(self, dialect)

    def add(self, operation: Operation) -> None:
        """Mount one. A route of no dialect answers errors as an unknown path there would."""
        path = operation.path
        if operation.dialect is PLAIN:
            operation = replace(operation, dialect=self._by_prefix(path))
        self.app.add_api_route(
            path,
            operation.handler,
            methods=[operation.method],
            response_model=None,
            include_in_schema=False,  # FastAPI's own document knows no msgspec; see openapi_page
        )
        self.operations.append(operation)
        if "{" in path:
            pattern = re.compile(re.sub(r"\\{\w+(:path)?\\}", ".+", re.escape(path)))
            self._patterns.append((pattern, operation.dialect))
        else:
            self._of_path[path] = operation.dialect

    def dialect_of(self, path: str) -> Dialect:
        """The dialect of the route that has this path; without a route, the prefix's."""
        dialect = self._of_path.get(path)
        if dialect is not None:
            return dialect
        for pattern, one in self._patterns:
            if pattern.fullmatch(path):
                return one
        return self._by_prefix(path)

    def _by_prefix(self, path: str) -> Dialect:
        for one in self.dialects:
            if one.prefix is not None and f"{path}/".startswith(f"{one.prefix}/"):
                return one
        return PLAIN


@dataclass(frozen=True, slots=True)
class Mount:
    """Adds one dialect's routes."""

    routes: Routes
    dialect: Dialect

    def get(
        self,
        path: str,
        handler: Handler,
        answers: Mapping[int, Shape],
        *,
        statuses: Sequence[int] = (),
    ) -> None:
        """Add a GET route whose answers have these shapes."""
        self.bare("GET", path, handler, _json(answers), statuses=statuses)

    def bare(
        self,
        method: str,
        path: str,
        handler: Handler,
        answers: Mapping[int, Mapping[str, Shapes]],
        *,
        statuses: Sequence[int] = (),
    ) -> None:
        """Add a route that reads no body."""
        self.routes.add(
            Operation(
                method=method, path=path, handler=handler, dialect=self.dialect,
                tag=self.dialect.name, answers=answers, statuses=statuses,
            )
        )  # fmt: skip

    def share(self, path: str, summary: str, shape: SharedShape) -> None:
        """Add a shape of body to a path that other dialects may claim too."""
        self.routes.shared.add(path, summary, self.dialect, shape)

    def post(
        self,
        path: str,
        handler: Handler,
        requests: Shapes,
        answers: Shapes,
        *,
        example: Mapping[str, object],
        stream: Shapes = (),
        events: str | None = None,
        statuses: Sequence[int] = (),
    ) -> None:
        """Add a POST route that takes any of `requests` as JSON.

        Args:
            stream: the shapes of a stream's messages, which are framed as the dialect frames them.
            events: the order in which they come, in words.
        """
        whole: dict[str, Shapes] = {"application/json": answers}
        if stream:
            whole[self.dialect.framing.media_type] = stream
        self.routes.add(
            Operation(
                method="POST", path=path, handler=handler, dialect=self.dialect,
                tag=self.dialect.name, requests=requests, example=example, answers={200: whole},
                statuses=(*self.dialect.statuses, *statuses), events=events,
            )
        )  # fmt: skip


def _json(answers: Mapping[int, Shape]) -> dict[int, dict[str, Shapes]]:
    return {status: {"application/json": (shape,)} for status, shape in answers.items()}
