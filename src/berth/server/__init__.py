"""The HTTP server: a FastAPI app, its dialects, authentication, health and metrics. No torch."""
