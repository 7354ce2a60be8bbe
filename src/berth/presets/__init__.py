"""The catalogue of models: presets/*/preset.yaml, parsed and validated."""
