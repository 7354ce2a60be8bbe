"""The template language of the corpus, and the everyday noise laid over it.

A template is a sentence with choices in square brackets and slots in braces:
``[what is|name] the capital [city |]of {country}``. One template can be sampled (training),
expanded (listing every phrasing) and compiled to a regular expression (deciding whether a
sentence could have been sampled). Because all three read the same parse tree they cannot drift
apart, which is what makes the held-out check in ``corpus.emits`` trustworthy.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

# Private-use marks around a slot's value, so that noise never edits the thing being asked about.
_OPEN, _CLOSE, _SPACE = "\ue000", "\ue001", "\ue002"


@dataclass(frozen=True)
class Slot:
    """A place filled from a named list of values."""

    name: str


@dataclass(frozen=True)
class Choice:
    """Alternatives, each a sequence of nodes."""

    options: tuple[tuple[Node, ...], ...]


Node = str | Slot | Choice
Slots = Mapping[str, Sequence[str]]


def terms(text: str) -> list[str]:
    """A list written as one string: split at semicolons if there are any, else at spaces."""
    return text.split(";" if ";" in text else None)


def parse(template: str) -> tuple[Node, ...]:
    """Parse one template; raises ValueError on unbalanced brackets."""
    nodes, end = _parse_sequence(template, 0)
    if end != len(template):
        raise ValueError(f"unbalanced bracket in template: {template}")
    return nodes


def _parse_sequence(text: str, at: int) -> tuple[tuple[Node, ...], int]:
    nodes: list[Node] = []
    literal = ""
    while at < len(text) and text[at] not in "|]":
        if text[at] == "{":
            end = text.index("}", at)
            nodes += [literal, Slot(text[at + 1 : end])]
            literal, at = "", end + 1
        elif text[at] == "[":
            options: list[tuple[Node, ...]] = []
            while text[at] != "]":
                option, at = _parse_sequence(text, at + 1)
                options.append(option)
                if at >= len(text):
                    raise ValueError(f"unclosed bracket in template: {text}")
            nodes += [literal, Choice(tuple(options))]
            literal, at = "", at + 1
        else:
            literal += text[at]
            at += 1
    nodes.append(literal)
    return tuple(node for node in nodes if node != ""), at


def fill(nodes: Sequence[Node], rng: random.Random, values: Mapping[str, str]) -> str:
    """Sample one sentence; slot values come back wrapped in marks that ``noisy`` removes."""
    parts: list[str] = []
    for node in nodes:
        if isinstance(node, str):
            parts.append(node)
        elif isinstance(node, Slot):
            parts.append(_OPEN + values[node.name].replace(" ", _SPACE) + _CLOSE)
        else:
            parts.append(fill(rng.choice(node.options), rng, values))
    return "".join(parts)


def expand(nodes: Sequence[Node]) -> Iterator[str]:
    """Every phrasing of a template, slots left as ``{name}``."""
    if not nodes:
        yield ""
        return
    head, rest = nodes[0], nodes[1:]
    if isinstance(head, str):
        heads: Iterator[str] = iter((head,))
    elif isinstance(head, Slot):
        heads = iter((f"{{{head.name}}}",))
    else:
        heads = (phrase for option in head.options for phrase in expand(option))
    for start in heads:
        for tail in expand(rest):
            yield start + tail


def normalise(text: str) -> str:
    """Lower case, no punctuation, single spaces: two spellings of one phrasing become equal."""
    text = text.lower().replace("’", "'").replace("'", "")
    return " ".join(re.sub(r"[^\w+*/=×{}-]|_", " ", text).split())


def pattern(nodes: Sequence[Node], slots: Slots) -> str:
    """A regular expression over normalised text that matches what ``fill`` can produce."""
    # Normalising each expansion would explode; normalising the pieces and letting any run of
    # spaces stand between them accepts a superset, which errs on the side of reporting a leak.
    parts: list[str] = []
    for node in nodes:
        if isinstance(node, str):
            words = [re.escape(word) for word in normalise(node).split()]
            parts.append(r"\ *" + r"\ +".join(words) + r"\ *" if words else r"\ *")
        elif isinstance(node, Slot):
            values = sorted({normalise(v) for v in slots[node.name]}, key=len, reverse=True)
            # No list means generated values (numbers, nonsense): any one word may stand there.
            parts.append("(?:" + ("|".join(re.escape(v) for v in values) or r"\w+") + ")")
        else:
            parts.append("(?:" + "|".join(pattern(option, slots) for option in node.options) + ")")
    return "".join(parts)


# Words whose loss leaves a question readable. Nothing that carries the meaning is in this list.
_DROPPABLE = frozenset(
    terms(
        "what is the a an of me you can could please to i in do tell for my it this are would like "
        "know want need be does s let us we some there that which it's what's i'd"
    )
)
# Words that people strew in; the model must learn that they change nothing.
_FILLERS = terms(
    "remember remind recall happen slip forget remain stand hold keep bring turn begin come go "
    "leave let help show tell speak talk write read send need want like love try use make "
    "call mean learn teach understand plan decide matter seem become continue possible important "
    "interesting different similar special main favourite usual recent exact clear sure curious "
    "ready able busy free honest strange funny serious general public local common rare "
    "actually just exactly then now also perhaps today quickly btw well kindly again really "
    "maybe here basically like simply finally soon dear certainly surely probably usually often "
    "always generally normally okay indeed however though anyway still only even very quite "
    "rather pretty so too much some any all every each other another own same both nice great "
    "little whole real fine lovely beautiful famous certain proper correct short long brief "
    "quick simple easy early late together alone please thanks sir madam friend mate folks "
    "everybody somebody nobody anyone someone people might must shall would could should may "
    "will do does did done have has had having got get think guess suppose believe hope wish "
    "say said ask asked answer look see hear feel find found with about under during since "
    "until while because if when where who whom whose why our your his her their my mine yours "
    "ours this that these those there"
)


def unmark(text: str) -> str:
    """Remove the slot marks that ``fill`` adds."""
    return text.replace(_OPEN, "").replace(_CLOSE, "").replace(_SPACE, " ")


# Names that the templates have in small letters, and people often write with a capital.
_SPELT = {"openai": "OpenAI", "kaito": "KAITO", "gpu": "GPU", "gpus": "GPUs", "api": "API"}
_NAMES = re.compile(
    r"\b(?:berth|pocket|kubernetes|docker|helm|llama|falcon|french|english|"
    + "|".join(_SPELT)
    + r")\b"
)


def noisy(text: str, rng: random.Random, *, strength: float) -> str:
    """Type the sentence as people do: case, punctuation, a typo, a lost or extra small word.

    ``strength`` 0 changes nothing but case and end punctuation; slot values are never misspelt.
    """
    words = text.split(" ")
    if len(words) >= 4:
        if rng.random() < 0.14 * strength:
            rate = rng.choice((0.2, 0.5, 0.9))
            kept = [w for w in words if w.lower() not in _DROPPABLE or rng.random() > rate]
            words = kept if len(kept) >= 2 else words
        # Now and then so many that only the key words and the thing asked about are left to go by.
        rate = 0.8 if rng.random() < 0.08 * strength else 0.16 * strength
        while rng.random() < rate:
            words.insert(rng.randrange(len(words) + 1), rng.choice(_FILLERS))
        if rng.random() < 0.10 * strength:
            at = rng.randrange(len(words))
            words[at] = _typo(words[at], rng)
    line = unmark(" ".join(word for word in words if word))
    roll = rng.random()
    if roll < 0.28:
        line = line.lower()
    elif roll < 0.31:
        line = line.upper()
    else:
        line = line[:1].upper() + line[1:]
        if rng.random() < 0.6:
            line = _NAMES.sub(lambda name: _SPELT.get(name[0], name[0].capitalize()), line)
    if rng.random() < 0.3:
        line = line.rstrip("?.!,")
    elif rng.random() < 0.04:
        line += rng.choice(("?", "!", " ?", "...", " :)"))
    return line


def _typo(word: str, rng: random.Random) -> str:
    if len(word) < 4 or not word.isalpha():
        return word
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    return word[:at] + word[at] + word[at:]
