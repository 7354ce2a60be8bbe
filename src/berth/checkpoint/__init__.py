"""What a model is, read once: a folder's layout, config.json or params.json, the weights' headers.

Imports no torch. Fit, check, plan, serve, the image build and both engines ask here.
"""
