"""Which stored tensor is which of the model's, whatever it was saved from. No torch.

transformers 5.23 reads tensors with or without the base model's prefix ("model.", Falcon's
"transformer."), or with it twice, and calls everything else missing. Besides these, Berth reads
what the wrappers of torch.compile, DDP, FSDP, TRL and PEFT put before and between the names: they
name nothing of the model's own, so that only one thing can be meant. If two tensors would be one
of the model's, neither is chosen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from berth.checkpoint.config import ModelConfig
from berth.checkpoint.index import INDEX
from berth.checkpoint.weight_format import FLOATS, PLAIN, StoredTensor
from berth.models.weights.names import HEAD, embedding_name, stored_tensors, tensor_shapes
from berth.models.weights.source import WeightError

# Parts of a name that stand for a wrapped module, wherever they are.
_WRAPPERS = frozenset(
    {"_orig_mod", "_fsdp_wrapped_module", "_fpw_module", "_checkpoint_wrapped_module", "base_layer"}
)
_FRONT = re.compile(r"(?:module\.|base_model\.model\.|pretrained_model\.)+")

# Buffers that the model computes itself, and heads beside it that make no text.
_HARMLESS = re.compile(
    r"""(?:.*\.)? (?:
        rotary_emb\.(?:inv_freq|cos_cached|sin_cached) | rotary_pos_emb\.inv_freq | rope\.freqs
        | (?:attn|attention|self_attn|self_attention)\.(?:bias|masked_bias|causal_mask)
        | masked_bias | num_batches_tracked | position_ids | _extra_state | total_ops | total_params
    ) | (?:.*\.)? (?:v_head|value_head|medusa_heads?|mtp|mtp_layers)\. .*""",
    re.VERBOSE,
)
_ADAPTER = re.compile(r".*\.(?:lora_[A-Z]\w*|lora_magnitude_vector|modules_to_save|original_module|"
                      r"ia3_\w+|hada_\w+|oft_\w+)(?:\..*)?")  # fmt: skip
_PACKED = (
    ".qweight", ".qzeros", ".g_idx", ".scales", ".weight_scale", ".weight_scale_inv", ".absmax",
    ".quant_map", ".weight_packed", ".SCB", ".weight_format", ".input_scale", ".weight_shape",
)  # fmt: skip
_LAYER = re.compile(r"(?:.*\.)?(?:layers|h)\.(\d+)\..*")


def unwrapped(name: str) -> str:
    """A tensor's name without what wrappers put into it."""
    if not _WRAPPERS.isdisjoint(parts := name.split(".")):
        name = ".".join(part for part in parts if part not in _WRAPPERS)
    front = _FRONT.match(name)
    return name[front.end() :] if front else name


def bind(where: Mapping[str, str], config: ModelConfig) -> dict[str, str]:
    """The stored name of each of the model's tensors that is there, by transformers' name.

    Args:
        where: the file of each stored tensor.

    Raises:
        WeightError: several stored tensors would be one of the model's.
    """
    embedding = embedding_name(config)
    known = {*stored_tensors(config, tensor_shapes(config)), embedding, HEAD}
    base = embedding.partition(".")[0] + "."
    plain = {stored: unwrapped(stored) for stored in where}
    prefix = _prefix(plain.values(), embedding.removeprefix(base), base)
    found: dict[str, str] = {}
    for stored, name in plain.items():
        own = next((one for one in _readings(name, base, prefix) if one in known), None)
        if own is None:
            continue
        if own in found:
            raise clash(stored, found[own], own, where[stored], where[found[own]])
        found[own] = stored
    return found


def _prefix(names: Iterable[str], embedding: str, base: str) -> str:
    """What stands before the base model's tensors: before its embedding, if there is only one."""
    fronts = {
        n.removesuffix(embedding) for n in names if n == embedding or n.endswith(f".{embedding}")
    }
    return fronts.pop() if len(fronts) == 1 else base


