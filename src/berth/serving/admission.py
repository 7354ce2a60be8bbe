"""What may come in: a request's prompt and parameters, checked before an engine hears of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from berth.protocol.messages import Ready, SamplingParams
from berth.serving.check_generate import check_generate
from berth.serving.dialog import known_roles, render
from berth.serving.errors import Overloaded
from berth.serving.open_model import ServingConfig
from berth.serving.output import Output, OutputText
from berth.serving.prompt import Prompt
from berth.serving.request import ChatOptions, Message, Options
from berth.serving.validate import check_prompt, check_text, sampling_params

_RECENT = 64  # finished requests from which the pace is estimated
_MAX_RETRY_AFTER = 60.0


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may run."""

    prompt: Prompt
    params: SamplingParams
    outputs: Sequence[Output]  # one for each sequence that the engine returns


class Admission:
    """One model's door. Knows its tokenizer, its chat template and its limits, and no engine."""

    def __init__(self, config: ServingConfig) -> None:
        self.max_model_len = config.engine.max_model_len or 0  # 0: not known before ready
        self.template_variables = config.template.variables
        self.template_fields = config.template.fields
        self._template = config.template
        self._tokenizer = config.tokenizer
        self.max_waiting = config.max_waiting
        self._finished_at: deque[float] = deque(maxlen=_RECENT)

    @cached_property
    def template_roles(self) -> frozenset[str]:
        """Roles that the chat template takes somewhere in a dialog."""
        return known_roles(self._template)

    def render_chat(self, messages: Sequence[Message], options: ChatOptions) -> Prompt:
        """The dialog in the model's chat template. Raises InvalidRequest."""
        for message in messages:
            for text in (message.text,) if message.plain else message.texts():
                self._check_text(text, "messages")
        return render(self._template, messages, options)

    def encode(self, text: str) -> Prompt:
        """A plain prompt, beginning-of-sequence included. Raises InvalidRequest."""
        self._check_text(text, "prompt")
        return Prompt(self._tokenizer.encode(text, bos=True))

    def admit(self, prompt: Prompt, options: Options, ready: Ready, active: int) -> Admitted:
        """A request beside `active` others. Raises InvalidRequest or Overloaded."""
        check_prompt(prompt, ready.vocab_size, ready.inputs)
        params = sampling_params(
            options,
            prompt_tokens=len(prompt),
            max_model_len=self.max_model_len,
            vocab_size=ready.vocab_size,
            eos_ids=self._tokenizer.eos_ids,
            bad_words=self._spellings(options.bad_words),
        )
        if options.generate is not None:
            check_generate(options, params, ready, prompt_tokens=len(prompt))
        self._refuse_if_full(active, ready)
        sequences = options.generate.num_return_sequences if options.generate else 1
        outputs = [
            OutputText(
                self._tokenizer,
                stops=options.stop + prompt.stops,
                stop_token_ids=params.stop_token_ids,
                min_tokens=params.min_tokens,
                continues_prompt=options.continues_prompt and not options.echo,
                include_stop=options.include_stop_str_in_output,
            )
            for _ in range(sequences)
        ]
        return Admitted(prompt, params, outputs)

    def ended(self, now: float) -> None:
        """A request has ended at this time (monotonic seconds): the pace that 429 tells."""
        self._finished_at.append(now)

    def _check_text(self, text: str, field: str) -> None:
        check_text(
            text,
            field,
            max_model_len=self.max_model_len,
            max_token_bytes=self._tokenizer.max_token_bytes,
        )

    def _spellings(self, words: Sequence[str]) -> list[list[int]]:
        """Token ids of words that may not come: at a text's beginning, and after a space."""
        spellings: list[list[int]] = []
        for word in words:
            self._check_text(word, "bad_words")
            alone = self._tokenizer.encode(word, bos=False)
            inside = self._tokenizer.encode(f" {word.lstrip()}", bos=False)
            spellings += [ids for ids in (alone, inside) if ids and ids not in spellings]
        return spellings

    def _refuse_if_full(self, active: int, ready: Ready) -> None:
        limit = ready.max_num_seqs + self.max_waiting
        if active >= limit:
            raise Overloaded(
                f"The server already has {limit} requests, as many as it takes.",
                retry_after=self._retry_after(),
            )

    def _retry_after(self) -> float:
        """Seconds until a place is likely free: the queue's length at the present pace."""
        if len(self._finished_at) < 2:
            return 1.0
        pace = (self._finished_at[-1] - self._finished_at[0]) / (len(self._finished_at) - 1)
        return min(max(pace * max(self.max_waiting, 1) / 2, 1.0), _MAX_RETRY_AFTER)
