"""Texts to token ids and back. No torch: a process that masks tokens may use it as servers do."""
