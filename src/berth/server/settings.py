"""Everything that an owner decides about the HTTP server: one frozen object, checked once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

LogFormat = Literal["text", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How the server listens, whom it answers and how much it takes.

    Raises:
        ValueError: a value outside its range; the message names the setting.
    """

    host: str = "127.0.0.1"
    port: int = 5000  # 0: any free port
    # Keys that open every route but the health ones; empty: no key is asked for. Hidden from
    # repr(), so that printing the settings prints no secret.
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    # POST /shutdown from other machines too (with a key, where keys are set).
    allow_shutdown: bool = False
    grace_seconds: float = 25.0  # how long running requests may go on after SIGTERM
    # The seed's images gave up after 180 s, which a slow CPU reaches with an honest request.
    request_timeout_seconds: float = 600.0
    body_timeout_seconds: float = 60.0  # how long a client may take to send a request's body
    max_body_bytes: int = 16 * 1024 * 1024  # of one body, whatever the model's context is
    max_bodies_bytes: int = 64 * 1024 * 1024  # of all bodies that are being read at one time
    max_prompts_per_call: int = 256  # prompts or dialogs in one call, times `n`
    max_choices: int = 128  # `n` of one call
    cors_origins: tuple[str, ...] = ()  # browser origins that may call; "*" for any
    # Further names for the model, beside the service's own `model_id`.
    model_aliases: tuple[str, ...] = ()
    log_format: LogFormat = "text"

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be between 0 and 65535, not {self.port}")
        if not self.grace_seconds >= 0:  # so written, NaN is refused too
            raise ValueError(f"grace_seconds must be at least 0, not {self.grace_seconds}")
        for name in (
            "request_timeout_seconds",
            "body_timeout_seconds",
            "max_body_bytes",
            "max_bodies_bytes",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        for name in ("max_prompts_per_call", "max_choices"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.log_format not in ("text", "json"):
            raise ValueError(f'log_format must be "text" or "json", not {self.log_format!r}')
