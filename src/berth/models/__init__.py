"""Architectures as torch modules, and the loaders of their weights."""
