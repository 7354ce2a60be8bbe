"""config.json of the architectures that mix kinds of layers, or have parts of their own."""

from __future__ import annotations

from dataclasses import replace

from berth.checkpoint.keys import Keys
from berth.checkpoint.layers import (
    Attention,
    FeedForward,
    LatentAttention,
    Layer,
    LinearAttention,
    Mixer,
    Mlp,
    ModelNumbers,
    Moe,
    NumbersError,
    StateSpace,
    Tensor,
)
from berth.checkpoint.shapes import (
    context_of,
    decoder,
    deepseek_part,
    latent,
    predictors,
    sliding,
    softmax,
)


def gemma3(name: str, keys: Keys) -> ModelNumbers:
    kinds = _five_to_one(keys)
    bias = keys.flag("attention_bias", False)
    part = Mlp(intermediate=keys.whole("intermediate_size"))

    def mixer(layer: int) -> Attention:
        return Attention(
            heads=keys.whole("num_attention_heads", default=8),
            kv_heads=keys.whole("num_key_value_heads", default=4),
            head_dim=keys.whole("head_dim", default=256),
            window=sliding(keys, layer, kinds, 4096),
            qkv_bias=bias,
            out_bias=bias,
            qk_norm="head",
        )

    numbers = decoder(
        name, _gemma_vocab(keys, 262208), mixer, lambda _: part, tied=True, norms=4, context=131072
    )
    return numbers


def _gemma_vocab(keys: Keys, default: int) -> Keys:
    """Gemma's files may leave the vocabulary's size out."""
    return keys if keys.has("vocab_size") else Keys({**keys.values, "vocab_size": default})


def _five_to_one(keys: Keys) -> list[str]:
    """Which layers slide: as listed, else five of six."""
    if kinds := keys.names("layer_types"):
        return kinds
    pattern = max(keys.whole("sliding_window_pattern", default=6), 1)
    layers = keys.whole("num_hidden_layers")
    return ["sliding_attention" if (i + 1) % pattern else "full_attention" for i in range(layers)]


def gemma4(name: str, keys: Keys) -> ModelNumbers:
    kinds = _five_to_one(keys)
    layers = keys.whole("num_hidden_layers")
    own = layers - keys.whole("num_kv_shared_layers", default=0)
    if len(kinds) != layers or own < 0:
        raise NumbersError(f"layer_types should name each of the {layers} layers")
    kinds[-1:] = ["full_attention"]
    width = keys.whole("hidden_size")
    per_layer = keys.whole("hidden_size_per_layer_input", default=256)
    numbers = decoder(
        name,
        _gemma_vocab(keys, 262144),
        lambda i: _gemma4_attention(keys, i, kinds, own),
        lambda i: _gemma4_part(keys, shared=i >= own),
        tied=True,
        norms=4,
        context=131072,
    )
    experts = keys.flag("enable_moe_block", False)
    return replace(
        numbers,
        layers=tuple(
            replace(
                layer,
                norms=4 + (1 if per_layer else 0) + (3 if experts else 0),
                extra=_gemma4_extra(index, width, per_layer, layer.feed_forward),
            )
            for index, layer in enumerate(numbers.layers)
        ),
        extra=_gemma4_inputs(keys, layers, width, per_layer),
    )


def _gemma4_attention(keys: Keys, layer: int, kinds: list[str], own: int) -> Attention:
    """Full layers have larger heads, and may use their keys as values; late ones reuse a cache."""
    slides = kinds[layer] == "sliding_attention"
    same = keys.flag("attention_k_eq_v", False) and not slides
    kv_heads = keys.whole("num_key_value_heads", default=4)
    source = None
    if layer >= own:
        same_kind = [i for i in range(own) if kinds[i] == kinds[layer]]
        if not same_kind:
            raise NumbersError("num_kv_shared_layers leaves no layer whose cache could be shared")
        source = same_kind[-1]
    bias = keys.flag("attention_bias", False)
    return Attention(
        heads=keys.whole("num_attention_heads", default=8),
        kv_heads=keys.whole("num_global_key_value_heads", default=kv_heads) if same else kv_heads,
        head_dim=keys.whole("head_dim", default=256)
        if slides
        else keys.whole("global_head_dim", default=512),
        window=keys.whole("sliding_window", default=512) if slides else None,
        qkv_bias=bias,
        out_bias=bias,
        qk_norm="head",
        value_is_key=same,
        cache_of=source,
    )


