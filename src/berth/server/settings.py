"""Everything that an owner decides about the HTTP server: one frozen object, checked once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from berth.server.origins import is_origin_pattern, split_host
from berth.server.proxies import Proxies

LogFormat = Literal["text", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How the server listens, which clients it answers and how much it takes.

    Raises:
        ValueError: a value outside its range; the message names the setting.
    """

    host: str = "127.0.0.1"
    port: int = 5000  # 0: any free port
    # Keys that open every route but the health ones; empty: no key is asked for. Hidden from
    # repr(), so that printing the settings prints no secret.
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    # POST /shutdown without a key too. A caller's address says nothing: a proxy may share it.
    allow_shutdown: bool = False
    grace_seconds: float = 25.0  # how long running requests may go on after SIGTERM
    # The seed's images gave up after 180 s, which a slow CPU reaches with an honest request.
    request_timeout_seconds: float = 600.0
    body_timeout_seconds: float = 60.0  # how long a client may take to send a request's body
    max_body_bytes: int = 16 * 1024 * 1024  # of one body, whatever the model's context is
    max_bodies_bytes: int = 64 * 1024 * 1024  # of all bodies that are being read at one time
    max_prompts_per_call: int = 256  # prompts or dialogs in one call, times `n`
    max_choices: int = 128  # `n` of one call
    # Origins of pages that may call: `https://ui.example`, `vscode-webview://*`, `null`, `*`.
    cors_origins: tuple[str, ...] = ()
    # Host names, beside this machine's own, that a server on loopback without keys answers to;
    # given, they bind every server. `*.example.com` and `*` are understood.
    allowed_hosts: tuple[str, ...] = ()
    # Addresses or networks of proxies whose X-Forwarded-Host and -Prefix are believed; "*": all.
    forwarded_allow: tuple[str, ...] = ()
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
        for origin in self.cors_origins:
            if not is_origin_pattern(origin):
                raise ValueError(
                    "cors_origin should be a scheme and a host without a path, such as "
                    f"http://localhost:3000, not {origin!r}"
                )
        for host in self.allowed_hosts:
            if (split_host(host) or ("", 0))[1] is not None:
                raise ValueError(
                    f"allowed_host should be a host name without scheme and port, not {host!r}"
                )
        try:
            Proxies(self.forwarded_allow)
        except ValueError as error:
            raise ValueError(f"forwarded_allow: {error}") from None
        if self.log_format not in ("text", "json"):
            raise ValueError(f'log_format must be "text" or "json", not {self.log_format!r}')
