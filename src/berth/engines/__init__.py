"""Engine processes: what hosts any of them, what chooses tokens, and the engines."""