def _readings(name: str, base: str, prefix: str) -> Iterable[str]:
    """What a name may be in the model, the likeliest first."""
    yield name
    yield base + name
    if prefix and name.startswith(prefix):
        yield base + name.removeprefix(prefix)
        yield name.removeprefix(prefix)
    around = prefix.removesuffix(base) if f".{prefix}".endswith(f".{base}") else prefix
    if around and name.startswith(around):
        yield name.removeprefix(around)


def renames(where: Mapping[str, str], config: ModelConfig | None = None) -> dict[str, str]:
    """Patterns and what to put in their place, for transformers' `key_mapping`: together they
    unwrap the stored names. Empty if transformers reads them as they are.

    Args:
        where: the file of each stored tensor.
        config: the model, if the native engine knows it: then any prefix that all share goes too.

    Raises:
        WeightError: two names are one without their wrappers.
    """
    seen: dict[str, str] = {}
    parts: set[str] = set()
    in_front = False
    for stored in where:
        plain = unwrapped(stored)
        if plain in seen:
            raise clash(stored, seen[plain], plain, where[stored], where[seen[plain]])
        seen[plain] = stored
        if plain != stored:
            parts |= _WRAPPERS.intersection(stored.split("."))
            in_front = in_front or _FRONT.match(stored) is not None or stored[0] == "_"
    found = {rf"(?<![^.]){part}\.": "" for part in sorted(parts)}
    if in_front:
        found[rf"^{_FRONT.pattern}"] = ""
    if config is not None and (front := _foreign_front(bind(where, config), config)):
        found[f"^{front}"] = ""
    return found


def _foreign_front(names: Mapping[str, str], config: ModelConfig) -> str:
    """A pattern of what stands before all of the model's tensors, if that is not transformers' own
    prefix; empty if nothing does."""
    base = embedding_name(config).partition(".")[0] + "."
    fronts = set()
    for own, stored in names.items():
        plain = unwrapped(stored)
        end = own if f".{plain}".endswith(f".{own}") else own.removeprefix(base)
        fronts.add(plain.removesuffix(end))
    fronts -= {"", base}
    shortest = min(fronts, key=len, default="")
    if not fronts <= {shortest, shortest + base}:
        return ""
    # With or without the base's prefix behind it, which transformers reads alike.
    return re.escape(shortest) + (f"(?:{re.escape(base)})?" if len(fronts) > 1 else "")


def clash(name: str, other: str, own: str, file: str, other_file: str | None = None) -> WeightError:
    """The error of two stored tensors that would be one of the model's."""
    return WeightError(
        name,
        file,
        f"it and {other} in {other_file or file} are both {own} of the model, one of them with a "
        "wrapper's prefix; which one is meant? Remove the other",
    )