def _gemma4_part(keys: Keys, *, shared: bool) -> FeedForward:
    double = shared and keys.flag("use_double_wide_mlp", False)
    size = keys.whole("intermediate_size") * (2 if double else 1)
    if not keys.flag("enable_moe_block", False):
        return Mlp(intermediate=size)
    return Moe(
        experts=keys.whole("num_experts"),
        experts_per_token=keys.whole("top_k_experts"),
        intermediate=keys.whole("moe_intermediate_size"),
        dense=size,
    )


def _gemma4_extra(
    layer: int, width: int, per_layer: int, part: FeedForward | None
) -> tuple[Tensor, ...]:
    name = f"layers.{layer}"
    found = [Tensor(f"{name}.scalar", (1,), dtype="vector", layer=layer)]
    if per_layer:
        found.append(Tensor(f"{name}.input_gate", (per_layer, width), layer=layer))
        found.append(Tensor(f"{name}.input_projection", (width, per_layer), layer=layer))
    if isinstance(part, Moe):
        found.append(Tensor(f"{name}.router_scale", (width,), dtype="vector", layer=layer))
        found.append(Tensor(f"{name}.expert_scale", (part.experts,), dtype="vector", layer=layer))
    return tuple(found)


def _gemma4_inputs(keys: Keys, layers: int, width: int, per_layer: int) -> tuple[Tensor, ...]:
    if not per_layer:
        return ()
    vocab = keys.whole("vocab_size_per_layer_input", default=262144)
    wide = layers * per_layer
    return (
        Tensor("per_layer.embedding", (vocab, wide), 0, vocab, "embedding"),
        Tensor("per_layer.projection", (wide, width)),
        Tensor("per_layer.norm", (per_layer,), dtype="vector"),
    )


def qwen3_5(name: str, keys: Keys) -> ModelNumbers:
    """Qwen 3.5, and Qwen3-Next before it: three layers of linear attention to one of softmax."""
    kinds = keys.names("layer_types")
    every = max(keys.whole("full_attention_interval", default=4), 1)
    bias = keys.flag("attention_bias", False)

    def mixer(layer: int) -> Mixer:
        full = kinds[layer] == "full_attention" if kinds else (layer + 1) % every == 0
        if full:
            return softmax(
                keys,
                kv_heads=4 if "Moe" not in name else 2,
                head_dim=keys.whole("head_dim", default=256),
                qkv_bias=bias,
                out_bias=bias,
                qk_norm="head",
                gated=True,
            )
        return LinearAttention(
            key_heads=keys.whole("linear_num_key_heads", default=16),
            value_heads=keys.whole("linear_num_value_heads", default=32),
            key_dim=keys.whole("linear_key_head_dim", default=128),
            value_dim=keys.whole("linear_value_head_dim", default=128),
            conv_kernel=keys.whole("linear_conv_kernel_dim", default=4),
        )

    if kinds is not None and len(kinds) != keys.whole("num_hidden_layers"):
        raise NumbersError("layer_types should name each of the layers")
    part = _qwen_experts(keys) if keys.has("num_experts") else _qwen_mlp(keys)
    return decoder(name, keys, mixer, lambda _: part, context=32768)


def _qwen_mlp(keys: Keys) -> Mlp:
    return Mlp(intermediate=keys.whole("intermediate_size"))


def _qwen_experts(keys: Keys) -> Moe:
    shared = keys.whole("shared_expert_intermediate_size", default=512)
    return Moe(
        experts=keys.whole("num_experts"),
        experts_per_token=keys.whole("num_experts_per_tok"),
        intermediate=keys.whole("moe_intermediate_size"),
        shared=shared,
        shared_gate=shared > 0,
    )


# One letter a layer, as published; the words are transformers' old and new ones.
_NEMOTRON = {
    "M": "M", "mamba": "M", "linear_attention": "M",
    "*": "*", "attention": "*", "full_attention": "*",
    "E": "E", "moe": "E",
    "-": "-", "mlp": "-",
}  # fmt: skip


