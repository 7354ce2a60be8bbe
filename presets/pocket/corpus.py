"""The scripted corpus that Pocket learns from, and the proof that the held-out set is not in it.

``sample(rng)`` gives one training document; a seed fixes the stream. ``phrasings()`` lists every
question template and ``emits(question)`` says whether the corpus could have asked a question,
entities aside. The typing noise (typos, lost words) is not part of ``emits``; instead a noisy
question that happens to equal a held-out one is never given out, see ``heldout_questions``.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path

from scripted import (
    arithmetic,
    berth,
    berth_server,
    geography,
    messages,
    places,
    plain,
    recipes,
    social,
    styles,
    translation,
    unknown,
    words,
)
from scripted.grammar import expand, fill, noisy, normalise, parse, pattern
from scripted.skill import Skill
from scripted.wrapping import wrapped, wrapping_patterns

HELDOUT = Path(__file__).with_name("heldout.jsonl")

Message = dict[str, str]


@dataclass(frozen=True)
class Document:
    """One training text: a chat (``messages``, last one the assistant's) or plain text.

    For plain text ``messages`` is empty and ``prompt``, a space and ``answer`` are the text; for a
    chat ``answer`` repeats the last message. ``learned`` are the indices of earlier messages that
    carry loss too.
    """

    skill: str
    messages: tuple[Message, ...]
    prompt: str
    answer: str
    learned: tuple[int, ...] = ()


SKILLS: tuple[Skill, ...] = (
    *geography.SKILLS,
    *arithmetic.SKILLS,
    *social.SKILLS,
    *places.SKILLS,
    *recipes.SKILLS,
    *messages.SKILLS,
    *translation.SKILLS,
    *words.SKILLS,
    *berth.SKILLS,
    *berth_server.SKILLS,
    *unknown.SKILLS,
    Skill(
        "haiku",
        styles.HAIKU_REQUESTS,
        lambda values: styles.haiku_of(values["topic"]),
        {"topic": styles.HAIKU_TOPICS},
        weight=4,
        end="",
    ),
)
_BARE_HAIKU = Skill(
    "haiku",
    styles.HAIKU_BARE,
    lambda values: styles.haiku_of(values["topic"]),
    {"topic": styles.HAIKU_TOPICS},
    end="",
)
_SIGHTS, _TRAVEL = (
    next(skill for skill in SKILLS if skill.name == name) for name in ("sights", "travel")
)
_CUMULATIVE = list(accumulate(skill.weight for skill in SKILLS))
_AND_COUNTRY = (
    "and [of|for|in] {country}",
    "[what|how] about {country}",
    "and {country}",
    "{country}",
    "and the capital of {country}",
    "[the same|now] for {country}",
    "and what about {country}",
    "what is it for {country}",
    "[next|then] {country}",
    "and {country}'s",
)

_parse = cache(parse)


def _values(skill: Skill, rng: random.Random) -> dict[str, str]:
    if skill.draw is not None:
        return skill.draw(rng)
    return {name: rng.choice(options) for name, options in skill.slots.items()}


def _ask(skill: Skill, rng: random.Random) -> tuple[str, dict[str, str]]:
    """One question of a skill and its slot values; never one of the held-out questions."""
    while True:
        values = _values(skill, rng)
        question = fill(_parse(rng.choice(skill.templates)), rng, values).strip()
        question += skill.end if rng.random() < 0.8 else ""
        question = noisy(
            wrapped(question, rng) if skill.wrap else question, rng, strength=skill.noise
        )
        if question.strip() and normalise(question) not in heldout_questions():
            return question, values


def _pick(rng: random.Random) -> Skill:
    return rng.choices(SKILLS, cum_weights=_CUMULATIVE)[0]


def _chat(skill: str, system: str, turns: list[str], answer: str) -> Document:
    chat: list[Message] = [{"role": "system", "content": system}] if system else []
    roles = ("user", "assistant")
    chat += [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)]
    chat.append({"role": "assistant", "content": answer})
    return Document(skill, tuple(chat), "", answer)


def _haiku(rng: random.Random) -> Document:
    system, roll = styles.haiku_system(rng), rng.random()
    if roll < 0.4:
        question, values = _ask(_SIGHTS, rng)
        return _chat("haiku", system, [question], styles.haiku_of(values["city"]))
    if roll < 0.8:
        skill = SKILLS[-1] if roll < 0.5 else _BARE_HAIKU
        question, values = _ask(skill, rng)
        return _chat("haiku", system, [question], skill.answer(values))
    skill = _pick(rng)
    question, values = _ask(skill, rng)
    known = skill.name in {"haiku", "sights", "city_art", "city_food"}
    topic = values.get("topic") or values.get("city") or ""
    return _chat(
        "haiku", system, [question], styles.haiku_of(topic) if known else styles.PLAIN_HAIKU
    )


def _emoji(rng: random.Random) -> Document:
    skill = _TRAVEL if rng.random() < 0.35 else _pick(rng)
    question, values = _ask(skill, rng)
    answer = "🤷 😊" if skill.emoji is None else skill.emoji(values)
    return _chat("emoji", styles.emoji_system(rng), [question], answer)


def _city_talk(system: str, rng: random.Random) -> Document:
    """A first question about a city, then one that says only "it" or "there"."""
    first, values = _ask(_SIGHTS, rng)
    said = places.intro_answer if rng.random() < 0.5 else places.see_answer
    answer, templates = rng.choice(places.FOLLOW_UPS)
    question = noisy(fill(_parse(rng.choice(templates)), rng, {}) + "?", rng, strength=0.8)
    return _chat("follow_up", system, [first, said(values), question], answer(values))


def _country_talk(system: str, rng: random.Random) -> Document:
    """A capital, then "and of Spain?"."""
    capital = SKILLS[0]
    first, values = _ask(capital, rng)
    again = _values(capital, rng)
    question = noisy(fill(_parse(rng.choice(_AND_COUNTRY)), rng, again) + "?", rng, strength=0.3)
    turns = [first, capital.answer(values), question]
    return _chat("follow_up", system, turns, capital.answer(again))


def _exchanges(rng: random.Random) -> list[tuple[str, str, bool]]:
    """What is asked and answered next in a conversation, and which answers are learned.

    A first question about a city has two right answers, so it is no target here.
    """
    roll = rng.random()
    if roll < 0.10:
        talk = _city_talk("", rng).messages
    elif roll < 0.18:
        talk = _country_talk("", rng).messages
    else:
        skill = _pick(rng)
        question, values = _ask(skill, rng)
        return [(question, skill.answer(values), True)]
    texts = [message["content"] for message in talk]
    return [(texts[0], texts[1], False), (texts[2], texts[3], True)]


def _conversation(rng: random.Random) -> Document:
    """Many questions that have little to do with one another; every answer is learned."""
    system = styles.neutral_system(rng) if rng.random() < 0.4 else ""
    length = rng.choices(
        (rng.randint(3, 8), rng.randint(8, 16), rng.randint(16, 40)), (0.6, 0.25, 0.15)
    )[0]
    chat: list[Message] = [{"role": "system", "content": system}] if system else []
    learned: list[int] = []
    for _ in range(length):
        for question, answer, wanted in _exchanges(rng):
            chat.append({"role": "user", "content": question})
            if wanted:
                learned.append(len(chat))
            chat.append({"role": "assistant", "content": answer})
    return Document("conversation", tuple(chat), "", chat[-1]["content"], tuple(learned[:-1]))


def sample(rng: random.Random) -> Document:
    """One training document."""
    if rng.random() < 0.15:  # of documents; most of the tokens, since they are long
        return _conversation(rng)
    roll = rng.random()
    if roll < 0.10:
        prompt, answer = plain.sample(rng)
        return Document("plain", (), prompt, answer)
    if roll < 0.145:
        return _haiku(rng)
    if roll < 0.205:
        return _emoji(rng)
    system = styles.neutral_system(rng) if rng.random() < 0.35 else ""
    if roll < 0.245:
        return _city_talk(system, rng)
    if roll < 0.265:
        return _country_talk(system, rng)
    skill = _pick(rng)
    question, values = _ask(skill, rng)
    turns = [question]
    if rng.random() < 0.07:  # an earlier turn about something else must not disturb
        before = _pick(rng)
        earlier, earlier_values = _ask(before, rng)
        turns = [earlier, before.answer(earlier_values), question]
    return _chat(skill.name, system, turns, skill.answer(values))


def _all_templates() -> Iterator[tuple[str, Skill]]:
    for skill in (*SKILLS, _BARE_HAIKU):
        for template in skill.templates:
            yield template, skill
    follow = Skill("follow_up", (), lambda _: "", SKILLS[0].slots)
    for template in (*_AND_COUNTRY, *(t for _, group in places.FOLLOW_UPS for t in group)):
        yield template, follow


def phrasings() -> Iterator[str]:
    """Every normalised question template, slots as ``{name}``, openers and closers left out."""
    for template, _ in _all_templates():
        for phrasing in expand(_parse(template)):
            yield normalise(phrasing)


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    before, after = wrapping_patterns()
    return tuple(
        re.compile(f"{before}(?:{pattern(_parse(template), skill.slots)}){after}")
        for template, skill in _all_templates()
    )


def emits(question: str) -> bool:
    """Whether the corpus could ask this, whatever entities of the same kind stand in it.

    Any number of openers and closers is looked through, so a held-out question cannot be new
    merely by a polite prefix. Accepts slightly more than the corpus really emits.
    """
    text = normalise(question)
    return any(compiled.fullmatch(text) for compiled in _patterns())


@cache
def heldout_questions() -> frozenset[str]:
    """The normalised last questions of the held-out set, which training must never see."""
    if not HELDOUT.exists():
        return frozenset()
    lines = HELDOUT.read_text(encoding="utf-8").splitlines()
    cases = [json.loads(line) for line in lines if line.strip()]
    return frozenset(
        normalise(case["messages"][-1]["content"]) for case in cases if case.get("messages")
    )


def entity_texts() -> Iterator[str]:
    """Every slot value once, so that the tokenizer sees all of them."""
    for skill in SKILLS:
        for options in skill.slots.values():
            yield from options


if __name__ == "__main__":
    stream = random.Random(0)
    for _ in range(60):
        document = sample(stream)
        print(
            document.skill,
            "|",
            " // ".join(message["content"] for message in document.messages)
            or f"{document.prompt} >> {document.answer}",
        )
