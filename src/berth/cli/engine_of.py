"""The engine for a model, asked alike by serve, fit and check.

`choose_engine` goes by the architecture; here the rest of config.json counts too: what the native
engine does not compute (yarn, say) goes to transformers, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from berth.checkpoint.choose import UnknownArchitecture, choose_engine
from berth.protocol.config import EngineKind


def engine_for(
    config: Mapping[str, Any] | None,
    wanted: Literal["auto"] | EngineKind = "auto",
    *,
    quantise: bool = False,
    generation: Mapping[str, Any] | None = None,
) -> tuple[EngineKind, str | None]:
    """The engine, and why it is not the native one though that knows the architecture.

    Args:
        config: the content of config.json, its dtype filled in; None in Meta's layout.
        generation: the content of generation_config.json, if there is one.

    Raises:
        UnknownArchitecture: the engine that was asked for does not run this model.
    """
    from berth.checkpoint.config import ConfigError
    from berth.checkpoint.hf import from_hf

    kind = choose_engine(config, wanted, quantise=quantise)
    if kind != "native" or config is None:
        return kind, None
    try:
        from_hf(config, generation)
    except ConfigError as error:
        if wanted == "native":
            raise UnknownArchitecture(f"{error}. --engine transformers may run it") from None
        return "transformers", f"the native engine does not run it: {error}"
    return kind, None
