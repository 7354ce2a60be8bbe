"""The engine as its host sees it: the batch, and the requests that run through `generate` alone."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from berth.engines.transformers.core import Core
from berth.engines.transformers.generate import Generates
from berth.protocol.messages import EngineStats, StepReport, Submit


class Both:
    """An EngineCore of two queues."""

    def __init__(
        self,
        core: Core,
        send: Callable[[StepReport], None],
        between: Callable[[], None],
        *,
        vocab_size: int,
        steps: bool,
    ) -> None:
        """
        Args:
            send: of reports that `generate` has in the middle of a step.
            between: called by it after each token, so that the batch gets its steps.
            steps: see Abilities; without, every request runs through generate.
        """
        self._core = core
        self._generates = Generates(core, send, between)
        self._vocab_size = vocab_size
        self._steps = steps

    @property
    def has_work(self) -> bool:
        """Whether step() would compute anything."""
        return self._core.has_work or self._generates.has_work

    def submit(self, message: Submit) -> StepReport | None:
        """Queue a request. Returns the report of its end if it can or need not run."""
        alone = message.generate is not None or not self._steps
        queue_of_its_kind = self._generates if alone else self._core
        return queue_of_its_kind.submit(self._within_vocab(message))

    def cancel(self, request_ids: list[int]) -> None:
        """Forget requests; one that runs through generate ends after its present token."""
        self._core.cancel(request_ids)
        self._generates.cancel(request_ids)

    def step(self) -> StepReport | None:
        """A step of the batch; before it the whole of a request that needs generate, if one waits.

        Called again from within that request (`between`) it is the batch's step alone.
        """
        if self._generates.has_work:
            self._generates.run_next()
        return self._core.step() if self._core.has_work else None

    def stats(self) -> EngineStats:
        """Gauges and counters as they are now."""
        return self._core.stats()

    def _within_vocab(self, message: Submit) -> Submit:
        """Without stop tokens that the model has no logit for: some tokenizers name such."""
        stops = message.params.stop_token_ids
        known = tuple(token for token in stops if token < self._vocab_size)
        if known == stops:
            return message
        params = msgspec.structs.replace(message.params, stop_token_ids=known)
        return msgspec.structs.replace(message, params=params)
