"""The architectures that are known, one file for each family.

Defaults of absent keys are those of transformers' configuration classes, since published files
leave them out (Gemma 3's most of all). The count of tensors that follows is held against
transformers' own modules in tests/checkpoint.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType

from berth.checkpoint.architecture import Architecture, Native

__all__ = ["Architecture", "Native", "all_architectures", "by_class", "by_native_name", "by_type"]


@cache
def all_architectures() -> tuple[Architecture, ...]:
    """Every architecture of every file in this folder."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found: list[Architecture] = []
    for name in names:
        found += import_module(f"{__name__}.{name}").ARCHITECTURES
    return tuple(found)


@cache
def by_class() -> Mapping[str, Architecture]:
    """By the class that config.json names, in every spelling.

    The base class of what the native engine computes (LlamaModel) is the same model, saved without
    its head; whether that is tied, or lies in the files after all, the weights tell.
    """
    bases = {
        each.name.replace("ForCausalLM", _base_of(each)): each
        for each in all_architectures()
        if each.native is not None
    }
    named = {name: each for each in all_architectures() for name in (each.name, *each.spelt)}
    return MappingProxyType(bases | named)


@cache
def by_type() -> Mapping[str, Architecture]:
    """By model_type."""
    return MappingProxyType({name: each for each in all_architectures() for name in each.types})


@cache
def by_native_name() -> Mapping[str, Architecture]:
    """What the native engine computes, by the engine's own name for it."""
    return MappingProxyType({a.native.name: a for a in all_architectures() if a.native is not None})


def _base_of(each: Architecture) -> str:
    """What a base class ends in: the text part of a model that also sees has a name of its own."""
    return "TextModel" if any(kind.endswith("_text") for kind in each.types) else "Model"
