"""Nodes and pods as an API server has them. Thin: decisions are in berth.fit.placement."""
