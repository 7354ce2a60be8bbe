"""The scripted skills that Pocket is trained on, one module per family of questions."""
