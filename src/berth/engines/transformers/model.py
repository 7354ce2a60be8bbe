"""One forward pass of any causal model: tokens and a cache in, logits and the cache out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
import transformers
from transformers.generation.utils import ALL_CACHE_NAMES

State = dict[str, Any]  # the model's cache, under the name by which its forward pass takes it


class NoCache(Exception):
    """The model keeps nothing between two tokens; it cannot be run step by step."""


class CausalModel:
    """A transformers model, told of its beats. Its logits leave as float32."""

    def __init__(self, model: Any, beat: Callable[[], None]) -> None:
        """`model` is a PreTrainedModel, whose classes say too little of their methods."""
        self.model = model
        self.device: torch.device = model.device
        takes = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in takes
        self._takes_keep = "logits_to_keep" in takes
        self._makes_cache = "past_key_values" in takes
        self.text_config = model.config.get_text_config(decoder=True)
        # Frequencies that depend on the longest sequence of a batch: rows would change each other.
        self.rows_interact = _pin_rotary_state(model)
        for module in model.modules():
            if not any(True for _ in module.children()):
                module.register_forward_hook(lambda *_: beat())

    def new_state(self) -> State:
        """An empty cache; empty if the model makes its own at the first pass."""
        if self._makes_cache and self.model._supports_default_dynamic_cache():
            return {"past_key_values": transformers.DynamicCache(config=self.text_config)}
        return {}

    @torch.inference_mode()
    def step(
        self,
        tokens: Sequence[Sequence[int]],
        state: State,
        *,
        computed: Sequence[int],
        keep: int = 1,
    ) -> tuple[torch.Tensor, State]:
        """Compute the next tokens of each row.

        Args:
            tokens: one list a row, all of one length; after what the cache holds.
            computed: tokens of each row in the cache. If they differ, the shorter rows' begin
                further right: the cache is padded on the left.
            keep: how many of the last positions to give logits for; 0: all.

        Returns:
            logits [rows, keep, vocab] in float32, and the cache with the tokens in it.

        Raises:
            NoCache: the model returned no cache.
        """
        width, new = max(computed), len(tokens[0])
        inputs: dict[str, Any] = dict(state, use_cache=True)
        past = torch.tensor(computed, device=self.device).unsqueeze(1)
        if min(computed) < width:  # without padding, no mask: exactly generate's own path
            columns = torch.arange(width + new, device=self.device)
            inputs["attention_mask"] = (columns >= width - past).long()
        if self._takes_positions:
            inputs["position_ids"] = past + torch.arange(new, device=self.device)
        if self._takes_keep:
            inputs["logits_to_keep"] = keep
        ids = torch.tensor(tokens, device=self.device)
        # The model's own way to put its inputs together, as generate uses it.
        prepared = self.model.prepare_inputs_for_generation(
            ids, next_sequence_length=new, is_first_iteration=width == 0, **inputs
        )
        output = self.model(**prepared, return_dict=True)
        logits = output.logits if keep == 0 else output.logits[:, -keep:]
        return logits.to(dtype=torch.float32, copy=True), self._state_of(output)

    @torch.inference_mode()
    def whole(self, tokens: Sequence[int]) -> torch.Tensor:
        """Logits [tokens, vocab] of one sequence computed at once, without any cache."""
        ids = torch.tensor([tokens], device=self.device)
        output = self.model(input_ids=ids, use_cache=False, return_dict=True)
        logits: torch.Tensor = output.logits[0].float()
        return logits

    def _state_of(self, output: Any) -> State:
        for name in ALL_CACHE_NAMES:
            cache = output.get(name)
            if cache is not None:
                # These two give their memory one name and take it under another.
                renamed = name in ("mems", "past_buckets_states")
                return {"past_key_values" if renamed else name: cache}
        raise NoCache(f"{type(self.model).__name__} returns no cache")


def _pin_rotary_state(model: torch.nn.Module) -> bool:
    """Make rotary frequencies that grow with the sequence forget the sequences before.

    Returns whether the model has any that depend on the longest row of a batch ("dynamic",
    "longrope"): such rows are not computed together.
    """
    found = False
    for module in model.modules():
        kinds = str(getattr(module, "rope_type", ""))
        found = found or "dynamic" in kinds or "longrope" in kinds
        if "dynamic" in kinds:
            lengths = {n: v for n, v in vars(module).items() if n.endswith("max_seq_len_cached")}
            buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
            module.register_forward_pre_hook(_Restore(lengths, buffers))
    return found


class _Restore:
    """A hook before a forward pass: the module's lengths and buffers as they were at first."""

    def __init__(self, lengths: dict[str, Any], buffers: dict[str, torch.Tensor]) -> None:
        self._lengths = lengths
        self._buffers = buffers

    def __call__(self, module: torch.nn.Module, inputs: object) -> None:
        for name, value in self._lengths.items():
            setattr(module, name, value)
        for name, buffer in self._buffers.items():
            current = module.get_buffer(name)
            module.register_buffer(name, buffer.to(current.device), persistent=False)
