"""`python -m tools.openapi_page` prints the server's OpenAPI page as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from berth.server.app import create_app
from berth.server.settings import ServerSettings
from berth.serving.models import Model, Models
from berth.serving.prompt import Prompt
from berth.serving.request import ChatOptions, Message, Options
from berth.serving.service import Generation, Health


class _NoModel:
    """Stands in for a model: the page depends on none."""

    model_id = "model"
    created = 0
    max_model_len = 0
    vocab_size = 0
    generates = True

    def health(self) -> Health:
        return Health(state="starting", detail="No model is served.", ready=False)

    template_variables: frozenset[str] = frozenset()
    template_roles: frozenset[str] = frozenset()
    template_fields: frozenset[str] = frozenset()

    def render_chat(
        self, messages: Sequence[Message], options: ChatOptions | None = None
    ) -> Prompt:
        self._refuse()

    def encode(self, text: str) -> Prompt:
        self._refuse()

    def check_open(self) -> None:
        self._refuse()

    def submit(self, prompt: Prompt, options: Options, *, request_id: str) -> Generation:
        self._refuse()

    def start(self) -> None:
        self._refuse()

    def set_max_waiting(self, most: int) -> None:
        self._refuse()

    async def settled(self) -> None:
        self._refuse()

    async def failed(self) -> None:
        self._refuse()

    async def unload(self) -> None:
        self._refuse()

    async def drain(self, grace: float) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise NotImplementedError("this app only describes itself")


def openapi_page() -> dict[str, Any]:
    """The page that /openapi.json serves, without the package's version, which is the build's."""
    page = create_app(Models([Model(_NoModel())]), ServerSettings()).openapi()
    page["info"].pop("version", None)
    return {**page, "info": {**page["info"], "version": "0"}}


def main() -> None:
    """Print the page, sorted, so that a change of the API is a change of lines."""
    json.dump(openapi_page(), sys.stdout, indent=2, sort_keys=True, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
