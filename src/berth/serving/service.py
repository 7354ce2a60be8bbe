"""One model, served: what a dialect may ask for. model_service.py implements it.

If a text may be large, call `encode` and `render_chat` through offload.py, which uses a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from berth.serving.prompt import Prompt
from berth.serving.request import PLAINLY, Answer, ChatOptions, Message, Options, Piece

EngineState = Literal["starting", "loading", "ready", "restarting", "failed"]
State = EngineState | Literal["draining"]


@dataclass(frozen=True, slots=True)
class Health:
    """The service's state. Ready is true only while an engine answers and we are not draining."""

    state: State
    detail: str  # a sentence
    ready: bool
    load_fraction: float | None = None
    engine_restarts: int = 0


class Generation(Protocol):
    """One running request. Take its pieces as they come, or await `answer()`."""

    prompt_tokens: int
    cached_tokens: int  # known once the first piece arrived

    def take(self) -> Piece | None:
        """What has come since the last call, as one piece; None if nothing has.

        The last piece has a finish_reason. Raises, once all text is taken, what the request failed
        of: EngineFailed, TimedOut or Unavailable.
        """
        ...

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever `take` has something to say: from now on, and for what is there.

        It is called on the event loop, at most once for each step of the engine, and from `take`
        if an error follows the text; also if there is nothing yet (half a character). There
        is one listener.
        """
        ...

    async def answer(self) -> Answer:
        """All of it, when it is complete; cancels the request if the waiting is cancelled."""
        ...

    def cancel(self) -> None:
        """Give the request up; nothing happens if it has ended."""
        ...


class Service(Protocol):
    """What the server's dialects see of a model."""

    model_id: str
    created: int  # unix seconds

    @property
    def max_model_len(self) -> int:
        """Tokens of prompt and output together; 0 before the engine has told."""
        ...

    @property
    def vocab_size(self) -> int:
        """Tokens that there are; 0 before the engine has told."""
        ...

    def health(self) -> Health: ...
    @property
    def template_roles(self) -> frozenset[str]:
        """Roles that the model's chat template takes somewhere in a dialog."""
        ...

    def render_chat(self, messages: Sequence[Message], options: ChatOptions = PLAINLY) -> Prompt:
        """The dialog in the model's chat template. Raises InvalidRequest."""
        ...

    @property
    def generates(self) -> bool:
        """Whether requests with GenerateParams are served."""
        ...

    @property
    def template_variables(self) -> frozenset[str]:
        """Names that the model's chat template looks at, beside the messages."""
        ...

    @property
    def template_fields(self) -> frozenset[str]:
        """What the chat template writes of a message beside its role and content: none, or some of
        "name" and "tool_calls".
        """
        ...

    def encode(self, text: str) -> Prompt:
        """A plain prompt, beginning-of-sequence included. Raises InvalidRequest."""
        ...

    def check_open(self) -> None:
        """Raises Unavailable while there is no engine and none starts, or none is admitted."""
        ...

    def submit(self, prompt: Prompt, options: Options, *, request_id: str) -> Generation:
        """Validate, admit and start. Raises InvalidRequest, Overloaded or Unavailable."""
        ...


class StartableService(Service, Protocol):
    """A service with a life, as `ModelService` has it."""

    def start(self) -> None:
        """Begin to load; returns at once."""
        ...

    def set_max_waiting(self, most: int) -> None:
        """Requests that may wait beyond those of one step, from the next request on."""
        ...

    async def settled(self) -> None:
        """Return when an engine has answered, or cannot run, or the service is ending."""
        ...

    async def failed(self) -> None:
        """Return when the model cannot run and is not started again."""
        ...

    async def unload(self) -> None:
        """End the engine and what still runs on it; its memory is free. `start` begins anew."""
        ...

    async def drain(self, grace: float) -> None:
        """Refuse new requests, give running ones `grace` seconds, and end the engine."""
        ...
