"""Is a request possible, and what exactly does it ask of the engine? Pure but for the seed."""

from __future__ import annotations

import math
import secrets
import sys
from collections.abc import Sequence

from berth.protocol.messages import SamplingParams
from berth.serving.errors import InvalidRequest
from berth.serving.prompt import Prompt
from berth.serving.request import Options

MAX_STOPS = 16
MAX_STOP_CHARACTERS = 256
MAX_LOGPROBS = 20
MAX_LOGIT_BIAS = 1024
MAX_STOP_TOKEN_IDS = 1024
MAX_BAD_WORDS = 512  # spellings: two of each word
_SEED_BITS = 63
_INT64 = 2**63
# A context holds few characters more than its tokens do: what is lost to normalisation.
_SLACK_BYTES = 1024


def check_text(
    text: str, field: str, *, max_model_len: int | None = None, max_token_bytes: int = 1
) -> None:
    """Refuse a text that cannot be encoded, or is too long for the context in any encoding.

    Args:
        max_model_len: tokens of the context; None: no text is too long.
        max_token_bytes: of the vocabulary's longest token.

    Raises:
        InvalidRequest: a lone surrogate (half of a character), or more tokens than the context has,
            however they are cut.
    """
    max_bytes = None
    if max_model_len is not None:
        max_bytes = max_prompt_bytes(max_model_len, max_token_bytes)
    # Four bytes a character at most: most texts are cleared without being looked at.
    if max_bytes is not None and len(text) > max_bytes:
        raise _too_long(field, len(text), max_model_len or 0, max_token_bytes)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(
            f"{field} holds a lone surrogate (half of a character); it should be valid Unicode",
            field,
        ) from None
    if max_bytes is not None and size > max_bytes:
        raise _too_long(field, size, max_model_len or 0, max_token_bytes)


