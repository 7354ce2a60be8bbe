"""May this request run through generate, and do its parameters agree with each other? Pure."""

from __future__ import annotations

import math

from berth.protocol.messages import GenerateParams, Ready, SamplingParams
from berth.serving.errors import InvalidRequest
from berth.serving.request import Options

MAX_BEAMS = 64
MAX_BAD_WORDS = 1024
NEEDS_GENERATE = "needs_generate"  # the code of a refusal by an engine that has none

# What generate would have to be given another way, or cannot tell.
_ALONE = ("min_p", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "echo")


def check_generate(
    options: Options, params: SamplingParams, ready: Ready, *, prompt_tokens: int
) -> None:
    """Check `options.generate` against itself, the other options and the engine.

    Raises:
        InvalidRequest: names the field and what would be right; with the code `needs_generate`
            if the engine that serves the model computes no such thing.
    """
    generate = options.generate
    if generate is None:
        return
    if not ready.generates:
        name = generate.asked_for or "generate"
        raise InvalidRequest(
            f"{name} needs Hugging Face's generate, and this model is served by the "
            f"{ready.engine} engine; leave it at its default, or start the server with "
            "--engine transformers",
            name,
            NEEDS_GENERATE,
        )
    for name in _ALONE:
        if getattr(options, name) not in (None, 0, False, {}):
            raise InvalidRequest(f"{name} cannot be combined with {generate.asked_for}", name)
    _check_beams(generate, greedy=params.temperature == 0)
    _check_filters(generate, ready.vocab_size)
    memory = ready.blocks_total * ready.block_size
    needed = generate.num_beams * (prompt_tokens + params.max_tokens)
    if needed > memory:
        raise InvalidRequest(
            f"num_beams is {generate.num_beams}; with {prompt_tokens} prompt tokens and up to "
            f"{params.max_tokens} new ones that needs memory for {needed} tokens, and the engine "
            f"has it for {memory}",
            "num_beams",
        )


def _check_beams(generate: GenerateParams, *, greedy: bool) -> None:
    beams, groups = generate.num_beams, generate.num_beam_groups
    _check("num_beams", beams, 1 <= beams <= MAX_BEAMS, f"between 1 and {MAX_BEAMS}")
    _check(
        "num_return_sequences",
        generate.num_return_sequences,
        1 <= generate.num_return_sequences <= beams,
        f"between 1 and num_beams ({beams})",
    )
    _check(
        "num_beam_groups",
        groups,
        1 <= groups <= beams and beams % groups == 0,
        f"a number that divides num_beams ({beams})",
    )
    _check(
        "diversity_penalty",
        generate.diversity_penalty,
        0 < generate.diversity_penalty < math.inf if groups > 1 else True,
        "above 0 if num_beam_groups is above 1; otherwise the groups would be the same",
    )
    if groups > 1 and not greedy:
        raise InvalidRequest(
            f"num_beam_groups is {groups}; groups of beams do not sample: set do_sample to false",
            "num_beam_groups",
        )
    penalty = generate.length_penalty
    _check("length_penalty", penalty, abs(penalty) <= 100, "between -100 and 100")


def _check_filters(generate: GenerateParams, vocab_size: int) -> None:
    _check("typical_p", generate.typical_p, 0 < generate.typical_p <= 1, "above 0 and at most 1")
    for name in ("no_repeat_ngram_size", "encoder_no_repeat_ngram_size"):
        _check(name, getattr(generate, name), getattr(generate, name) >= 0, "at least 0")
    words = generate.bad_words_ids
    if len(words) > MAX_BAD_WORDS or not all(1 <= len(word) <= MAX_BAD_WORDS for word in words):
        raise InvalidRequest(
            f"bad_words_ids should hold at most {MAX_BAD_WORDS} lists of 1 to {MAX_BAD_WORDS} ids",
            "bad_words_ids",
        )
    tokens = {"bad_words_ids": [token for word in words for token in word]}
    for name in ("forced_bos_token_id", "forced_eos_token_id"):
        value = getattr(generate, name)
        tokens[name] = [] if value is None else [value]
    for name, ids in tokens.items():
        for token in ids:
            _check(name, token, 0 <= token < vocab_size, f"between 0 and {vocab_size - 1}")


def _check(field: str, value: object, holds: bool, right: str) -> None:
    if not holds:
        raise InvalidRequest(f"{field} is {value}; it should be {right}", field)
