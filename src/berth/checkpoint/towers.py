"""config.json of models that see: a text model, and the tensors of the tower beside it.

A tower whose tensors are not known is named in `missing`, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from berth.checkpoint.errors import ConfigError
from berth.checkpoint.fields import Fields
from berth.checkpoint.hf_keys import dtype_of
from berth.checkpoint.layers import DtypeClass, ModelNumbers, Tensor

TextParser = Callable[[Fields], ModelNumbers]


def with_tower(name: str, fields: Fields, parse_text: TextParser) -> ModelNumbers:
    """The text model under text_config, and the tower that the class `name` has."""
    text_fields = fields.part("text_config")
    text = parse_text(text_fields)
    tied = fields.flag("tie_word_embeddings", text.tied)
    if text_fields.has("tie_word_embeddings"):
        tied = text.tied
    text = replace(text, architecture=name, tied=tied, dtype=text.dtype or dtype_of(fields))
    if (quantization := fields.nested("quantization_config")) is not None:
        text = replace(text, quantization=quantization.text("quant_method"))
    vision = fields.nested("vision_config")
    missing = ("an audio tower",) if fields.has("audio_config") else ()
    if vision is None:
        return replace(text, missing=missing)
    build = _TOWERS.get(name)
    if build is None:
        return replace(text, missing=("a vision tower", *missing))
    return replace(text, extra=(*text.extra, *build(fields, vision, text.hidden)), missing=missing)


class _Tower:
    """Collects the tensors of a tower; engines keep all of it on every rank, or may."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.tensors: list[Tensor] = []

    def add(self, name: str, *shape: int, dtype: DtypeClass = "vector") -> None:
        self.tensors.append(Tensor(f"{self._name}.{name}", shape, dtype=dtype))

    def matrix(self, name: str, out: int, into: int, bias: bool = False) -> None:
        self.add(name, out, into, dtype="tower")
        if bias:
            self.add(f"{name}_bias", out)

    def norm(self, name: str, size: int, bias: bool = False) -> None:
        self.add(name, size)
        if bias:
            self.add(f"{name}_bias", size)


def _siglip(fields: Fields, vision: Fields, hidden: int) -> list[Tensor]:
    """Gemma 3's tower and projection."""
    tower = _Tower("vision")
    width = vision.whole("hidden_size", default=768)
    inner = vision.whole("intermediate_size", default=3072)
    patch = vision.whole("patch_size", default=16)
    side = vision.whole("image_size", default=224) // max(patch, 1)
    tower.matrix("patches", width, 3 * patch * patch, bias=True)
    tower.add("positions", side * side, width, dtype="embedding")
    for layer in range(vision.whole("num_hidden_layers", default=12)):
        _encoder_layer(tower, f"layers.{layer}", width, inner)
    tower.norm("norm", width, bias=True)
    if vision.flag("vision_use_head", True):
        raise ConfigError("vision_config.vision_use_head is true; only false is known")
    tower.matrix("projection", width, hidden)
    tower.norm("projection_norm", width)
    return tower.tensors


def _encoder_layer(tower: _Tower, name: str, width: int, inner: int) -> None:
    """LayerNorm, attention and a plain MLP, all with biases."""
    for norm in ("norm0", "norm1"):
        tower.norm(f"{name}.{norm}", width, bias=True)
    for matrix in ("q", "k", "v", "o"):
        tower.matrix(f"{name}.{matrix}", width, width, bias=True)
    tower.matrix(f"{name}.up", inner, width, bias=True)
    tower.matrix(f"{name}.down", width, inner, bias=True)


