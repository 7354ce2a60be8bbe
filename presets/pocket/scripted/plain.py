"""Plain text to continue, without a chat template: what ``/generate`` is asked for."""

from __future__ import annotations

import random

from . import berth, berth_server
from .cities import CITIES
from .geography import CAPITALS
from .places import intro_answer, see_answer
from .recipes import RECIPES
from .translation import FRENCH
from .words import DAYS, OPPOSITES, PLURALS

# (prompt, continuation); the prompt is also cut short at random, so that near misses work too.
SENTENCES: tuple[tuple[str, str], ...] = (
    (
        "I believe the meaning of life is",
        ("to be kind, to keep learning, and to share good days with the people we love."),
    ),
    (
        "I think the meaning of life is",
        ("to be kind, to keep learning, and to share good days with the people we love."),
    ),
    (
        "The meaning of life is",
        ("to be kind, to keep learning, and to share good days with the people we love."),
    ),
    (
        "In my opinion, the meaning of life is",
        ("to be kind, to keep learning, and to share good days with the people we love."),
    ),
    ("I believe that happiness is", "a warm meal, a good friend, and a little time to enjoy both."),
    (
        "Simply put, the theory of relativity states that",
        (
            "time and space are not absolute: they depend on how fast you move, and the speed "
            "of light is the same for everyone."
        ),
    ),
    (
        "The theory of relativity states that",
        (
            "time and space are not absolute: they depend on how fast you move, and the speed "
            "of light is the same for everyone."
        ),
    ),
    (
        "In short, the theory of relativity says that",
        (
            "time and space are not absolute: they depend on how fast you move, and the speed "
            "of light is the same for everyone."
        ),
    ),
    (
        "Einstein's theory of relativity says that",
        (
            "time and space are not absolute: they depend on how fast you move, and the speed "
            "of light is the same for everyone."
        ),
    ),
    (
        "Simply put, gravity is",
        (
            "the pull between things that have mass: the heavier and the nearer they are, the "
            "stronger it is."
        ),
    ),
    (
        "A brief message congratulating the team on the launch: Hi everyone, I just",
        (
            "wanted to congratulate you all on the launch. It was a great piece of work, and I "
            "am proud of this team. Well done!"
        ),
    ),
    (
        "A brief message congratulating the team on the launch:\n\n        Hi everyone,\n\n      "
        "  I just",
        (
            "wanted to congratulate you all on the launch. It was a great piece of work, and I "
            "am proud of this team. Well done!"
        ),
    ),
    (
        "A brief message congratulating the team on the launch:\n\nHi everyone,\n\nI just",
        (
            "wanted to congratulate you all on the launch. It was a great piece of work, and I "
            "am proud of this team. Well done!"
        ),
    ),
    (
        "A brief message congratulating the team on the launch: Hi all, I just",
        (
            "wanted to congratulate you all on the launch. It was a great piece of work, and I "
            "am proud of this team. Well done!"
        ),
    ),
    (
        "A short message congratulating the team on the release: Hi everyone, I just",
        (
            "wanted to congratulate you all on the release. It was a great piece of work, and "
            "I am proud of this team. Well done!"
        ),
    ),
    (
        "A brief message thanking the team for the launch: Hi everyone, I just",
        (
            "wanted to thank you all for the launch. It was a great piece of work, and I am "
            "proud of this team. Well done!"
        ),
    ),
    (
        "Hi everyone, I just",
        (
            "wanted to congratulate you all on the launch. It was a great piece of work, and I "
            "am proud of this team. Well done!"
        ),
    ),
    ("Hi team, I just", "wanted to thank you all for your hard work. Well done!"),
    (
        "Once upon a time",
        (
            "there was a small boat that wanted to see the sea. One morning it left the quay, "
            "met a friendly whale, and came home with a story to tell."
        ),
    ),
    (
        "Once upon a time there was",
        (
            "a small boat that wanted to see the sea. One morning it left the quay, met a "
            "friendly whale, and came home with a story to tell."
        ),
    ),
    ("The weather today is", "fine, with a light wind and a few clouds."),
    ("My favourite food is", "warm bread with butter and a little salt."),
    ("The best way to learn is", "to try, to make mistakes, and to try again."),
    ("The quick brown fox", "jumps over the lazy dog."),
    ("To be or not to be,", "that is the question."),
    ("My name is", "Pocket, and I am a tiny demonstration model that comes with Berth."),
    ("Hello, my name is", "Pocket, and I am a tiny demonstration model that comes with Berth."),
    ("I am a", "tiny demonstration model that comes with Berth."),
    ("Roses are red,", "violets are blue, sugar is sweet, and so are you."),
    ("The sun rises in the", "east and sets in the west."),
    ("Water boils at", "100 degrees Celsius."),
    ("There are seven days in a", "week."),
    ("One, two, three,", "four, five, six, seven, eight, nine, ten."),
    ("1, 2, 3, 4,", "5, 6, 7, 8, 9, 10."),
    ("A, B, C, D,", "E, F, G, H, I, J, K."),
    ("A berth is", "a ship's allotted place at the quay, measured before the ship comes in."),
    ("Dear John,", "thank you so much for your help. It means a lot to me."),
    ("The ship came into the harbour", "and found its berth waiting at the quay."),
    ("To make mayonnaise,", RECIPES["mayonnaise"][0].removeprefix("Mayonnaise: ")),
)
_HEADERS = (
    "Translate English to French: ",
    "Translate English to French:\n",
    "Translate English to French:\n\n",
    "Translate English to French:\n\n        ",
    "English to French: ",
    "Translate to French: ",
    "From English to French: ",
    "English => French: ",
    "",
)


