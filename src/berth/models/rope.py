"""Rotary position embedding: the angles. Rotating is in kernels/."""

from __future__ import annotations

import math

import torch

from berth.checkpoint.config import ModelConfig, RopeScaling


def inverse_frequencies(config: ModelConfig) -> torch.Tensor:
    """Radians per position of each pair of a head: float32 [head_dim / 2].

    theta ** (-2i / d) (RoFormer, Su et al. 2021), stretched by config.rope_scaling.
    """
    exponent = torch.arange(0, config.head_dim, 2, dtype=torch.int64).float() / config.head_dim
    frequencies = 1.0 / (config.rope_theta**exponent)
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    return _stretch_llama3(frequencies, scaling)


def _stretch_llama3(frequencies: torch.Tensor, scaling: RopeScaling) -> torch.Tensor:
    """Llama 3.1: long wavelengths are stretched, short ones kept, those between blended."""
    wavelength = 2 * math.pi / frequencies
    longest = scaling.original_max_position / scaling.low_freq_factor
    shortest = scaling.original_max_position / scaling.high_freq_factor
    blend = (scaling.original_max_position / wavelength - scaling.low_freq_factor) / (
        scaling.high_freq_factor - scaling.low_freq_factor
    )
    blended = (1 - blend) * frequencies / scaling.factor + blend * frequencies
    stretched = torch.where(wavelength > longest, frequencies / scaling.factor, frequencies)
    between = (wavelength >= shortest) & (wavelength <= longest)
    return torch.where(between, blended, stretched)


def rotary_tables(
    config: ModelConfig, positions: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of every position's angles: float32 [positions, head_dim / 2] each."""
    angles = torch.outer(torch.arange(positions).float(), inverse_frequencies(config))
    return angles.cos().to(device), angles.sin().to(device)
