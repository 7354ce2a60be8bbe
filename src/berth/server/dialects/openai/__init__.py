"""OpenAI's API: /v1/models, /v1/chat/completions, /v1/completions."""

from berth.server.dialect import Dialect
from berth.server.dialects.openai import errors
from berth.server.dialects.openai.routes import mount

OPENAI = Dialect(
    name="openai",
    mount=mount,
    error=errors.answer,
    error_shapes={None: errors.ErrorEnvelope},
    prefix="/v1",
)

__all__ = ["OPENAI"]
