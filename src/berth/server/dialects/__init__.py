"""One small package per HTTP dialect: `parse` to the canonical request, `render`, `routes`.

Each is one `Dialect` object, and DIALECTS is all that the app knows of them. A dialect knows
nothing of engines, and serving knows nothing of it. Paths that several claim are in one table,
`shared_paths`: the one key that a body's shape requires decides whose /generate or /chat it is.
"""

from berth.server.dialect import Dialect
from berth.server.dialects.kaito import KAITO
from berth.server.dialects.openai import OPENAI

DIALECTS: tuple[Dialect, ...] = (KAITO, OPENAI)

__all__ = ["DIALECTS"]
