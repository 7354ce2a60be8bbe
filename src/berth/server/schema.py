"""The OpenAPI page from the same msgspec structs that parse and render: they cannot disagree."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response

Handler = Callable[..., Awaitable[Response]]
_REF = "#/components/schemas/{name}"
_PHRASES = {
    400: "The request is invalid; the message names the field",
    401: "No valid key",
    403: "Not allowed from there",
    404: "No such model",
    408: "The request took too long and was cancelled",
    413: "The body is too large",
    415: "The body is packed in a way that is not read here",
    422: "The body is not of this route's shape",
    429: "The queue is full; Retry-After says when to come again",
    500: "The server failed",
    503: "Not ready; Retry-After says when to come again",
}


class Documented:
    """Collects the structs of an app's routes and writes them into its OpenAPI page."""

    def __init__(self) -> None:
        self._types: list[type[msgspec.Struct]] = []

    def get(
        self,
        app: FastAPI,
        path: str,
        handler: Handler,
        tag: str,
        answers: Mapping[int, type[msgspec.Struct]],
    ) -> None:
        """Add a GET route whose answers have these shapes."""
        self.bare(app, "GET", path, handler, tag, answers)

    def bare(
        self,
        app: FastAPI,
        method: str,
        path: str,
        handler: Handler,
        tag: str,
        answers: Mapping[int, type[msgspec.Struct]],
    ) -> None:
        """Add a route that reads no body."""
        app.add_api_route(
            path,
            handler,
            methods=[method],
            tags=[tag],
            response_model=None,
            responses=self._responses(answers),
        )

    def post(
        self,
        app: FastAPI,
        path: str,
        handler: Handler,
        tag: str,
        request: type[msgspec.Struct],
        answers: Mapping[int, type[msgspec.Struct]],
        *,
        example: Mapping[str, object],
        events: str | None = None,
        also: tuple[type[msgspec.Struct], type[msgspec.Struct]] | None = None,
    ) -> None:
        """Add a POST route that takes `request` as JSON; `events` describes its stream.

        Args:
            also: a second shape of request that the route takes, and its answer.
        """
        responses = self._responses(answers)
        schema = self._schema(request)
        if also is not None:
            schema = {"oneOf": [schema, self._schema(also[0])]}
            answer = responses[200]["content"]["application/json"]
            answer["schema"] = {"oneOf": [answer["schema"], self._schema(also[1])]}
        if events is not None:
            responses[200]["content"]["text/event-stream"] = {
                "schema": {"type": "string", "description": events}
            }
        media = {"schema": schema, "example": dict(example)}
        app.add_api_route(
            path,
            handler,
            methods=["POST"],
            tags=[tag],
            response_model=None,
            responses=responses,
            openapi_extra={
                "requestBody": {"required": True, "content": {"application/json": media}}
            },
        )

    def install(self, app: FastAPI) -> None:
        """Make the app's OpenAPI page out of its routes and the collected structs."""

        def openapi() -> dict[str, Any]:
            if app.openapi_schema is None:
                page = get_openapi(
                    title=app.title,
                    version=app.version,
                    description=app.description,
                    routes=app.routes,
                )
                _, schemas = msgspec.json.schema_components(self._types, ref_template=_REF)
                _drop_validation_errors(page)
                components = page.setdefault("components", {})
                components["schemas"] = dict(sorted(schemas.items()))
                components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
                page["security"] = [{}, {"key": []}]  # a server without keys asks for none
                app.openapi_schema = page
            return app.openapi_schema

        app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way

    def _schema(self, struct: type[msgspec.Struct]) -> dict[str, Any]:
        if struct not in self._types:
            self._types.append(struct)
        return {"$ref": _REF.format(name=struct.__name__)}

    def _responses(
        self, answers: Mapping[int, type[msgspec.Struct]]
    ) -> dict[int | str, dict[str, Any]]:
        return {
            status: {
                "description": _PHRASES.get(status, "OK"),
                "content": {"application/json": {"schema": self._schema(struct)}},
            }
            for status, struct in answers.items()
        }


def _drop_validation_errors(page: dict[str, Any]) -> None:
    """FastAPI announces its own 422 for routes with a parameter; ours never answer that."""
    for item in page["paths"].values():
        for operation in item.values():
            content = operation["responses"].get("422", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            if schema.get("$ref", "").endswith("/HTTPValidationError"):
                del operation["responses"]["422"]
