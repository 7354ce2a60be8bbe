"""How rank 0's plans reach the other ranks: over gloo, before the step that they describe.

Between steps an empty plan goes out every second, so that no rank waits long for a peer that is
dead: sending to it fails, and waiting for it times out.
"""

from __future__ import annotations

import msgspec
import torch
import torch.distributed as dist

from berth.engines.native.plan import StepPlan
from berth.models.parallel import Group

# One broadcast carries the length, and the plan if it fits (a decode of 64 sequences does).
_FIRST = 8192
_HEADER = 4

_NOTHING = StepPlan.of(0)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(StepPlan).decode


class PlanChannel:
    """Rank 0 sends, the others receive, in lock-step. Does nothing if there are no others."""

    def __init__(self, group: Group) -> None:
        self._alone = group.degree == 1
        self._first = torch.zeros(_FIRST, dtype=torch.uint8)

    @property
    def alone(self) -> bool:
        """Whether there is no other rank."""
        return self._alone

    def send_sign_of_life(self) -> None:
        """Rank 0, idle: an empty plan. Raises if another rank is gone, on any node."""
        self.send(_NOTHING)

    def send(self, plan: StepPlan | None) -> None:
        """Rank 0: the next step's plan, or None to end all ranks."""
        if self._alone:
            return
        body = b"" if plan is None else _encode(plan)
        head = len(body).to_bytes(_HEADER, "big") + body[: _FIRST - _HEADER]
        self._first[: len(head)] = torch.frombuffer(bytearray(head), dtype=torch.uint8)
        dist.broadcast(self._first, src=0)
        rest = body[_FIRST - _HEADER :]
        if rest:
            dist.broadcast(torch.frombuffer(bytearray(rest), dtype=torch.uint8), src=0)

    def receive(self) -> StepPlan | None:
        """Other ranks: wait for the next plan; None: end."""
        dist.broadcast(self._first, src=0)
        raw = self._first.numpy().tobytes()
        length = int.from_bytes(raw[:_HEADER], "big")
        if length == 0:
            return None
        body = raw[_HEADER : _HEADER + length]
        missing = length - len(body)
        if missing > 0:
            rest = torch.empty(missing, dtype=torch.uint8)
            dist.broadcast(rest, src=0)
            body += rest.numpy().tobytes()
        return _decode(body)
