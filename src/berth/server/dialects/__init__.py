"""One small package per HTTP dialect: `parse` to the canonical request, `render`, `routes`.

A dialect adds its routes to the app in `mount(app, server, documented)`. It knows nothing of
engines, and serving knows nothing of it.

Places kept for what comes later:
- POST /generate and POST /chat are shared by dialects that are told apart by the one required
  key of the body: `prompts` is KAITO's, `prompt` will be llm-api's (at /generate) and KAITO's
  Falcon images' (at /chat). Until then `kaito.parse` refuses `prompt` with 422 and names the shape
  that it knows; there the choice will be made.
- OpenAI's routes without /v1 (a common mistake in a base URL): `openai.routes.mount` takes the
  prefix, and `errors` tells the dialect of an error by its path.
"""
