"""Writes docs/models.md: `python -m tools.models_page > docs/models.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import groupby

from berth.checkpoint.hf import CLASSES
from berth.presets.catalogue import Preset, load_presets

# Classes whose logits or greedy text tests hold to transformers' own, on small random models
# (tests/engines/native/test_parity*.py, tests/engines/transformers). tests/presets/test_page.py
# keeps this honest.
TESTED_NATIVE = frozenset(
    {
        "FalconForCausalLM",
        "Gemma2ForCausalLM",
        "Gemma3ForCausalLM",
        "LlamaForCausalLM",
        "MistralForCausalLM",
        "Phi3ForCausalLM",
        "Qwen2ForCausalLM",
        "Qwen3ForCausalLM",
    }
)
TESTED_TRANSFORMERS = frozenset(
    {
        "BloomForCausalLM",
        "Cohere2ForCausalLM",
        "CohereForCausalLM",
        "DeepseekV3ForCausalLM",
        "FalconForCausalLM",
        "GPT2LMHeadModel",
        "GPTJForCausalLM",
        "GPTNeoXForCausalLM",
        "Gemma2ForCausalLM",
        "Gemma3ForCausalLM",
        "GemmaForCausalLM",
        "Glm4ForCausalLM",
        "Glm4MoeForCausalLM",
        "GptOssForCausalLM",
        "GraniteForCausalLM",
        "HunYuanDenseV1ForCausalLM",
        "Lfm2ForCausalLM",
        "LlamaForCausalLM",
        "MambaForCausalLM",
        "MiniMaxM2ForCausalLM",
        "MistralForCausalLM",
        "MixtralForCausalLM",
        "MptForCausalLM",
        "OPTForCausalLM",
        "Olmo2ForCausalLM",
        "Olmo3ForCausalLM",
        "OpenAIGPTLMHeadModel",
        "Phi3ForCausalLM",
        "PhiForCausalLM",
        "Qwen3MoeForCausalLM",
        "Qwen3NextForCausalLM",
        "Qwen3_5ForCausalLM",
        "Qwen3_5MoeForCausalLM",
        "StableLmForCausalLM",
        "Starcoder2ForCausalLM",
    }
)
# Classes of models that also see, and what transformers runs of them for text.
_TEXT_OF = {
    "Qwen3_5ForConditionalGeneration": "Qwen3_5ForCausalLM",
    "Qwen3_5MoeForConditionalGeneration": "Qwen3_5MoeForCausalLM",
}

_FEATURES = [
    ("continuous batching", "yes", "yes"),
    ("chunked prefill", "yes", "no"),
    ("prefix sharing", "yes", "no"),
    ("tensor parallelism under torchrun", "yes", "no"),
    ("several GPUs by accelerate's device_map", "no", "untested"),
    ("seeds, penalties, logprobs, stop strings, streaming", "yes", "yes"),
    ("beams, several return sequences, n-gram bans, forced tokens", "no", "yes"),
    ("8-bit and 4-bit loading", "no", "untested (needs an NVIDIA GPU)"),
    ("CPU", "yes", "yes"),
    ("NVIDIA GPU", "untested", "untested"),
]

_HEAD = """# Models

Generated from the catalogue by `make docs`; do not edit.

`berth presets` lists the same; `berth presets NAME` shows one. What a row says of tests is about
the architecture, on small random models beside transformers' own: no weights but pocket's can be
had on the machines of the tests.

Contexts and licences are as their makers announced them. Those of models whose parameters stand as
"?" were held against no file: look at the model's own page before you rely on them.

## Engines

| feature | native | transformers |
|---|---|---|
"""


def page() -> str:
    """The whole page."""
    presets = sorted(load_presets().values(), key=lambda p: (p.family, p.parameters or 0, p.name))
    lines = [f"| {name} | {native} | {other} |" for name, native, other in _FEATURES]
    return _HEAD + "\n".join(lines) + "\n" + "".join(_sections(presets))


def _sections(presets: list[Preset]) -> Iterator[str]:
    for family, members in groupby(presets, key=lambda p: p.family):
        yield f"\n## {family}\n\n"
        yield "| model | parameters | context | engine | chat template | tested |\n"
        yield "|---|---|---|---|---|---|\n"
        for preset in members:
            yield _row(preset)


def _row(preset: Preset) -> str:
    parameters = "?" if preset.parameters is None else f"{preset.parameters / 1e9:.3g} B"
    engine = f"none yet: {preset.reason}" if preset.engine == "none" else preset.engine
    return (
        f"| {preset.name} | {parameters} | {preset.context:,} | {engine} | {preset.template} | "
        f"{_tested(preset)} |\n"
    )


def _tested(preset: Preset) -> str:
    if preset.name == "pocket":
        return "yes, with its weights"
    known = TESTED_NATIVE if preset.architecture in CLASSES else TESTED_TRANSFORMERS
    name = _TEXT_OF.get(preset.architecture, preset.architecture)
    if preset.engine != "none" and name in known:
        return "architecture; weights untested"
    return "untested"


if __name__ == "__main__":
    sys.stdout.write(page())
