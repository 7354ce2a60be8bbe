"""Rotary position embedding: the angles. Rotating is in kernels/."""

from __future__ import annotations

import math

import torch

from berth.checkpoint.config import ModelConfig, RopeScaling


def inverse_frequencies(config: ModelConfig, positions: int | None = None) -> torch.Tensor:
    """Radians per position of each pair of a head: float32 [head_dim / 2]; 0 for unrotated ones.

    theta ** (-2i / d) (RoFormer, Su et al. 2021), stretched by config.rope_scaling.

    Args:
        positions: the longest sequence that will be run; longrope goes by it.
    """
    dim = config.rotary_dim or config.head_dim
    exponent = torch.arange(0, dim, 2, dtype=torch.int64).float() / dim
    powers = config.rope_theta**exponent
    frequencies = 1.0 / powers
    scaling = config.rope_scaling
    match None if scaling is None else scaling.kind:
        case "linear":
            assert scaling is not None
            frequencies = frequencies / scaling.factor
        case "llama3":
            assert scaling is not None
            frequencies = _stretch_llama3(frequencies, scaling)
        case "yarn":
            assert scaling is not None
            frequencies = _stretch_yarn(powers, scaling, config.rope_theta)
        case "longrope":
            assert scaling is not None
            # One choice for the whole server (as vLLM makes it): a sequence that grew beyond the
            # original length would otherwise have keys of both kinds in its cache.
            beyond = positions is not None and positions > scaling.original_max_position
            factors = scaling.long_factors if beyond else scaling.short_factors
            frequencies = 1.0 / (torch.tensor(factors) * powers)
    return torch.nn.functional.pad(frequencies, (0, (config.head_dim - dim) // 2))


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


def _stretch_yarn(powers: torch.Tensor, scaling: RopeScaling, theta: float) -> torch.Tensor:
    """YaRN (Peng et al. 2023, section 3.2): pairs that turn often are kept, those that turn less
    than once are stretched, a ramp lies between."""
    dim = 2 * len(powers)

    def pair_of(turns: float) -> float:
        """Which pair turns so often within the original length."""
        wavelength = scaling.original_max_position / (turns * 2 * math.pi)
        return dim * math.log(wavelength) / (2 * math.log(theta))

    low, high = pair_of(scaling.beta_fast), pair_of(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001
    ramp = ((torch.arange(dim // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
    return 1.0 / (scaling.factor * powers) * ramp + 1.0 / powers * (1 - ramp)


def rotary_tables(
    config: ModelConfig, positions: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of every position's angles: float32 [positions, head_dim / 2] each.

    Pairs that are not rotated have 1 and 0.
    """
    angles = torch.outer(torch.arange(positions).float(), inverse_frequencies(config, positions))
    cosine, sine = angles.cos(), angles.sin()
    if config.rope_scaling is not None:
        turned = (config.rotary_dim or config.head_dim) // 2
        cosine[:, :turned] *= config.rope_scaling.attention_factor
        sine[:, :turned] *= config.rope_scaling.attention_factor
    return cosine.to(device), sine.to(device)
