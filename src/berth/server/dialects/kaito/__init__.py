"""KAITO's Llama-2 images: POST /generate, POST /chat, GET /, GET /healthz, POST /shutdown."""

from berth.server.dialects.kaito.routes import mount, mount_healthz

__all__ = ["mount", "mount_healthz"]
