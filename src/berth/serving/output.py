"""From an engine's tokens to the text that a client may see. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from berth.protocol.messages import TokenLogprob
from berth.serving.request import Answer, FinishReason, Piece, TokenText
from berth.serving.stop import StopMatcher
from berth.tokenizer.base import Tokenizer


class Output(Protocol):
    """One answer while it is made: what a generation feeds, and takes pieces from.

    `OutputText` is the first stage. One that tells kinds apart (reasoning, tool calls) has another
    one inside, and gives `parts` to what that one shows.
    """

    @property
    def tokens(self) -> int:
        """Output tokens, a stop token included."""
        ...

    @property
    def finish_reason(self) -> FinishReason | None:
        """None while the answer goes on."""
        ...

    def echo(
        self, prompt: Sequence[int], logprobs: Sequence[TokenLogprob | None] | None
    ) -> None: ...
    def feed(
        self,
        tokens: Sequence[int],
        finish_reason: FinishReason | None = None,
        logprobs: Sequence[TokenLogprob] | None = None,
    ) -> None: ...
    def end_early(self, reason: FinishReason) -> None: ...
    def has_more(self) -> bool:
        """Whether `piece` would have anything but the end."""
        ...

    def piece(self) -> Piece:
        """What was not taken yet."""
        ...

    def answer(self, prompt_tokens: int, cached_tokens: int) -> Answer:
        """All of it, taken or not, once it has ended."""
        ...


class OutputText:
    """One answer: detokenised, cut at its stop strings, kept until it is taken. An `Output`."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        stops: Sequence[str] = (),
        stop_token_ids: Sequence[int] = (),
        min_tokens: int = 0,
        continues_prompt: bool = False,
        include_stop: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._continues_prompt = continues_prompt
        self._detokenizer = tokenizer.detokenizer(continuation=continues_prompt)
        self._stop = StopMatcher(stops, shown=include_stop) if stops else None
        self._stop_token_ids = frozenset(stop_token_ids)
        self._min_tokens = min_tokens
        self._parts: list[str] = []
        self._taken_parts = 0
        self._shown = 0  # characters in _parts
        self._decoded = 0  # characters that the detokeniser gave, shown or held back
        # Tokens whose text is not all shown yet, with the text's beginning and end.
        self._scores: deque[tuple[int, int, TokenText]] = deque()
        self._visible: list[TokenText] = []
        self._taken_scores = 0
        self.tokens = 0  # output tokens, a stop token included
        self.finish_reason: FinishReason | None = None

    def echo(self, prompt: Sequence[int], logprobs: Sequence[TokenLogprob | None] | None) -> None:
        """Put the prompt's text before the output; stop strings do not count in it."""
        for i, token in enumerate(prompt):
            text = self._detokenizer.feed(token)
            if logprobs is not None:
                score = logprobs[i] if i < len(logprobs) else None
                self._score(score or TokenLogprob(token, 0.0), text, known=score is not None)
            self._decoded += len(text)
            self._show(text)

    def feed(
        self,
        tokens: Sequence[int],
        finish_reason: FinishReason | None = None,
        logprobs: Sequence[TokenLogprob] | None = None,
    ) -> None:
        """Take in what one step added. Sets `finish_reason` when the answer has ended."""
        last = len(tokens) - 1
        for i, token in enumerate(tokens):
            self.tokens += 1
            if finish_reason == "stop" and i == last and token in self._stop_token_ids:
                break
            text = self._detokenizer.feed(token)
            if logprobs is not None:
                self._score(logprobs[i], text)
            if self._add(text):
                self._end("stop", cut=True)
                return
        if finish_reason is not None:
            text = self._detokenizer.flush()
            self._score_rest(text)
            if self._add(text):
                self._end("stop", cut=True)
                return
            if self._stop is not None:
                self._show(self._stop.flush())
            self._end(finish_reason)

    def _add(self, text: str) -> bool:
        """Show what may be shown of `text`; say whether a stop string is complete."""
        self._decoded += len(text)
        if self._stop is None or self.tokens < self._min_tokens:
            self._show(text)
            return False
        text, stopped = self._stop.feed(text)
        self._show(text)
        return stopped

    def _show(self, text: str) -> None:
        if text:
            self._parts.append(text)
            self._shown += len(text)
            if self._scores:
                self._show_scores()

    def _show_scores(self) -> None:
        while self._scores:
            start, end, token = self._scores[0]
            # A token of no text (a part of a character) comes with the text after it.
            if start >= self._shown or end > self._shown:
                return
            # What the next token makes of its last bytes may come to be this token's text.
            if len(self._scores) == 1 and _ends_inside_character(token.data):
                return
            self._visible.append(token)
            self._scores.popleft()

    def _score(self, score: TokenLogprob, text: str, *, known: bool = True) -> None:
        """Note a token that added `text`: alone it may spell otherwise (" Hello", "</s>")."""
        token = TokenText(
            score,
            text,
            tuple(text if t == score.token else self._alternative(t) for t, _ in score.top),
            _bytes_of(self._tokenizer.token_bytes(score.token), text),
            known,
        )
        self._scores.append((self._decoded, self._decoded + len(text), token))

    def _alternative(self, token: int) -> str:
        """How a token would have been spelt here; what has no text of its own goes by its name."""
        if self._decoded == 0:
            start = self._tokenizer.detokenizer(continuation=self._continues_prompt)
            if text := start.feed(token):
                return text
        return self._tokenizer.token_bytes(token).decode(errors="replace")

    def _score_rest(self, text: str) -> None:
        """The bytes of an unfinished character are the last token's text."""
        if text and self._scores:
            start, end, token = self._scores.pop()
            token = replace(token, text=token.text + text)
            self._scores.append((start, end + len(text), token))

    def _end(self, reason: FinishReason, *, cut: bool = False) -> None:
        """`cut`: a token whose text is shown in part stands for that part, and no other comes."""
        self.finish_reason = reason
        for start, end, token in self._scores:
            if cut and start >= self._shown:
                break
            if end > self._shown:
                text = token.text[: self._shown - start]
                token = replace(token, text=text, data=text.encode(errors="replace"))
            self._visible.append(token)
        self._scores.clear()

    def end_early(self, reason: FinishReason) -> None:
        """The answer ends here, for a reason of ours; what was held back stays so."""
        self._end(reason, cut=True)

    def take(self) -> tuple[str, tuple[TokenText, ...]]:
        """Return text and tokens that were not taken yet; both may be empty."""
        text = "".join(self._parts[self._taken_parts :])
        self._taken_parts = len(self._parts)
        if self._taken_scores == len(self._visible):
            return text, ()
        scores = tuple(self._visible[self._taken_scores :])
        self._taken_scores = len(self._visible)
        return text, scores

    def has_more(self) -> bool:
        """Whether `take` would return anything."""
        return self._taken_parts < len(self._parts) or self._taken_scores < len(self._visible)

    def piece(self) -> Piece:
        """See `Output`."""
        text, scores = self.take()
        return Piece(text, self.tokens, self.finish_reason, scores)

    def answer(self, prompt_tokens: int, cached_tokens: int) -> Answer:
        """See `Output`."""
        text, scores = self.whole()
        assert self.finish_reason is not None
        return Answer(text, self.finish_reason, prompt_tokens, self.tokens, cached_tokens, scores)

    def whole(self) -> tuple[str, tuple[TokenText, ...]]:
        """Return everything shown so far, taken or not."""
        return "".join(self._parts), tuple(self._visible)


def _bytes_of(data: bytes, text: str) -> bytes:
    """The bytes that a token with these of its own added to the answer as `text`."""
    try:
        own = data.decode()
    except UnicodeDecodeError:
        return data  # a part of a character: only its bytes can be given
    return data if own and text.endswith(own) else text.encode(errors="replace")


def _ends_inside_character(data: bytes) -> bool:
    """Whether the last bytes may become a character with those that follow."""
    for back, byte in enumerate(reversed(data[-3:]), start=1):
        if byte >= 0xC0:
            return back < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4)
        if byte < 0x80:
            return False
    return False
