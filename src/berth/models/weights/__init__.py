"""Weight sources: Meta checkpoints and Hugging Face folders, memory-mapped."""