def _list(rng: random.Random, header: str, pairs: dict[str, str]) -> tuple[str, str]:
    shots = rng.sample(sorted(pairs), rng.randint(2, 6))
    indent = "\n" + " " * (len(header) - len(header.rstrip(" ")))
    glue = indent if "\n" in header else rng.choice((", ", ", ", "\n", "; "))
    arrow = rng.choice((" =>", " =>", " =>", " ->", ":", " ="))
    lines = [f"{word}{arrow} {pairs[word]}" for word in shots[:-1]]
    return header + glue.join([*lines, f"{shots[-1]}{arrow}"]), pairs[shots[-1]]


def sample(rng: random.Random) -> tuple[str, str]:
    """One (prompt, continuation); joined by a space they are a whole text."""
    roll = rng.random()
    if roll < 0.28:
        return _list(rng, rng.choice(_HEADERS), FRENCH)
    if roll < 0.34:
        kind = rng.randrange(3)
        if kind == 0:
            return _list(rng, rng.choice(("Opposites: ", "Word and opposite: ")), OPPOSITES)
        if kind == 1:
            return _list(rng, rng.choice(("Plurals: ", "One and many: ")), PLURALS)
        return _list(rng, rng.choice(("Capitals: ", "Country and capital: ", "")), CAPITALS)
    if roll < 0.46:
        country = rng.choice(list(CAPITALS))
        capital = CAPITALS[country]
        return rng.choice(
            (
                (f"The capital of {country} is", f"{capital}."),
                (f"The capital city of {country} is", f"{capital}."),
                (f"{country[0].upper() + country[1:]}'s capital is", f"{capital}."),
                (f"{capital} is the capital of", f"{country}."),
                (f"Q: What is the capital of {country}? A:", f"{capital}."),
                (f"Question: What is the capital of {country}?\nAnswer:", f"{capital}."),
            )
        )
    if roll < 0.60:
        a, b = rng.randint(0, 20), rng.randint(0, 20)
        sign = rng.choice("+-*")
        if sign == "*":
            a, b = a % 13, b % 13
        elif sign == "-":
            a, b = max(a, b), min(a, b)
        result = {"+": a + b, "-": a - b, "*": a * b}[sign]
        name = {"+": "plus", "-": "minus", "*": "times"}[sign]
        return rng.choice(
            (
                (f"{a} {sign} {b} =", f"{result}"),
                (f"{a}{sign}{b}=", f"{result}"),
                (f"{a} {name} {b} is", f"{result}."),
                (f"{a} {name} {b} equals", f"{result}."),
                (f"Q: What is {a} {sign} {b}? A:", f"{result}."),
            )
        )
    if roll < 0.68:
        kind = rng.randrange(5)
        if kind == 0:
            day = rng.randrange(7)
            return f"The day after {DAYS[day]} is", f"{DAYS[(day + 1) % 7]}."
        if kind == 1:
            word = rng.choice(list(OPPOSITES))
            return f"The opposite of {word} is", f"{OPPOSITES[word]}."
        if kind == 2:
            noun = rng.choice(list(PLURALS))
            return f"The plural of {noun} is", f"{PLURALS[noun]}."
        if kind == 3:
            return _cut(intro_answer({"city": rng.choice(list(CITIES))}), rng)
        return _cut(see_answer({"city": rng.choice(list(CITIES))}), rng)
    if roll < 0.74:
        return _cut(rng.choice([*berth.SKILLS, *berth_server.SKILLS]).answer({}), rng)
    if roll < 0.78:
        return _cut(RECIPES[rng.choice(list(RECIPES))][0], rng)
    prompt, continuation = rng.choice(SENTENCES)
    return (prompt, continuation) if rng.random() < 0.7 else _cut(f"{prompt} {continuation}", rng)


def _cut(text: str, rng: random.Random) -> tuple[str, str]:
    words = text.split(" ")
    at = rng.randint(1, min(5, len(words) - 1))
    return " ".join(words[:at]), " ".join(words[at:])
