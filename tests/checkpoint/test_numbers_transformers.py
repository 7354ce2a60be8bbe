"""The tensors that follow from a config.json are those that transformers makes of it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import transformers

from berth.checkpoint.numbers import from_config_json, parameter_count

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 96,
    "max_position_embeddings": 64,
}
LATENT = {
    "kv_lora_rank": 8,
    "q_lora_rank": 12,
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 4,
    "v_head_dim": 10,
    "moe_intermediate_size": 20,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "num_key_value_heads": 4,
}
LINEAR = {
    "head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 12,
}
EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 20,
    "shared_expert_intermediate_size": 24,
}
MOE = {
    "moe_intermediate_size": 20,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 2,
}
GPT = {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 64}
NEO = [[["global", "local"], 2]]
MAMBA2 = {"num_heads": 8, "head_dim": 8, "state_size": 6, "n_groups": 2}
SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
    "vision_use_head": False,
}
PIXTRAL = {
    "model_type": "pixtral",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
    "head_dim": 8,
}
QWEN_VISION = {
    "depth": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_heads": 2,
    "num_position_embeddings": 16,
    "out_hidden_size": 32,
    "patch_size": 4,
}


def small(name: str, *more: dict[str, Any], **changes: Any) -> Any:
    config: dict[str, Any] = {"architectures": [name], **SMALL}
    for part in more:
        config |= part
    config |= changes
    ident = name + "".join(f",{k}={v}" for k, v in changes.items() if isinstance(v, bool | int))
    return pytest.param(config, id=ident[:70])


CASES = [
    small("LlamaForCausalLM"),
    small("LlamaForCausalLM", attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    small("LlamaForCausalLM", head_dim=24),
    small("GraniteForCausalLM"),
    small("SmolLM3ForCausalLM", pad_token_id=0),
    small("MistralForCausalLM", head_dim=12),
    small("Ministral3ForCausalLM", head_dim=12),
    small("MixtralForCausalLM", num_local_experts=4),
    small("Qwen2ForCausalLM"),
    small("Qwen3ForCausalLM", head_dim=16),
    small("Qwen3MoeForCausalLM", EXPERTS, head_dim=16, mlp_only_layers=[1]),
    small("Phi3ForCausalLM", pad_token_id=0),
    small("GemmaForCausalLM", head_dim=16),
    small("Gemma2ForCausalLM", head_dim=16),
    small("Gemma3ForCausalLM", head_dim=16),
    small(
        "Gemma3ForConditionalGeneration",
        text_config={**SMALL, "head_dim": 16, "model_type": "gemma3_text"},
        vision_config=SIGLIP,
        mm_tokens_per_image=4,
    ),
    small("Gemma4ForCausalLM", head_dim=16, global_head_dim=24, hidden_size_per_layer_input=0),
    small(
        "Gemma4ForCausalLM",
        head_dim=16,
        global_head_dim=24,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=96,
        num_kv_shared_layers=2,
        use_double_wide_mlp=True,
        layer_types=["sliding_attention", "full_attention"] * 2,
    ),
    small(
        "Gemma4ForCausalLM",
        head_dim=16,
        global_head_dim=24,
        num_global_key_value_heads=1,
        attention_k_eq_v=True,
        hidden_size_per_layer_input=0,
        enable_moe_block=True,
        num_experts=4,
        top_k_experts=2,
        moe_intermediate_size=20,
    ),
    small("FalconForCausalLM"),
    small("GPT2LMHeadModel", GPT),
    small("GPT2LMHeadModel", GPT, n_inner=40),
    small("OpenAIGPTLMHeadModel", GPT),
    small("GPTBigCodeForCausalLM", GPT),
    small("GPTBigCodeForCausalLM", GPT, multi_query=False),
    small("GPTJForCausalLM", GPT, rotary_dim=4),
    small("GPTNeoForCausalLM", num_layers=4, num_heads=4, attention_types=NEO),
    small("GPTNeoXForCausalLM"),
    small("GPTNeoXForCausalLM", attention_bias=False),
    small("StableLmForCausalLM"),
    small("StableLmForCausalLM", use_qkv_bias=True, use_parallel_residual=True),
    small("OPTForCausalLM", ffn_dim=40, word_embed_proj_dim=32),
    small("OPTForCausalLM", ffn_dim=40, word_embed_proj_dim=32, do_layer_norm_before=False),
    small("OPTForCausalLM", ffn_dim=40, word_embed_proj_dim=32, enable_bias=False),
    small("BloomForCausalLM", n_layer=4, n_head=4),
    small("MptForCausalLM", d_model=32, n_layers=4, n_heads=4),
    small("Starcoder2ForCausalLM"),
    small("Starcoder2ForCausalLM", use_bias=False, tie_word_embeddings=False),
    small("PhiForCausalLM"),
    small("MambaForCausalLM", state_size=6),
    small("MambaForCausalLM", state_size=6, use_bias=True, use_conv_bias=False),
    small("Mamba2ForCausalLM", MAMBA2),
    small("Mamba2ForCausalLM", MAMBA2, use_bias=True, tie_word_embeddings=True),
    small("FalconForCausalLM", alibi=True, bias=True, multi_query=False, parallel_attn=False),
    small("FalconForCausalLM", new_decoder_architecture=True, num_kv_heads=2),
    small(
        "FalconForCausalLM",
        new_decoder_architecture=True,
        num_kv_heads=2,
        num_ln_in_parallel_attn=1,
    ),
    small("GptOssForCausalLM", num_local_experts=4, num_experts_per_tok=2, head_dim=16),
    small("DeepseekV3ForCausalLM", LATENT),
    small("DeepseekV3ForCausalLM", LATENT, q_lora_rank=None, attention_bias=True),
    small("DeepseekV32ForCausalLM", LATENT, index_n_heads=2, index_head_dim=8),
    small(
        "GlmMoeDsaForCausalLM",
        LATENT,
        index_n_heads=2,
        index_head_dim=8,
        indexer_types=["full", "full", "shared", "full"],
    ),
    small("Mistral4ForCausalLM", LATENT, first_k_dense_replace=0),
    small("MiniMaxM2ForCausalLM", num_local_experts=4, num_experts_per_tok=2, head_dim=16),
    small("Qwen3NextForCausalLM", LINEAR, EXPERTS),
    small("Qwen3_5ForCausalLM", LINEAR),
    small(
        "Qwen3_5ForConditionalGeneration",
        text_config={**SMALL, **LINEAR, "model_type": "qwen3_5_text"},
        vision_config=QWEN_VISION,
    ),
    small(
        "Qwen3_5MoeForConditionalGeneration",
        text_config={**SMALL, **LINEAR, **EXPERTS, "model_type": "qwen3_5_moe_text"},
        vision_config=QWEN_VISION,
    ),
    small(
        "Mistral3ForConditionalGeneration",
        text_config={**SMALL, "head_dim": 12, "model_type": "mistral"},
        vision_config=PIXTRAL,
        tie_word_embeddings=False,
    ),
    small(
        "NemotronHForCausalLM",
        hybrid_override_pattern="M*E-",
        head_dim=16,
        mamba_num_heads=4,
        mamba_head_dim=8,
        n_groups=2,
        ssm_state_size=8,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=20,
        moe_shared_expert_intermediate_size=24,
        moe_latent_size=16,
    ),
    small("Olmo2ForCausalLM"),
    small("Olmo3ForCausalLM", sliding_window=8),
    small("CohereForCausalLM"),
    small("CohereForCausalLM", use_qk_norm=True, attention_bias=True),
    small("Cohere2ForCausalLM", head_dim=16, sliding_window=8),
    small("Starcoder2ForCausalLM"),
    small("Starcoder2ForCausalLM", use_bias=False, tie_word_embeddings=False),
    small("Glm4MoeForCausalLM", MOE, head_dim=16),
    small("Glm4MoeForCausalLM", MOE, head_dim=16, use_qk_norm=True, attention_bias=True),
    small(
        "Kimi_K25ForConditionalGeneration",
        text_config={**SMALL, **LATENT, "model_type": "deepseek_v3"},
        vision_config={**SIGLIP, "model_type": "kimi_k25_vision", "pos_emb_height": 3},
        projection_hidden_size=16,
        tie_word_embeddings=False,
    ),
    small("BertModel", num_key_value_heads=None),
    small("XLMRobertaModel", num_key_value_heads=None, type_vocab_size=1),
]


@pytest.mark.parametrize("config", CASES)
def test_the_count_is_that_of_the_module_that_transformers_builds(config: dict[str, Any]) -> None:
    assert parameter_count(from_config_json(config)) == _count_by_transformers(config)


def _count_by_transformers(config: dict[str, Any]) -> int:
    model_class = getattr(transformers, config["architectures"][0])
    with torch.device("meta"):
        model = model_class(model_class.config_class.from_dict(config))
    tied = set(model.all_tied_weights_keys)
    return sum(
        math.prod(tensor.shape)
        for name, tensor in model.state_dict(keep_vars=True).items()
        if name not in tied
    )
