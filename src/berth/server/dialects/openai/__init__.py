"""OpenAI's API: /v1/models, /v1/chat/completions, /v1/completions."""

from berth.server.dialects.openai.routes import mount

__all__ = ["mount"]
