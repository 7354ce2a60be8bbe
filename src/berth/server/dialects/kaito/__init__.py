"""KAITO's images: POST /generate, POST /chat (Llama-2-chat's and Falcon's), GET /, POST /shutdown.

Its GET /healthz is among the health routes, which are no dialect's.
"""

from berth.server.dialect import Detail, Dialect, ValidationErrors
from berth.server.dialects.kaito import errors
from berth.server.dialects.kaito.routes import mount

KAITO = Dialect(
    name="kaito",
    mount=mount,
    error=errors.answer,
    error_shapes={422: ValidationErrors, None: Detail},
    statuses=(422,),
)

__all__ = ["KAITO"]
