"""Container images of models: what a build needs, and the tool that carries it out. No torch."""
