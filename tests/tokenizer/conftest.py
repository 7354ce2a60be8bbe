"""Serving's fixtures of small models' folders, which have real tokenisers in them."""

from __future__ import annotations

from serving.conftest import hf_model, meta_model

__all__ = ["hf_model", "meta_model"]
