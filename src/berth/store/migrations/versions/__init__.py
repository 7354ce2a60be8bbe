"""One file a step. A released one never changes."""