class Described(Protocol):
    """A stored tensor as its file's header describes it."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> str:
        """torch's name of it, or the file's if torch has none that weights may have."""
        ...


def refuse_unlike(
    config: ModelConfig,
    names: Mapping[str, str],
    stored: Mapping[str, Described],
    where: Mapping[str, str],
    expected: Mapping[str, tuple[int, ...]],
    indexed: Mapping[str, str],
) -> None:
    """Hold what is stored to what the model needs.

    Args:
        names: as `bind` gives them.
        stored, where: each stored tensor, and its file.
        expected: the full shape of every tensor that is needed, by transformers' name.
        indexed: the file in which an index says that a tensor is.

    Raises:
        WeightError: the first that is missing, of another shape or of a wrong dtype.
    """
    for name, tensor in stored_tensors(config, expected).items():
        own = stored_name(name, names, config)
        if own not in stored:
            raise missing(own, stored, where, indexed, config)
        if wrong := dtype_refusal(stored[own].dtype, tensor):
            raise WeightError(own, where[own], wrong)
        if stored[own].shape != tensor.shape:
            raise WeightError(
                own,
                where[own],
                f"its shape is {stored[own].shape}, but config.json asks for {tensor.shape}",
            )


def stored_name(name: str, names: Mapping[str, str], config: ModelConfig) -> str:
    """What the files call a tensor of the model. Of a tied pair some writers keep only the head."""
    embedding = embedding_name(config)
    if config.tie_embeddings and name in (HEAD, embedding):
        name = HEAD if HEAD in names and embedding not in names else embedding
    return names.get(name, name)


def missing(
    name: str,
    stored: Iterable[str],
    where: Mapping[str, str],
    indexed: Mapping[str, str],
    config: ModelConfig,
) -> WeightError:
    """The error of a tensor that no file has."""
    if name in indexed:
        return WeightError(name, indexed[name], f"is missing, though {INDEX} says it is there")
    files = list(dict.fromkeys(where.values()))
    many = f"{files[0]} and {len(files) - 1} more" if len(files) > 1 else files[0] if files else ""
    module = name.rpartition(".")[0]
    packed = next((s for s in stored if s.endswith(_PACKED) and module in unwrapped(s)), None)
    if packed is not None and not is_packed(config):
        return WeightError(name, many, f"is missing, and {packed} is there: {complaint(packed)}")
    if name == HEAD:
        return WeightError(
            name,
            many,
            "is missing, and config.json does not tie it to the embedding (tie_word_embeddings): "
            "a model without its head writes no text",
        )
    return WeightError(name, many, "is missing")


def is_packed(config: ModelConfig) -> bool:
    """Whether the weights of linear layers are packed."""
    return config.weight_format != PLAIN.name


def dtype_refusal(dtype: str, tensor: StoredTensor | None = None) -> str | None:
    """Why a tensor of this dtype is refused; None if it is not.

    Args:
        tensor: what is to be there; None: floats.
    """
    allowed = FLOATS if tensor is None else tensor.dtypes
    if dtype in allowed:
        return None
    if allowed != FLOATS:
        return f"its dtype is {dtype}; by config.json it must be {' or '.join(sorted(allowed))}"
    return (
        f"its dtype is {dtype}; weights must be float32, float16 or bfloat16 "
        "(quantised and fp8 files are not read)"
    )


def is_harmless(name: str) -> bool:
    """Whether leaving a stored tensor out changes no answer, going by its name."""
    return _HARMLESS.fullmatch(unwrapped(name)) is not None


def complaint(name: str, config: ModelConfig | None = None, *, meta: bool = False) -> str:
    """Why a tensor that the model does not use is not left out in silence.

    Args:
        meta: whether it is called as Meta's layout does, and params.json describes the model.
    """
    plain = unwrapped(name)
    file, layers = ("params.json", "n_layers") if meta else ("config.json", "num_hidden_layers")
    if _ADAPTER.fullmatch(plain):
        return (
            "it is part of an adapter (LoRA) that was not merged into the model; merge it with "
            "peft's merge_and_unload() and save the result"
        )
    if plain.endswith(_PACKED) and (config is None or not is_packed(config)):
        return (
            f"it is part of quantised weights, and {file} has no quantization_config that "
            f"says how to read them; get the model's own {file}, or its unquantised weights"
        )
    if (layer := _LAYER.fullmatch(plain)) and config and int(layer[1]) >= config.num_layers:
        return (
            f"{file} gives the model {config.num_layers} layers ({layers}), and this "
            f"is one of another layer; correct {file}, or remove the tensors"
        )
    if plain.endswith(".bias") and not meta:
        return (
            "config.json describes a model without this bias, and leaving it out would change the "
            "answers; switch it on there (attention_bias, mlp_bias; bias for Falcon) if the model "
            "was trained with it"
        )
    return (
        f"the model that {file} describes does not use it, and leaving it out could change the "
        f"answers; correct {file}, or remove the tensor if the model was trained without it"
    )
