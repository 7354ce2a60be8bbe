"""Models for the tests of fit: published configurations, and random small ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from berth.checkpoint.numbers import (
    Attention,
    LatentAttention,
    Layer,
    LinearAttention,
    Mlp,
    ModelNumbers,
    Moe,
    StateSpace,
    from_config_json,
)


def llama(**changes: Any) -> ModelNumbers:
    """Llama 3.1 8B, with these keys of config.json changed."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "torch_dtype": "bfloat16",
    }
    return from_config_json(config | changes)


def llama_2_13b() -> ModelNumbers:
    return llama(
        hidden_size=5120,
        intermediate_size=13824,
        num_hidden_layers=40,
        num_attention_heads=40,
        num_key_value_heads=40,
        vocab_size=32000,
        max_position_embeddings=4096,
        torch_dtype="float16",
    )


def llama_2_70b() -> ModelNumbers:
    return llama(
        hidden_size=8192,
        intermediate_size=28672,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=8,
        vocab_size=32000,
        max_position_embeddings=4096,
        torch_dtype="float16",
    )


def qwen3(hidden: int, intermediate: int, layers: int, heads: int, context: int) -> ModelNumbers:
    """Qwen3 8B and 14B differ in these."""
    return from_config_json(
        {
            "architectures": ["Qwen3ForCausalLM"],
            "hidden_size": hidden,
            "intermediate_size": intermediate,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151936,
            "max_position_embeddings": context,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
        }
    )


def qwen25_coder_7b() -> ModelNumbers:
    """28 heads, 4 kv heads."""
    return from_config_json(
        {
            "architectures": ["Qwen2ForCausalLM"],
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "vocab_size": 152064,
            "max_position_embeddings": 32768,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
        }
    )


def mistral_small_4() -> ModelNumbers:
    """119B, latent attention; the sizes that its cache depends on are the published ones."""
    layer = Layer(
        mixer=LatentAttention(
            heads=32,
            kv_lora_rank=256,
            qk_nope_head_dim=64,
            qk_rope_head_dim=64,
            v_head_dim=128,
            q_lora_rank=1024,
        ),
        feed_forward=Moe(experts=128, experts_per_token=4, intermediate=2048, shared=2048),
    )
    return ModelNumbers(
        architecture="Mistral3ForConditionalGeneration",
        hidden=4096,
        vocab=131072,
        layers=(layer,) * 36,
        context=1048576,
        dtype="bfloat16",
        quantization="fp8",
    )


def uniform(layer: Layer, *, layers: int = 4, context: int = 65536) -> ModelNumbers:
    """A model of equal layers that only vLLM runs."""
    return ModelNumbers(
        architecture="TestForCausalLM",
        hidden=1024,
        vocab=32000,
        layers=(layer,) * layers,
        context=context,
        dtype="bfloat16",
    )


def attention(**changes: Any) -> Layer:
    values = {"heads": 16, "kv_heads": 4, "head_dim": 64} | changes
    return Layer(mixer=Attention(**values), feed_forward=Mlp(intermediate=4096))


LINEAR = Layer(
    mixer=LinearAttention(key_heads=8, value_heads=16, key_dim=64, value_dim=64, conv_kernel=4),
    feed_forward=Mlp(intermediate=4096),
)
STATE_SPACE = Layer(
    mixer=StateSpace(heads=32, head_dim=64, state=64, groups=8, conv_kernel=4), feed_forward=None
)


@st.composite
def llamas(draw: st.DrawFn) -> ModelNumbers:
    """Models of the native engine's kind, from tiny to 70B."""
    kv_heads = draw(st.sampled_from([1, 2, 4, 8, 40]))
    heads = kv_heads * draw(st.sampled_from([1, 2, 4, 8]))
    return llama(
        hidden_size=draw(st.integers(1, 64)) * 128,
        intermediate_size=draw(st.integers(1, 224)) * 128,
        num_hidden_layers=draw(st.integers(1, 80)),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=draw(st.sampled_from([64, 128])),
        vocab_size=draw(st.integers(8, 2048)) * 64,
        max_position_embeddings=draw(st.sampled_from([2048, 8192, 131072])),
        tie_word_embeddings=draw(st.booleans()),
        torch_dtype=draw(st.sampled_from(["float16", "bfloat16", "float32"])),
    )


@st.composite
def mixed(draw: st.DrawFn) -> ModelNumbers:
    """Models of mixed layers, as vLLM runs them."""
    kinds = [
        attention(),
        attention(kv_heads=16),
        attention(kv_heads=1),
        attention(window=1024),
        LINEAR,
        STATE_SPACE,
        Layer(
            mixer=LatentAttention(
                heads=16, kv_lora_rank=128, qk_nope_head_dim=64, qk_rope_head_dim=32, v_head_dim=64
            ),
            feed_forward=Moe(experts=8, experts_per_token=2, intermediate=512),
        ),
    ]
    layers = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=24))
    return ModelNumbers(
        architecture="TestForCausalLM",
        hidden=1024,
        vocab=draw(st.sampled_from([32000, 32001, 128256])),
        layers=tuple(layers),
        context=draw(st.sampled_from([4096, 65536])),
        dtype="bfloat16",
        tied=draw(st.booleans()),
    )
