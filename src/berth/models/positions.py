"""What attention gets about positions: angles to rotate by, or ALiBi's bias on the scores."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from berth.checkpoint.config import ModelConfig
from berth.kernels.batch import BLOCK
from berth.models.parallel import Group, HeadShare
from berth.models.rope import rotary_tables


@dataclass(frozen=True, slots=True)
class PositionTables:
    """Of every position up to the longest sequence. Either the first two or the last."""

    cosine: torch.Tensor | None = None  # float32 [positions, head_dim / 2]
    sine: torch.Tensor | None = None
    # float32 [this rank's heads, positions rounded up to whole blocks]: added to a key's score
    # before scores are divided by the root of head_dim.
    alibi: torch.Tensor | None = None


def position_tables(
    config: ModelConfig, share: HeadShare, positions: int, group: Group
) -> PositionTables:
    """The tables of `config` for this rank's heads."""
    if not config.alibi:
        return PositionTables(*rotary_tables(config, positions, group.device))
    slopes = alibi_slopes(config.num_heads)[share.first : share.first + share.heads]
    tokens = torch.arange(-(-positions // BLOCK) * BLOCK)
    # In bfloat16, as Falcon's authors and transformers compute it whatever the model's dtype.
    # Beyond token 256 the steps are coarse, and the weights know them so.
    bias = slopes.bfloat16().unsqueeze(1) * tokens.bfloat16()
    return PositionTables(alibi=bias.float().to(group.device))


def alibi_slopes(heads: int) -> torch.Tensor:
    """The bias per token of each head: float32 [heads] (ALiBi, Press et al. 2022, section 3).

    Powers of 2 ** (-8 / heads); if heads are no power of two, those of the power below and
    then every second one of the power above.
    """
    below = 2 ** math.floor(math.log2(heads))
    slopes = torch.tensor(2.0 ** (-8.0 / below)) ** torch.arange(1, below + 1)
    between = torch.tensor(2.0 ** (-4.0 / below)) ** torch.arange(1, 2 * (heads - below) + 1, 2)
    return torch.cat([slopes, between])
