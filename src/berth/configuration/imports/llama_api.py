"""llama-api's model_definitions.py, read as a syntax tree: nothing in it is executed."""

from __future__ import annotations

import ast
from typing import Any

from berth.configuration.errors import ConfigurationError
from berth.configuration.imports.imported import LLAMA_CPP, OFFLOAD, Imported

_CLASSES = ("LlamaCppModel", "ExllamaModel")
_OTHERS = ("ReverseProxyModel",)
_REASONS = {
    **dict.fromkeys(
        ("n_parts", "f16_kv", "logits_all", "vocab_only", "use_mlock", "use_mmap",
         "last_n_tokens_size", "low_vram", "rope_freq_base", "rope_freq_scale", "n_gqa",
         "rms_norm_eps", "mul_mat_q", "verbose", "compress_pos_emb", "gpu_peer_fix", "auto_map",
         "alpha_value", "use_flash_attn_2", "version"),
        LLAMA_CPP,
    ),
    "n_gpu_layers": OFFLOAD,
    "n_batch": "counts otherwise than max_batch_tokens",
    "seed": "send it with each request",
    "echo": "send it with each request",
    "cache": "prompts that begin alike share their cache anyway",
    "cache_type": "the cache is in the model's own memory",
    "cache_size": "say it by kv_cache_memory",
    "embedding": "embeddings are not served yet",
    "lora_base": "adapters are not served",
    "lora_path": "adapters are not served",
    "instruction_template": "the model's own chat template is taken; chat_template names another",
    "auto_truncate": "a prompt that is too long is refused, and not cut",
}  # fmt: skip


def convert(text: str, name: str) -> Imported:
    """Raises ConfigurationError if it is no Python, or defines no model."""
    try:
        module = ast.parse(text, name)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        raise ConfigurationError([f"{name}:{line}: not Python: {error.args[0]}"]) from None
    made = Imported()
    aliases: dict[str, str] = {}
    for statement in module.body:
        for target, value in _assigned(statement):
            _take(made, aliases, target, value)
        if not isinstance(statement, (ast.Assign, ast.AnnAssign, ast.Import, ast.ImportFrom)):
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                continue  # a docstring
            made.leave(f"line {statement.lineno}", "is code, which is not executed")
    if not made.models:
        raise ConfigurationError([f"{name}: defines no LlamaCppModel and no ExllamaModel"])
    for alias, model in aliases.items():
        if model in made.models and alias not in made.models:
            made.aliases[alias] = model
        else:
            made.leave(f"alias {alias}", f"its model {model!r} is not among those carried over")
    made.listener.update(host="0.0.0.0", port=8000)
    made.leave("--api-key", "is on llama-api's command line: give it by BERTH_API_KEY")
    return made


def _assigned(statement: ast.stmt) -> list[tuple[str, ast.expr]]:
    """The names that a statement gives a value, with it."""
    if isinstance(statement, ast.Assign):
        return [(t.id, statement.value) for t in statement.targets if isinstance(t, ast.Name)]
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        target = statement.target
        return [(target.id, statement.value)] if isinstance(target, ast.Name) else []
    return []


def _take(made: Imported, aliases: dict[str, str], target: str, value: ast.expr) -> None:
    if isinstance(value, ast.Call):
        called = value.func
        kind = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
        if kind in _CLASSES:
            _model(made, target, value)
        elif kind in _OTHERS:
            made.leave(target, "forwards to another server, which Berth does not")
        else:
            made.leave(target, "is the result of a call, which is not made")
        return
    found = _literal(value)
    if isinstance(found, dict) and "openai" in target.lower():
        aliases.update({str(alias): str(model) for alias, model in found.items()})
    else:
        made.leave(target, "is neither a model nor a table of aliases")


def _literal(value: ast.expr) -> Any:
    """A literal's value; None, as of None itself, for what would have to be computed."""
    try:
        return ast.literal_eval(value)
    except (ValueError, TypeError, RecursionError, MemoryError, SyntaxError):
        return None


def _model(made: Imported, name: str, call: ast.Call) -> None:
    said: dict[str, Any] = {}
    for keyword in call.keywords:
        where = f"{name}.{keyword.arg or '**'}"
        value = _literal(keyword.value)
        if keyword.arg is None or value is None:
            if not isinstance(keyword.value, ast.Constant):
                made.leave(where, "is no literal, and nothing is computed")
            continue
        said[keyword.arg] = value
    if call.args:
        made.leave(name, "has values without a name, which are not read")
    source = said.pop("model_path", None)
    if not isinstance(source, str):
        made.leave(name, "has no model_path that is a text")
        return
    numbers = ("max_total_tokens", "max_model_len", 2), ("n_threads", "threads", 1)
    made.models[name] = made.model(source, f"{name}.model_path", said, f"{name}.", numbers)
    made.leave_all(said, f"{name}.", _REASONS)
