"""A model in memory: no engine, no tokenizer, no chance. One token is one word of its reply."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence

from berth.protocol.messages import TokenLogprob
from berth.serving.errors import InvalidRequest, Overloaded, ServingError, Unavailable, UnsafePrompt
from berth.serving.prompt import Prompt
from berth.serving.request import Answer, ChatOptions, Message, Options, Piece, TokenText
from berth.serving.service import Health
from berth.serving.validate import check_prompt, check_text, sampling_params

READY = Health(state="ready", detail="The model answers.", ready=True)
LOADING = Health(state="loading", detail="Loading weights.", ready=False, load_fraction=0.25)
REPLY = "Paris is its capital."
_BOS = 256
_VOCABULARY = 512
_ROLES = ("system", "user", "assistant")


class FakeGeneration:
    """Gives the reply word by word; waits at `hold` until the service lets it go on."""

    def __init__(self, service: FakeService, prompt: Prompt, options: Options) -> None:
        self.service = service
        self.prompt_tokens = len(prompt)
        self.cached_tokens = 1
        self.options = options
        self.cancelled = False
        self.finished = False
        text = bytes(token for token in prompt.ids if token < 256).decode("utf-8", "replace")
        self._words = _words(service.reply(text))
        self._echo = text if options.echo else ""
        self._stopped = asyncio.Event()
        self._offered: Piece | Exception | None = None
        self._taken = asyncio.Event()
        self._producer: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        if not self.finished:
            self.cancelled = True
            self._stopped.set()
            self._taken.set()

    def listen(self, listener: Callable[[], None]) -> None:
        self._producer = asyncio.ensure_future(self._produce(listener))

    async def _produce(self, listener: Callable[[], None]) -> None:
        """Offer one piece at a time: what is not taken waits for its reader."""
        try:
            async for piece in self._pieces():
                self._offered = piece
                listener()
                if piece.finish_reason is not None:
                    return
                await self._taken.wait()
                self._taken.clear()
        except Exception as error:
            self._offered = error
            listener()

    def take(self) -> Piece | None:
        offered, self._offered = self._offered, None
        self._taken.set()
        if isinstance(offered, Exception):
            raise offered
        return offered

    async def _pieces(self) -> AsyncIterator[Piece]:
        limit = self.options.max_tokens
        words = self._words if limit is None else self._words[:limit]
        if self._echo:
            yield Piece(self._echo, 0, None, self._logprobs([self._echo], first=True))
        for count, word in enumerate(words, start=1):
            await self._pass(count)
            if self.cancelled:
                yield Piece("", count - 1, "cancelled")
                return
            last = count == len(words)
            reason = ("length" if len(words) < len(self._words) else "stop") if last else None
            self.finished = last
            yield Piece(word, count, reason, self._logprobs([word]))
        if not words:
            self.finished = True
            yield Piece("", 0, "length")

    async def _pass(self, count: int) -> None:
        """Go on, wait to be let on, or fail, as the test wants it."""
        service = self.service
        if service.fail_at == count:
            raise service.failure
        if service.hold_at == count:
            waits = [asyncio.ensure_future(e.wait()) for e in (service.go, self._stopped)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        if service.pause:
            await asyncio.sleep(service.pause)

    def _logprobs(self, texts: list[str], first: bool = False) -> tuple[TokenText, ...]:
        if self.options.logprobs is None:
            return ()
        top = [(7, -0.5), (8, -math.inf)][: self.options.logprobs]
        return tuple(
            TokenText(
                TokenLogprob(7, -0.5, top),
                text,
                tuple([text, "other"][: len(top)]),
                text.encode("utf-8", "replace"),
                has_logprob=not first,
            )
            for text in texts
        )

    async def answer(self) -> Answer:
        text, logprobs, tokens, reason = "", (), 0, None
        async for piece in self._pieces():
            text += piece.text
            logprobs += piece.logprobs
            tokens, reason = piece.tokens, piece.finish_reason
        assert reason is not None
        others = tuple(
            Answer(other, "length", self.prompt_tokens, tokens, 0) for other in self.service.others
        )
        return Answer(
            text, reason, self.prompt_tokens, tokens, self.cached_tokens, logprobs, others
        )


class FakeService:
    """What the server sees of a model. Set its attributes to make it behave otherwise."""

    model_id = "pocket"
    created = 1_700_000_000
    max_model_len = 4096
    vocab_size = _VOCABULARY
    generates = True

    def __init__(self, reply: Callable[[str], str] = lambda _: REPLY) -> None:
        self.reply = reply
        self.state = READY
        self.capacity = 10_000
        self.retry_after = 2.5
        self.hold_at: int | None = None  # before this token of each generation
        self.go = asyncio.Event()
        self.fail_at: int | None = None
        self.failure: ServingError | Exception = RuntimeError("unset")
        self.pause = 0.0  # seconds before each token
        self.others: tuple[str, ...] = ()  # further sequences of every answer
        self.refusal: ServingError | None = None  # of every request
        self.generations: list[FakeGeneration] = []
        self.written: ChatOptions | None = None  # how the last dialog was to be written

    def health(self) -> Health:
        return self.state

    template_variables = frozenset({"enable_thinking"})
    template_roles = frozenset(_ROLES)
    template_fields: frozenset[str] = frozenset()

    def render_chat(
        self, messages: Sequence[Message], options: ChatOptions | None = None
    ) -> Prompt:
        self.written = options
        if any(message.role not in _ROLES for message in messages):
            raise InvalidRequest("model only supports 'system', 'user' and 'assistant' roles")
        if messages[-1].role != "user":
            raise InvalidRequest(f"Last message must be from user, got {messages[-1].role}")
        if any(tag in message.text for message in messages for tag in ("[INST]", "<<SYS>>")):
            raise UnsafePrompt("a message holds a tag of the chat template", "messages")
        return self.encode("\n".join(f"{turn.role}: {turn.text}" for turn in messages))

    def encode(self, text: str) -> Prompt:
        check_text(text, "prompt", max_model_len=self.max_model_len, max_token_bytes=2)
        return Prompt([_BOS, *text.encode()])

    def check_open(self) -> None:
        if not self.state.ready:
            raise Unavailable("The model is still loading.", self.retry_after)

    def start(self) -> None:
        """It is what `state` says."""

    async def settled(self) -> None:
        """Nothing is waited for."""

    async def failed(self) -> None:
        await asyncio.Event().wait()

    async def unload(self) -> None:
        """It has no engine."""

    async def drain(self, grace: float) -> None:
        """It has no engine."""

    def submit(self, prompt: Prompt, options: Options, *, request_id: str) -> FakeGeneration:
        self.check_open()
        if self.refusal is not None:
            raise self.refusal
        check_prompt(prompt, _VOCABULARY)
        sampling_params(
            options,
            prompt_tokens=len(prompt),
            max_model_len=self.max_model_len,
            vocab_size=_VOCABULARY,
            eos_ids=(),
        )
        if len([one for one in self.generations if not one.finished]) >= self.capacity:
            raise Overloaded("The queue is full.", retry_after=0.2)
        generation = FakeGeneration(self, prompt, options)
        self.generations.append(generation)
        return generation


def _words(text: str) -> list[str]:
    """ "a b c" as ["a", " b", " c"]."""
    head, *rest = text.split(" ")
    return [head, *(f" {word}" for word in rest)]