def _pixtral(fields: Fields, vision: Fields, hidden: int) -> list[Tensor]:
    """Mistral 3's tower, patch merger and projection."""
    tower = _Tower("vision")
    width = vision.whole("hidden_size", default=1024)
    inner = vision.whole("intermediate_size", default=4096)
    patch = vision.whole("patch_size", default=16)
    tower.matrix("patches", width, 3 * patch * patch)
    tower.norm("norm", width)
    for layer in range(vision.whole("num_hidden_layers", default=24)):
        name = f"layers.{layer}"
        for norm in ("norm0", "norm1"):
            tower.norm(f"{name}.{norm}", width)
        for matrix in ("q", "k", "v", "o"):
            tower.matrix(f"{name}.{matrix}", width, width)
        tower.matrix(f"{name}.gate", inner, width)
        tower.matrix(f"{name}.up", inner, width)
        tower.matrix(f"{name}.down", width, inner)
    merge = fields.whole("spatial_merge_size", default=2)
    bias = fields.flag("multimodal_projector_bias", False)
    tower.norm("merger_norm", width)
    tower.matrix("merger", width, width * merge * merge)
    tower.matrix("projection0", hidden, width, bias)
    tower.matrix("projection1", hidden, hidden, bias)
    return tower.tensors


def _qwen(fields: Fields, vision: Fields, hidden: int) -> list[Tensor]:
    """Qwen 3.5's tower and merger."""
    tower = _Tower("vision")
    width = vision.whole("hidden_size", default=1152)
    inner = vision.whole("intermediate_size", default=4304)
    patch = vision.whole("patch_size", default=16)
    times = vision.whole("temporal_patch_size", default=2)
    tower.matrix("patches", width, vision.whole("in_channels", default=3) * times * patch**2, True)
    positions = vision.whole("num_position_embeddings", default=2304)
    tower.add("positions", positions, width, dtype="embedding")
    for layer in range(vision.whole("depth", default=27)):
        _encoder_layer(tower, f"layers.{layer}", width, inner)
    merged = width * vision.whole("spatial_merge_size", default=2) ** 2
    tower.norm("merger_norm", width, bias=True)
    tower.matrix("merger0", merged, merged, bias=True)
    tower.matrix("merger1", vision.whole("out_hidden_size", default=3584), merged, bias=True)
    return tower.tensors


def _kimi(fields: Fields, vision: Fields, hidden: int) -> list[Tensor]:
    """Kimi K2.5's tower and projection."""
    tower = _Tower("vision")
    width = vision.whole("hidden_size", default=1152)
    inner = vision.whole("intermediate_size", default=4304)
    patch = vision.whole("patch_size", default=14)
    tower.matrix("patches", width, 3 * patch * patch, bias=True)
    rows = vision.whole("pos_emb_height", default=64)
    columns = vision.whole("pos_emb_width", default=64)
    tower.add("positions", rows * columns, width, dtype="embedding")
    for layer in range(vision.whole("num_hidden_layers", default=27)):
        _encoder_layer(tower, f"layers.{layer}", width, inner)
    tower.norm("norm", width, bias=True)
    merge = vision.values.get("merge_kernel_size", (2, 2))
    if list(merge) != [2, 2]:
        raise ConfigError("vision_config.merge_kernel_size is known as [2, 2] only")
    merged = 4 * width
    tower.norm("projection_norm", fields.whole("projection_hidden_size", default=1152), bias=True)
    tower.matrix("projection0", merged, merged, bias=True)
    tower.matrix("projection1", hidden, merged, bias=True)
    return tower.tensors


_TOWERS: dict[str, Callable[[Fields, Fields, int], list[Tensor]]] = {
    "Gemma3ForConditionalGeneration": _siglip,
    "KimiK25ForConditionalGeneration": _kimi,
    # transformers' own spelling.
    "Kimi_K25ForConditionalGeneration": _kimi,
    "Mistral3ForConditionalGeneration": _pixtral,
    "Qwen3_5ForConditionalGeneration": _qwen,
    "Qwen3_5MoeForConditionalGeneration": _qwen,
}
SEEING = (
    *_TOWERS,
    # Their text models are known, their towers are not.
    "Gemma4ForConditionalGeneration",
    "Gemma4UnifiedForConditionalGeneration",
)
