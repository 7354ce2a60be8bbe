"""From an engine's tokens to the text that a client may see. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from berth.protocol.messages import FinishReason, TokenLogprob
from berth.serving.request import TokenText
from berth.serving.stop import StopMatcher
from berth.serving.tokenizer import Tokenizer


class OutputText:
    """One answer: detokenised, cut at its stop strings, kept until it is taken."""

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
        self._detokenizer = tokenizer.detokenizer(continuation=continues_prompt)
        self._stop = StopMatcher(stops, shown=include_stop) if stops else None
        self._stop_token_ids = frozenset(stop_token_ids)
        self._min_tokens = min_tokens
        self._parts: list[str] = []
        self._taken_parts = 0
        self._shown = 0  # characters in _parts
        self._decoded = 0  # characters that the detokeniser gave, shown or held back
        # Tokens whose text is not all shown yet, with where it begins and ends.
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
                self._score(score or TokenLogprob(token, 0.0), len(text), known=score is not None)
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
                self._score(logprobs[i], len(text))
            if self._add(text):
                self._end("stop", cut=True)
                return
        if finish_reason is not None:
            if self._add(self._detokenizer.flush()):
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
            start, end, text = self._scores[0]
            # A token of no text (a part of a character) comes with the text after it.
            if start >= self._shown or end > self._shown:
                return
            self._visible.append(text)
            self._scores.popleft()

    def _score(self, score: TokenLogprob, characters: int, *, known: bool = True) -> None:
        data = self._tokenizer.token_bytes(score.token)
        texts = (self._tokenizer.token_bytes(t).decode(errors="replace") for t, _ in score.top)
        text = TokenText(score, data.decode(errors="replace"), tuple(texts), data, known)
        self._scores.append((self._decoded, self._decoded + characters, text))

    def _end(self, reason: FinishReason, *, cut: bool = False) -> None:
        self.finish_reason = reason
        if not cut:  # tokens without a text of their own, at the very end
            self._visible += [text for _, _, text in self._scores]
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

    def whole(self) -> tuple[str, tuple[TokenText, ...]]:
        """Return everything shown so far, taken or not."""
        return "".join(self._parts), tuple(self._visible)