def _too_long(field: str, size: int, max_model_len: int, max_token_bytes: int) -> InvalidRequest:
    """OpenAI's words, by which clients know the case; the text is not tokenised for it."""
    tokens = max(-(-size // max_token_bytes), max_model_len + 1)
    return InvalidRequest(
        f"This model's maximum context length is {max_model_len} tokens. However, you requested at "
        f"least {tokens} tokens in the {field}. Please reduce the length of the {field}.",
        field,
        "context_length_exceeded",
    )


def max_prompt_bytes(max_model_len: int, max_token_bytes: int) -> int:
    """Bytes of text beyond which no prompt fits: as many of the longest token as may be."""
    return max_model_len * max_token_bytes + _SLACK_BYTES


def check_prompt(prompt: Prompt, vocab_size: int, inputs: Sequence[str] = ()) -> None:
    """Refuse a prompt without tokens, or with ids or inputs that the model does not have.

    Args:
        inputs: the kinds of spans that the engine takes.

    Raises:
        InvalidRequest: see above.
    """
    ids = prompt.ids
    if not ids:
        raise InvalidRequest("The prompt is empty; it should hold at least one token.", "prompt")
    if set(map(type, ids)) != {int}:
        raise InvalidRequest("The prompt's token ids should be integers.", "prompt")
    if min(ids) < 0 or max(ids) >= vocab_size:
        raise InvalidRequest(
            f"The prompt's token ids should be between 0 and {vocab_size - 1}.", "prompt"
        )
    for span in prompt.spans:
        if span.kind not in inputs:
            raise InvalidRequest(f"The model takes no input of the kind {span.kind!r}.", "prompt")


def sampling_params(
    options: Options,
    *,
    prompt_tokens: int,
    max_model_len: int,
    vocab_size: int,
    eos_ids: Sequence[int],
    bad_words: Sequence[Sequence[int]] = (),
) -> SamplingParams:
    """Check every option and translate: defaults filled in, a seed drawn if none was given.

    Args:
        prompt_tokens: length of the prompt, which with max_tokens has to fit in max_model_len.
        bad_words: token ids of each spelling that may not come.

    Raises:
        InvalidRequest: names the field, its range and, for lengths, the numbers.
    """
    _check_numbers(options)
    _check_stops(options, vocab_size)
    _check_logit_bias(options, vocab_size)
    _check_allowed(options, vocab_size)
    if len(bad_words) > MAX_BAD_WORDS:
        raise InvalidRequest(
            f"bad_words has {len(options.bad_words)} words; it should have at most "
            f"{MAX_BAD_WORDS // 2}",
            "bad_words",
        )
    max_tokens = _max_tokens(options, prompt_tokens, max_model_len)
    min_tokens = options.min_tokens
    if options.clip_max_tokens:
        min_tokens = min(min_tokens, max_tokens)
    if min_tokens > max_tokens:
        raise InvalidRequest(
            f"min_tokens is {options.min_tokens}; it should be at most max_tokens ({max_tokens})",
            "min_tokens",
        )
    stop_token_ids = set(options.stop_token_ids)
    if not options.ignore_eos:
        stop_token_ids.update(eos_ids)
    _check_one_may_come(options, bad_words, stop_token_ids)
    return SamplingParams(
        max_tokens=max_tokens,
        temperature=float(options.temperature),
        top_p=float(options.top_p),
        top_k=max(options.top_k, 0),
        min_p=float(options.min_p),
        repetition_penalty=float(options.repetition_penalty),
        presence_penalty=float(options.presence_penalty),
        frequency_penalty=float(options.frequency_penalty),
        logit_bias={token: float(bias) for token, bias in options.logit_bias.items()},
        seed=secrets.randbits(_SEED_BITS) if options.seed is None else options.seed % _INT64,
        stop_token_ids=tuple(sorted(stop_token_ids)),
        min_tokens=min_tokens,
        allowed_token_ids=tuple(sorted(set(options.allowed_token_ids))),
        bad_words=tuple(tuple(ids) for ids in bad_words),
        logprobs=options.logprobs,
        prompt_logprobs=options.logprobs if options.echo else None,
    )


def _max_tokens(options: Options, prompt_tokens: int, max_model_len: int) -> int:
    room = max_model_len - prompt_tokens
    # Echo alone (max_tokens 0) still has the engine look at the prompt, for its logprobs.
    wanted = 1 if options.echo and options.max_tokens == 0 else options.max_tokens
    if room < 1 or (wanted is not None and wanted > room and not options.clip_max_tokens):
        completion = 1 if wanted is None or options.clip_max_tokens else wanted
        raise InvalidRequest(
            f"This model's maximum context length is {max_model_len} tokens. However, you "
            f"requested {prompt_tokens + completion} tokens ({prompt_tokens} in the messages, "
            f"{completion} in the completion). Please reduce the length of the messages or "
            "completion.",
            "messages",
            "context_length_exceeded",
        )
    return room if wanted is None else min(wanted, room)


def _check_numbers(options: Options) -> None:
    echo_alone = options.echo and options.max_tokens == 0
    if options.max_tokens is not None and not echo_alone:
        _check_int("max_tokens", options.max_tokens, 1)
    _check_float("temperature", options.temperature, 0, options.max_temperature)
    _check_float("top_p", options.top_p, 0, 1, above=True)
    _check_int("top_k", options.top_k, -1)  # -1 keeps all too, as in vLLM
    _check_float("min_p", options.min_p, 0, 1)
    _check_float("repetition_penalty", options.repetition_penalty, 0, math.inf, above=True)
    _check_float("presence_penalty", options.presence_penalty, -2, 2)
    _check_float("frequency_penalty", options.frequency_penalty, -2, 2)
    _check_int("min_tokens", options.min_tokens, 0)
    if options.logprobs is not None:
        _check_int("logprobs", options.logprobs, 0, MAX_LOGPROBS)
    if options.seed is not None:
        _check_int("seed", options.seed, -_INT64, _INT64 - 1)
    if options.timeout is not None:
        _check_float("timeout", options.timeout, 0, math.inf, above=True)


def _check_float(field: str, value: float, low: float, high: float, *, above: bool = False) -> None:
    """`above`: `low` itself is not allowed. Neither NaN nor an infinity ever is."""
    if type(value) in (int, float):  # comparisons with NaN are false, with a huge integer exact
        enough = low < value if above else low <= value
        if enough and value <= min(high, sys.float_info.max):
            return
    least = f"above {low}" if above else f"at least {low}"
    most = "" if high == math.inf else f" and at most {high:g}"
    raise InvalidRequest(f"{field} is {_shown(value)}; it should be a number {least}{most}", field)


def _check_int(field: str, value: int, low: int, high: int | None = None) -> None:
    if type(value) is int and low <= value and (high is None or value <= high):
        return
    span = f"at least {low}" if high is None else f"between {low} and {high}"
    raise InvalidRequest(f"{field} is {_shown(value)}; it should be an integer {span}", field)


def _shown(value: object) -> str:
    """A number unchanged, unless it would take long to write; of anything else, the kind."""
    if type(value) is float or (type(value) is int and value.bit_length() < 128):
        return str(value)
    return "a huge number" if type(value) is int else type(value).__name__


def _check_stops(options: Options, vocab_size: int) -> None:
    if len(options.stop) > MAX_STOPS:
        raise InvalidRequest(
            f"stop has {len(options.stop)} strings; it should have at most {MAX_STOPS}", "stop"
        )
    for stop in options.stop:
        if not isinstance(stop, str) or not 1 <= len(stop) <= MAX_STOP_CHARACTERS:
            raise InvalidRequest(
                f"stop should hold strings of 1 to {MAX_STOP_CHARACTERS} characters", "stop"
            )
        check_text(stop, "stop")
    if len(options.stop_token_ids) > MAX_STOP_TOKEN_IDS:
        raise InvalidRequest(
            f"stop_token_ids should have at most {MAX_STOP_TOKEN_IDS} entries", "stop_token_ids"
        )
    for token in options.stop_token_ids:
        _check_int("stop_token_ids", token, 0, vocab_size - 1)


def _check_allowed(options: Options, vocab_size: int) -> None:
    if len(options.allowed_token_ids) > vocab_size:
        raise InvalidRequest(
            f"allowed_token_ids should have at most {vocab_size} entries", "allowed_token_ids"
        )
    for token in options.allowed_token_ids:
        _check_int("allowed_token_ids", token, 0, vocab_size - 1)


def _check_one_may_come(
    options: Options, bad_words: Sequence[Sequence[int]], stop_token_ids: set[int]
) -> None:
    """Refuse what leaves no token to begin with; what does so later, the engine says."""
    if not options.allowed_token_ids:
        return
    left = set(options.allowed_token_ids) - {word[0] for word in bad_words if len(word) == 1}
    if not left:
        raise InvalidRequest(
            "allowed_token_ids should have a token that bad_words does not exclude",
            "allowed_token_ids",
        )
    if options.min_tokens and not left - stop_token_ids:
        raise InvalidRequest(
            "allowed_token_ids should have a token that is not a stop token: a stop token may come "
            f"only after min_tokens ({options.min_tokens}) others",
            "allowed_token_ids",
        )


def _check_logit_bias(options: Options, vocab_size: int) -> None:
    if len(options.logit_bias) > MAX_LOGIT_BIAS:
        raise InvalidRequest(
            f"logit_bias has {len(options.logit_bias)} entries; it should have at most "
            f"{MAX_LOGIT_BIAS}",
            "logit_bias",
        )
    for token, bias in options.logit_bias.items():
        _check_int("logit_bias", token, 0, vocab_size - 1)
        _check_float("logit_bias", bias, -100, 100)
