"""Requests that need `generate`: beams, n-gram bans, forced tokens, and models without a cache.

They run one at a time, in order of arrival. After each token of one, the batch of all others gets a
step of its own, from a stopping criterion that `generate` calls. With one beam the token is
chosen by the native engine's sampler, behind generate's own logits processors, so seeds, stop
tokens, logprobs and replays are as everywhere, and tokens leave as they come. The sequences of a
beam search are known at its end.
"""

from __future__ import annotations

import functools
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import torch
import transformers

from berth.engines.host.sequence import Sequence, finish_reason
from berth.engines.sampling.sampler import NO_TOKEN, Sampler, failed
from berth.engines.transformers.beams import diverse_beam_search
from berth.engines.transformers.core import Core
from berth.kernels.ops import TorchOps
from berth.protocol.messages import Delta, GenerateParams, SamplingParams, StepReport, Submit

log = logging.getLogger(__name__)


class _Cancelled(Exception):
    """Nobody wants the running request's answer any more."""


class _NoToken(Exception):
    """No token could be chosen; `delta` says why."""

    def __init__(self, delta: Delta) -> None:
        super().__init__(delta.error)
        self.delta = delta


class BatchFailed(Exception):
    """A step of the others failed inside generate: the engine's end, not this request's."""


class Generates:
    """The queue of such requests, and the one that runs."""

    def __init__(
        self, core: Core, send: Callable[[StepReport], None], between: Callable[[], None]
    ) -> None:
        """`between` is called after each token: takes in messages, and steps the batch."""
        self._core = core
        self._send = send
        self._between = between
        self._sampler = Sampler(TorchOps())
        self._waiting: OrderedDict[int, Submit] = OrderedDict()
        self._running: int | None = None
        self._cancelled = False

    @property
    def has_work(self) -> bool:
        """Whether one waits and none runs: run_next() would begin it."""
        return self._running is None and bool(self._waiting)

    def submit(self, message: Submit) -> StepReport | None:
        """Queue a request. Returns the report of its end if it can or need not run."""
        sequence = Sequence(message.request_id, message.prompt, message.params, message.emitted)
        problem = self._problem(message)
        if problem is not None:
            delta = Delta(message.request_id, [], "error", error=problem, refused=True)
            return self._core.report([delta])
        sequence.max_length = len(message.prompt) + message.params.max_tokens
        reason = finish_reason(sequence)
        if reason is not None:  # the emitted tokens of a replay end it
            return self._core.report([Delta(message.request_id, [], reason)])
        self._waiting[message.request_id] = message
        return None

    def _problem(self, message: Submit) -> str | None:
        wanted = _memory(message)
        longest = len(message.prompt) + message.params.max_tokens
        if not message.prompt or longest > self._core.max_model_len:
            return f"prompt and max_tokens are {longest} tokens, of {self._core.max_model_len}"
        if wanted > self._core.capacity:
            return f"the beams need memory for {wanted} tokens, of {self._core.capacity}"
        return None

    def cancel(self, request_ids: Iterable[int]) -> None:
        """Forget requests; the running one ends after its present token."""
        for request_id in request_ids:
            self._waiting.pop(request_id, None)
            self._cancelled = self._cancelled or request_id == self._running

    def run_next(self) -> None:
        """Run the first that waits to its end.

        Raises:
            BatchFailed: a step of the others failed meanwhile.
        """
        request_id, message = self._waiting.popitem(last=False)
        self._running, self._cancelled = request_id, False
        self._core.pulse.begun.mark(request_id)
        self._core.reserved = _memory(message)
        failure: Delta | None = None
        try:
            self._run(message)
        except _Cancelled:
            pass
        except _NoToken as error:
            failure = error.delta
        except ValueError as error:  # of parameters that contradict each other
            log.warning("a request that generate refuses: %s", type(error).__name__)
            reason = f"generate refuses these parameters: {error}"
            failure = Delta(request_id, [], "error", error=reason, refused=True)
        finally:
            self._running = None
            self._core.reserved = 0
        # Without a delta the report says that its memory is free.
        self._send(self._core.report([] if failure is None else [failure]))

    def _run(self, message: Submit) -> None:
        generate = message.generate or GenerateParams()
        if generate.num_beams > 1:
            self._search(message, generate)
        else:
            self._follow(message, generate)

    def _follow(self, message: Submit, generate: GenerateParams) -> None:
        """One sequence, token by token."""
        params = message.params
        config = _config(params, generate) | {"do_sample": False}
        processors = []
        # What generate's own processors do is not done twice.
        ours = {"repetition_penalty": 1.0, "min_tokens": 0}
        if generate.typical_p < 1 and params.temperature > 0:
            processors += _warpers(params, generate)
            ours |= {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
        sequence = Sequence(
            message.request_id,
            message.prompt,
            msgspec.structs.replace(params, **ours),
            message.emitted,
        )
        sequence.max_length = len(message.prompt) + params.max_tokens
        chooser = _Chooser(self._sampler, sequence, self._told)
        self._generate(message, config, [*processors, chooser])

    def _told(self, delta: Delta) -> None:
        self._send(self._core.report([delta]))

    def _search(self, message: Submit, generate: GenerateParams) -> None:
        """Beams: all sequences at the end."""
        params = message.params
        sampled = params.temperature > 0
        config = _config(params, generate) | {
            "num_beams": generate.num_beams,
            "num_return_sequences": generate.num_return_sequences,
            "early_stopping": generate.early_stopping,
            "length_penalty": generate.length_penalty,
            "do_sample": sampled,
        }
        if sampled:
            config |= {
                "temperature": params.temperature,
                "top_k": params.top_k,
                "top_p": params.top_p,
                "typical_p": generate.typical_p,
                "min_p": params.min_p or None,
            }
        extra: dict[str, Any] = {}
        if generate.num_beam_groups > 1:
            extra["custom_generate"] = functools.partial(
                diverse_beam_search,
                num_beam_groups=generate.num_beam_groups,
                diversity_penalty=generate.diversity_penalty,
            )
        torch.manual_seed(params.seed)  # nothing else draws from torch's generator
        rows = self._generate(message, config, [], **extra)
        deltas = [
            _whole(message, rows[index].tolist(), index) for index in range(len(rows) - 1, -1, -1)
        ]
        self._send(self._core.report(deltas))

    @torch.inference_mode()
    def _generate(
        self,
        message: Submit,
        config: dict[str, Any],
        processors: list[transformers.LogitsProcessor],
        **extra: Any,
    ) -> torch.Tensor:
        model: Any = self._core.model.model
        make_config: Callable[..., Any] = transformers.GenerationConfig
        self._core.pulse.busy = True
        try:
            sequences: torch.Tensor = model.generate(
                torch.tensor([message.prompt], device=model.device),
                generation_config=make_config(**config),
                logits_processor=transformers.LogitsProcessorList(processors),
                stopping_criteria=transformers.StoppingCriteriaList([self._let_others()]),
                **extra,
            )
        finally:
            self._core.pulse.busy = False
        return sequences

    def _let_others(self) -> transformers.StoppingCriteria:
        return _Between(self._step_others)

    def _step_others(self) -> None:
        try:
            self._between()
        except ValueError as error:
            raise BatchFailed(f"{type(error).__name__}: {error}") from error
        if self._cancelled:
            raise _Cancelled
        self._core.pulse.busy = True


class _Between(transformers.StoppingCriteria):
    """Called after each token; never stops anything itself."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor | None, **kwargs: Any
    ) -> torch.Tensor:
        self._call()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


class _Chooser(transformers.LogitsProcessor):
    """The last processor: chooses the token itself and leaves generate no other."""

    def __init__(self, sampler: Sampler, sequence: Sequence, tell: Callable[[Delta], None]) -> None:
        self._sampler = sampler
        self._sequence = sequence
        # By an engine that died: generate computes them again, and they are not reported.
        self._emitted = iter(sequence.output)
        self._tell = tell

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        sequence = self._sequence
        token = next(self._emitted, None)
        if token is None:
            sampled = self._sampler.sample(scores, [sequence.sampling])
            (token,), (logprob,) = sampled.tokens, sampled.logprobs
            if token < 0:
                if bool((scores == -torch.inf).all()):  # by generate's processors, not the model
                    token = NO_TOKEN
                raise _NoToken(failed(sequence.request_id, token, sequence.params))
            _, reason = sequence.extend([token])
            logprobs = None if logprob is None else [logprob]
            self._tell(Delta(sequence.request_id, [token], reason, logprobs))
        forced = torch.full_like(scores, -torch.inf)
        forced[0, token] = 0.0
        return forced


def _config(params: SamplingParams, generate: GenerateParams) -> dict[str, Any]:
    """What all ways have in common, in GenerationConfig's names; defaults left out."""
    values: dict[str, Any] = {
        "max_new_tokens": params.max_tokens,
        "eos_token_id": list(params.stop_token_ids) or None,
        "pad_token_id": params.stop_token_ids[0] if params.stop_token_ids else 0,
    }
    if params.repetition_penalty != 1.0:
        values["repetition_penalty"] = params.repetition_penalty
    if params.min_tokens:
        values["min_new_tokens"] = params.min_tokens
    for name in (
        "no_repeat_ngram_size",
        "encoder_no_repeat_ngram_size",
        "bad_words_ids",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "remove_invalid_values",
    ):
        value = getattr(generate, name)
        if value not in (None, 0, [], False) or (value == 0 and name.startswith("forced")):
            values[name] = value
    return values


def _warpers(params: SamplingParams, generate: GenerateParams) -> list[Any]:
    """Everything before typical_p, and it, in generate's order."""
    warpers: list[Any] = [transformers.TemperatureLogitsWarper(params.temperature)]
    if params.top_k:
        warpers.append(transformers.TopKLogitsWarper(params.top_k))
    if params.top_p < 1:
        warpers.append(transformers.TopPLogitsWarper(params.top_p))
    return [*warpers, transformers.TypicalLogitsWarper(generate.typical_p)]


def _memory(message: Submit) -> int:
    """Tokens' worth of cache that it needs at its longest."""
    beams = message.generate.num_beams if message.generate else 1
    return beams * (len(message.prompt) + message.params.max_tokens)


def _whole(message: Submit, tokens: list[int], index: int) -> Delta:
    """One finished sequence: what follows the prompt, up to its stop token."""
    output = tokens[len(message.prompt) :]
    stops = message.params.stop_token_ids
    end = next((i for i, token in enumerate(output) if token in stops), None)
    if end is None:
        return Delta(message.request_id, output, "length", index=index)
    return Delta(message.request_id, output[: end + 1], "stop", index=index)