def nemotron_h(name: str, keys: Keys) -> ModelNumbers:
    pattern = keys.text("hybrid_override_pattern")
    words = list(pattern) if pattern else keys.names("layers_block_type")
    if not words:
        raise NumbersError("hybrid_override_pattern is missing; it should have a letter a layer")
    if unknown := sorted(set(words) - set(_NEMOTRON)):
        raise NumbersError(f"hybrid_override_pattern holds {unknown[0]!r}, which is not known")
    quantization = keys.under("quantization_config")
    return ModelNumbers(
        architecture=name,
        hidden=keys.whole("hidden_size"),
        vocab=keys.whole("vocab_size"),
        layers=tuple(_nemotron_layer(keys, _NEMOTRON[word]) for word in words),
        context=context_of(keys, 4096),
        tied=keys.flag("tie_word_embeddings", False),
        dtype=keys.text("dtype") or keys.text("torch_dtype"),
        quantization=quantization.text("quant_method") if quantization else None,
        unused=predictors(keys),
    )


def _nemotron_layer(keys: Keys, kind: str) -> Layer:
    mixer: Mixer | None = None
    part: FeedForward | None = None
    if kind == "M":
        mixer = StateSpace(
            heads=keys.whole("mamba_num_heads", default=128),
            head_dim=keys.whole("mamba_head_dim", default=64),
            state=keys.whole("ssm_state_size", default=128),
            groups=keys.whole("mamba_n_groups", "n_groups", default=8),
            conv_kernel=keys.whole("mamba_d_conv", "conv_kernel", default=4),
            conv_bias=keys.flag("use_conv_bias", True),
            bias=keys.flag("use_bias", False),
        )
    elif kind == "*":
        dim = keys.whole("head_dim", "attention_head_dim", default=128)
        mixer = softmax(keys, kv_heads=8, head_dim=dim)
    elif kind == "E":
        part = Moe(
            experts=keys.whole("n_routed_experts"),
            experts_per_token=keys.whole("num_experts_per_tok"),
            intermediate=keys.whole("moe_intermediate_size"),
            gated=False,
            correction=True,
            shared=keys.whole("moe_shared_expert_intermediate_size", default=0),
            latent=keys.maybe("moe_latent_size"),
        )
    else:
        part = Mlp(
            intermediate=keys.whole("intermediate_size"),
            gated=False,
            bias=keys.flag("mlp_bias", False),
        )
    return Layer(mixer=mixer, feed_forward=part, norms=1)


def sparse_latent(name: str, keys: Keys) -> ModelNumbers:
    """DeepSeek V3.2 and GLM 5: latent attention with an indexer that picks what to attend to."""
    indexers = _indexers(keys)

    def mixer(layer: int) -> LatentAttention:
        return latent(
            keys,
            index_heads=keys.whole("index_n_heads", default=64),
            index_head_dim=keys.whole("index_head_dim", default=128),
            index_topk=keys.whole("index_topk", default=2048),
            shared_index=indexers[layer] == "shared",
        )

    return decoder(name, keys, mixer, lambda i: deepseek_part(keys, i, 3), context=163840)


def _indexers(keys: Keys) -> list[str]:
    """Of each layer, whether it picks ("full") or keeps an earlier layer's choice ("shared")."""
    layers = keys.whole("num_hidden_layers")
    if named := keys.names("indexer_types"):
        kinds = named
    elif pattern := keys.text("index_topk_pattern"):
        kinds = ["shared" if letter == "S" else "full" for letter in pattern]
    else:
        step = max(keys.whole("index_topk_freq", default=1), 1)
        first = keys.whole("index_skip_topk_offset", default=2) - 1
        kinds = ["shared" if max(i - first, 0) % step else "full" for i in range(layers)]
    if len(kinds) != layers:
        raise NumbersError(f"indexer_types should name each of the {layers} layers")
    return kinds


def mistral4(name: str, keys: Keys) -> ModelNumbers:
    mixer = latent(keys)
    return decoder(
        name,
        keys,
        lambda _: mixer,
        lambda i: deepseek_part(keys, i, 0, correction=False),
        context=1048576,
    )
