"""Berth: a place in a Kubernetes cluster for an open-weight language model."""

__version__ = "0.1.0"
