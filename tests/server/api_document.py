"""Holds answers to the OpenAPI document: status, media type, and the shape of what is sent."""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator


class Document:
    """One document, asked whether what a server did is in it."""

    def __init__(self, page: dict[str, Any]) -> None:
        self.page = page
        self._validators: dict[str, Validator] = {}

    @cached_property
    def paths(self) -> list[tuple[re.Pattern[str], dict[str, Any]]]:
        return [
            (re.compile(re.sub(r"\\\{\w+\\\}", ".+", re.escape(path))), item)
            for path, item in self.page["paths"].items()
        ]

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        """What the document says of it; None where it says nothing."""
        item = next((item for pattern, item in self.paths if pattern.fullmatch(path)), {})
        return item.get(method.lower())

    def validator(self, schema: dict[str, Any]) -> Validator:
        """For one schema of this document, its references resolved here."""
        key = json.dumps(schema, sort_keys=True)
        if key not in self._validators:
            whole = {**schema, "components": self.page["components"]}
            self._validators[key] = Draft202012Validator(whole)
        return self._validators[key]

    def request_schema(self, path: str) -> dict[str, Any]:
        """The schema of the JSON that a POST of this path takes."""
        body = self.page["paths"][path]["post"]["requestBody"]
        schema: dict[str, Any] = body["content"]["application/json"]["schema"]
        return schema

    def check(
        self, method: str, path: str, status: int, content_type: str | None, body: bytes
    ) -> None:
        """Fail unless the document has this answer of a documented operation."""
        operation = self.operation(method, path)
        if operation is None or status == 405:
            return
        where = f"{method} {path} {status}"
        assert str(status) in operation["responses"], f"{where} is not documented"
        content = operation["responses"][str(status)]["content"]
        kind = (content_type or "").partition(";")[0]
        assert kind in content, f"{where}: {kind} is not documented"
        schema = content[kind]["schema"]
        if kind == "application/json":
            self._hold(where, json.loads(body), schema)
        elif kind == "text/event-stream":
            for block in body.decode().split("\n\n")[:-1]:
                self._check_event(where, block, schema)

    def _check_event(self, where: str, block: str, schema: dict[str, Any]) -> None:
        assert block.startswith("data: ")
        data = block.removeprefix("data: ")
        self._hold(where, {"data": data}, schema)
        parsed, *words = schema["properties"]["data"]["anyOf"]
        if data not in [word["const"] for word in words]:
            assert parsed["contentMediaType"] == "application/json"
            self._hold(where, json.loads(data), parsed["contentSchema"])

    def _hold(self, where: str, value: Any, schema: dict[str, Any]) -> None:
        faults = [error.message for error in self.validator(schema).iter_errors(value)]
        assert not faults, f"{where}: {value}: {faults}"
