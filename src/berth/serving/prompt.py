"""What a request asks the engine to go on from: token ids, and what stands among them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

_ROOT_BITS = 63  # as many as the prefix cache's keys have for a root


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens that stand for an input which is no text, such as an image's patches.

    Their ids are placeholders, the same for every input of a kind. So what tells two prompts apart
    is the digest of the content.
    """

    at: int  # index of the first of them in the prompt
    length: int  # tokens, at least 1
    digest: bytes  # of the content
    kind: str  # an engine says which it takes (protocol's Ready.inputs)


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids, the strings that end an answer to them, and the spans that are no text.

    Raises ValueError if spans overlap, are out of order, or lie outside the ids.
    """

    ids: list[int]  # never changed
    stops: tuple[str, ...] = ()  # of the template that wrote a dialog
    spans: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        end = 0
        for span in self.spans:
            if span.at < end or span.length < 1 or span.at + span.length > len(self.ids):
                raise ValueError(f"{span} has no place in a prompt of {len(self.ids)} tokens")
            end = span.at + span.length

    def __len__(self) -> int:
        """Tokens; a Prompt without any is false, as an empty list is."""
        return len(self.ids)

    @property
    def root(self) -> int:
        """The number that its keys of the prefix cache start from, 0 … 2^63 - 1.

        0 if the ids say everything. With spans, a hash of them all: two prompts of the same ids
        share their KV only if every input is the same and stands at the same place.
        """
        if not self.spans:
            return 0
        whole = hashlib.blake2b(digest_size=8)
        for span in self.spans:
            for part in (span.kind.encode(), span.digest):
                whole.update(len(part).to_bytes(8, "big") + part)
            whole.update(span.at.to_bytes(8, "big") + span.length.to_bytes(8, "big"))
        most: int = 2**_ROOT_BITS - 1
        return int.from_bytes(whole.digest(), "big") % most + 1

    def last(self, keep: int) -> Prompt:
        """The last `keep` tokens, at least 1, with the spans among them.

        Raises ValueError if the cut would go through a span.
        """
        cut = len(self.ids) - keep
        if cut <= 0:
            return self
        return replace(self, ids=self.ids[cut:], spans=tuple(_after(self.spans, cut)))


def _after(spans: Sequence[Span], cut: int) -> list[Span]:
    """Spans as they lie once `cut` tokens before them are gone."""
    left: list[Span] = []
    for span in spans:
        if span.at >= cut:
            left.append(replace(span, at=span.at - cut))
        elif span.at + span.length > cut:
            raise ValueError(f"a cut after {cut} tokens would go through {span}")
    return left
