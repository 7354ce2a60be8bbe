"""What a server and an engine process say to each other.

Server to engine: Submit, Cancel, Shutdown. Engine to server: Loading, Ready, StepReport,
Heartbeat, Fatal. Every message is one msgpack frame (see wire.py). Token ids only: text never
crosses this line, so an engine cannot log a prompt.
"""

from __future__ import annotations

from typing import Literal

import msgspec

FinishReason = Literal["stop", "length", "cancelled", "error"]


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the next token of one sequence is chosen. Ranges are checked by serving, not here."""

    max_tokens: int
    temperature: float = 1.0  # 0 is greedy
    top_p: float = 1.0  # 1 keeps all
    top_k: int = 0  # 0 keeps all
    min_p: float = 0.0  # 0 keeps all
    repetition_penalty: float = 1.0  # over prompt and output, as in Hugging Face
    presence_penalty: float = 0.0  # over output, as in OpenAI
    frequency_penalty: float = 0.0  # over output, as in OpenAI
    logit_bias: dict[int, float] = {}
    # Serving always sets the seed (a random one if the client gave none): the token at output
    # position i depends on (seed, i) alone, so a replay after an engine's death repeats it.
    seed: int = 0
    stop_token_ids: tuple[int, ...] = ()  # end-of-sequence ids included, by serving
    min_tokens: int = 0  # this many others come before a stop token is chosen
    allowed_token_ids: tuple[int, ...] = ()  # no other comes; empty: all may
    bad_words: tuple[tuple[int, ...], ...] = ()  # token ids that may not come in a row
    logprobs: int | None = None  # this many alternatives beside the chosen token; 0: chosen only
    prompt_logprobs: int | None = None  # the same for the prompt's own tokens (echo)


class GenerateParams(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What only Hugging Face's `generate` computes: a request with these runs through it, alone.

    Names and meanings are those of transformers' GenerationConfig. Ranges are checked by serving.
    """

    num_beams: int = 1
    num_return_sequences: int = 1  # of one beam search, at most num_beams
    num_beam_groups: int = 1  # divides num_beams
    diversity_penalty: float = 0.0  # between groups
    early_stopping: bool | Literal["never"] = False  # of beams
    length_penalty: float = 1.0  # of beams
    typical_p: float = 1.0  # 1 keeps all
    no_repeat_ngram_size: int = 0  # over prompt and output
    encoder_no_repeat_ngram_size: int = 0  # n-grams of the prompt, in the output
    bad_words_ids: list[list[int]] = []
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | None = None
    remove_invalid_values: bool = False

    @property
    def asked_for(self) -> str:
        """The first of these parameters that is not at its default; empty if all are."""
        for name in self.__struct_fields__:
            if getattr(self, name) != getattr(_GENERATE_DEFAULTS, name):
                return name
        return ""


_GENERATE_DEFAULTS = GenerateParams()


class Submit(msgspec.Struct, frozen=True, tag="submit"):
    """Generate after `prompt`. `emitted` is what an earlier engine already produced (a replay).

    `root` stands for what the KV depends on beside the token ids, 0 for nothing: only requests of
    one root share a prefix.
    """

    request_id: int
    prompt: list[int]
    params: SamplingParams
    emitted: list[int] = []
    generate: GenerateParams | None = None  # only to an engine that says it `generates`
    root: int = 0  # 0 … 2^63 - 1


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Forget these requests; their blocks are free after the current step. No answer follows."""

    request_ids: list[int]


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown"):
    """End all ranks now. Serving drains first."""


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """Natural logarithm of the probability that the model gave `token`, before temperature."""

    token: int
    logprob: float
    top: list[tuple[int, float]] = []  # alternatives, most probable first


class Delta(msgspec.Struct, frozen=True, array_like=True):
    """What one step added to one request."""

    request_id: int
    tokens: list[int]
    finish_reason: FinishReason | None = None
    logprobs: list[TokenLogprob] | None = None
    # Once, with the first delta: one entry per prompt token, the first of them None.
    prompt_logprobs: list[TokenLogprob | None] | None = None
    cached_tokens: int = 0  # prompt tokens found in the prefix cache, with the first delta
    error: str | None = None
    # Which of a beam search's sequences, from 0 (the best). Those above 0 come whole, before it.
    index: int = 0
    # Seconds from the request's arrival at the engine to its first step, with the first delta.
    waited: float | None = None
    refused: bool = False  # with an error: the request itself is at fault, not the engine


class EngineStats(msgspec.Struct, frozen=True, array_like=True):
    """The engine's gauges and monotonic counters after a step."""

    running: int = 0
    waiting: int = 0
    blocks_used: int = 0
    blocks_total: int = 0
    preemptions: int = 0  # since the engine started
    prefix_queries: int = 0  # prompt tokens looked up, since start
    prefix_hits: int = 0  # prompt tokens found, since start
    step_seconds: float = 0.0  # the last step, forward and sampling
    tokens_in_step: int = 0  # positions computed in the last step
    memory_bytes: int = 0  # rank 0's, at its most, since before it loaded; 0: not measured


class StepReport(msgspec.Struct, frozen=True, tag="step"):
    """Sent by rank 0 after each step that emitted or ended something."""

    deltas: list[Delta]
    stats: EngineStats


class Loading(msgspec.Struct, frozen=True, tag="loading"):
    """Progress of one rank's weights, in bytes."""

    rank: int
    done: int
    total: int


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The engine answers from now on. What it decided at start."""

    engine: str  # "native", "transformers"
    architecture: str
    vocab_size: int
    max_model_len: int  # tokens of prompt and output together
    max_num_seqs: int
    block_size: int
    blocks_total: int
    dtype: str
    device: str
    degree: int
    weight_bytes: int  # this rank's share
    kv_bytes: int  # this rank's share
    load_seconds: float
    generates: bool = False  # whether it takes GenerateParams
    inputs: tuple[str, ...] = ()  # kinds of inputs beside text that a prompt may have
    estimated: dict[str, int] = {}  # rank 0's bytes by what they are for, as `fit` reckons them


class Heartbeat(msgspec.Struct, frozen=True, tag="heartbeat"):
    """Sent by a thread of every rank twice a second, whatever its main thread does; left out if
    a StepReport has been sent since the last one, which says as much.

    `work` counts what the main thread has done (layers and idle waits). By it a supervisor
    tells a busy rank from one that hangs; a silent rank is stopped or dead.
    """

    rank: int
    work: int
    busy: bool  # in a step, rather than waiting for one


class Fatal(msgspec.Struct, frozen=True, tag="fatal"):
    """Why this engine cannot start or go on. `retry`: whether a fresh process may do better."""

    rank: int
    reason: str
    retry: bool = False


ToEngine = Submit | Cancel | Shutdown
FromEngine = Loading | Ready | StepReport | Heartbeat | Fatal
