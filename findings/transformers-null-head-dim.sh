#!/usr/bin/env bash
# transformers 5.23.0: `"head_dim": null` in a config.json, which reads as "not given", ends in a
# TypeError for Qwen2 (None ** -0.5) and is taken as hidden_size / num_attention_heads by Llama.
# Seen: llama: head_dim 8; qwen2: TypeError: unsupported operand type(s) for ** or pow(): 'NoneType'
# and 'float'. A config without the key works for both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet torch==2.13.0 transformers==5.23.0
"$folder/venv/bin/python" - <<'PYTHON'
import transformers

assert transformers.__version__ == "5.23.0", transformers.__version__
sizes = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1,
    "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 100,
}


def build(kind, **more):
    config = transformers.AutoConfig.for_model(kind, **sizes, **more)
    try:
        model = transformers.AutoModelForCausalLM.from_config(config)
    except TypeError as error:
        return f"TypeError: {error}"
    return model.model.layers[0].self_attn.head_dim


seen = {
    (kind, said): build(kind, **more)
    for kind in ("llama", "qwen2")
    for said, more in (("absent", {}), ("null", {"head_dim": None}))
}
for (kind, said), what in seen.items():
    print(f"{kind}, head_dim {said}: {what}")
assert seen["llama", "absent"] == seen["llama", "null"] == seen["qwen2", "absent"] == 8, seen
assert str(seen["qwen2", "null"]).startswith("TypeError"), "it has changed"
PYTHON
echo "as stated"
