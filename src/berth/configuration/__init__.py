"""One typed configuration, `berth.yaml`: read with positions, laid under the environment. Pure."""
