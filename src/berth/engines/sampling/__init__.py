"""How the next token of a sequence is chosen, in every engine."""
