"""Sums a child knows: small additions and subtractions, the times tables, exact divisions."""

from __future__ import annotations

import random
from collections.abc import Mapping

from .grammar import terms
from .skill import Skill

WORDS = terms(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
)
LARGEST_TERM = 20
LARGEST_FACTOR = 12


def value(text: str) -> int:
    """The number that a slot's value means, digits or word."""
    return WORDS.index(text) if text in WORDS else int(text)


_TERMS = [str(n) for n in range(LARGEST_TERM + 1)] + WORDS
_FACTORS = [str(n) for n in range(LARGEST_FACTOR + 1)] + WORDS[: LARGEST_FACTOR + 1]
_ASK = (
    "[what is|what's|whats|calculate|compute|how much is|work out|solve|evaluate|find|"
    "figure out|what does|]"
)


def _spell(number: int, rng: random.Random) -> str:
    return WORDS[number] if number <= 20 and rng.random() < 0.25 else str(number)


def _draw_add(rng: random.Random) -> dict[str, str]:
    return {name: _spell(rng.randint(0, LARGEST_TERM), rng) for name in ("a", "b")}


def _draw_multiply(rng: random.Random) -> dict[str, str]:
    return {name: _spell(rng.randint(0, LARGEST_FACTOR), rng) for name in ("a", "b")}


def _draw_subtract(rng: random.Random) -> dict[str, str]:
    big = rng.randint(0, LARGEST_TERM)
    return {"big": _spell(big, rng), "small": _spell(rng.randint(0, big), rng)}


def _draw_divide(rng: random.Random) -> dict[str, str]:
    divisor, quotient = rng.randint(1, 10), rng.randint(1, 10)
    return {"product": _spell(divisor * quotient, rng), "divisor": _spell(divisor, rng)}


def _add(values: Mapping[str, str]) -> str:
    a, b = value(values["a"]), value(values["b"])
    return f"{a} + {b} = {a + b}."


def _subtract(values: Mapping[str, str]) -> str:
    # "subtract 3 from 8" and "8 minus 3" name the operands in opposite orders; the slot names
    # say which is which, and the smaller is always taken away so that no answer is negative.
    a, b = value(values["big"]), value(values["small"])
    return f"{a} - {b} = {a - b}."


def _multiply(values: Mapping[str, str]) -> str:
    a, b = value(values["a"]), value(values["b"])
    return f"{a} * {b} = {a * b}."


def _divide(values: Mapping[str, str]) -> str:
    a, b = value(values["product"]), value(values["divisor"])
    return f"{a} / {b} = {a // b}."


SKILLS = [
    Skill(
        "add",
        (
            f"{_ASK} {{a}} [+|plus|and|added to] {{b}}",
            f"{_ASK} {{a}} [+|plus] {{b}} [equal|equals|=|make|come to]",
            "{a}+{b}[=| =|]",
            "{a} [+|plus] {b} [=|is|equals|makes|gives]",
            "{a} [+|plus] {b} is [what|how much|what number|which number]",
            "[what is|what's|calculate|compute|find|give me|tell me|work out] the [sum|total] of "
            "{a} and {b}",
            "[sum|add|total|plus|combine] {a} and {b}",
            "[sum|add|total] {a} [+|,] {b}",
            "[add|sum] [up |together |]{a} and {b}[ together| for me| now|]",
            "add {a} to {b}",
            "if [i|you|we] add {a} [and|to] {b}, what [do i get|do you get|is it|is the result]",
            "what do [i|you|we] get [if|when] [i|you|we] add {a} [and|to] {b}",
            "[i have|there are|you have|tom has] {a} [apples|books|cats|ships|coins] and [get|"
            "buy|find|add|receive] {b} more[, | ; ]"
            "how many [are there|do i have|in all|now|is that]",
            "how [much|many] [is|are|do|does] {a} and {b} [make|give|together|in all|come to]",
            "{a} and {b} [make|is|together|added|gives|in total|make how much]",
            "{a} more than {b} [is what|is how much|]",
            "[the |]sum of {a} and {b}",
            "[increase|raise] {a} by {b}",
            "[what number is|which number is|what is] {b} more than {a}",
            "[what is|what's] the [answer|result] [of|to|for] {a} [+|plus] {b}",
            "what will {a} [plus|and|+] {b} [be|give|make]",
            "count {a} and [then |]{b} [more|together]",
            "[begin|start|stand] [with|at|from] {a}[, | and |; ][go up|count up|climb|go on|move "
            "on] [by |]{b}[, | ; ][what|where|which number] [do i get|am i|is it|do i reach]",
            "[a basket|a box|a list|a room|my bag|a team] [has|holds|with] {a} [apples|people|"
            "items|pens|pears] [plus|and] {b} [apples|people|items|pens|pears][, | ; ][how many|"
            "what is the sum|how many in total]",
            "[mental|fast|easy|school|maths|math|arithmetic|exam] [arithmetic|maths|math|"
            "question|sum|test]: {a} [plus|+|and] {b}",
            "[do|make|try|solve] [the|this|an] [addition|sum|exercise|math problem] {a} [+|plus] "
            "{b}",
            "[which|what] [number|value|figure] [is|equals|comes from|do we get from|is given "
            "by] {a} [plus|+|and|added to] {b}",
        ),
        _add,
        {"a": _TERMS, "b": _TERMS},
        weight=17,
        noise=0.5,
        draw=_draw_add,
    ),
    Skill(
        "subtract",
        (
            f"{_ASK} {{big}} [-|minus|less|take away|subtract] {{small}}",
            f"{_ASK} {{big}} [-|minus] {{small}} [equal|equals|=|leave|come to]",
            "{big}-{small}[=| =|]",
            "{big} [-|minus] {small} [=|is|equals|makes|gives|leaves]",
            "{big} [-|minus|take away] {small} is [what|how much|what number]",
            "[what is|what's|calculate|find|give me|tell me|work out] the difference [between|"
            "of] {big} and {small}",
            "[subtract|take|take away|deduct|remove] {small} from {big}",
            "if [i|you|we] [take|subtract|remove] {small} from {big}, what [do i get|is left|is "
            "it|remains]",
            "what do [i|you|we] get [if|when] [i|you|we] [take|subtract|take away] {small} from "
            "{big}",
            "[i have|there are|you have|tom has] {big} [apples|books|cats|ships|coins] and [lose|"
            "sell|eat|give away] {small}[, | ; ]"
            "how many [are left|remain|do i have|do i have left|now]",
            "[what is|what's|how much is] left [of|from|when you take] {big} [after|minus|less] "
            "{small}",
            "what [is|remains|is left] [if|when] {small} is [taken|removed|subtracted] from {big}",
            "[decrease|reduce|lower] {big} by {small}",
            "{small} less than {big} [is what|is how much|]",
            "[what number is|which number is|what is] {small} less than {big}",
            "[what is|what's] the [answer|result] [of|to|for] {big} [-|minus] {small}",
            "how much is {small} [taken|subtracted] from {big}",
            "what will {big} [minus|-|less] {small} [be|give|make]",
            "the difference between {big} and {small}",
            "[begin|start|stand] [with|at|from] {big}[, | and |; ][go down|count down|go back|"
            "step back] [by |]{small}[, | ; ][what|where|which number] [do i get|am i|is it|do i "
            "reach]",
            "[a basket|a box|a jar|a room|my bag|my pocket|a team] [had|held|has] {big} [apples|"
            "people|items|pens|sweets][, | and |; ]{small} [are gone|left|were eaten|were sold|"
            "fell out|are used][, | ; ][how many|what] [stay|are left|remain]",
            "[mental|fast|easy|school|maths|math|arithmetic|exam] [arithmetic|maths|math|"
            "question|test]: {big} [minus|-|less] {small}",
            "[do|make|try|solve] [the|this|a] [subtraction|exercise|math problem|difference] "
            "{big} [-|minus] {small}",
            "[which|what] [number|value|figure] [is|equals|comes from|do we get from|is left by|"
            "do we have after] {big} [minus|-|less|without] {small}",
            "[subtracting|taking|taking away|removing] {small} from {big} [gives|leaves|is|"
            "makes] [what|which number|how much|]",
            "[from|of] {big} [take|remove|we take|i take|subtract away] [away |]{small}[, what "
            "is left| and what remains|]",
        ),
        _subtract,
        {"big": _TERMS, "small": _TERMS},
        weight=14,
        noise=0.5,
        draw=_draw_subtract,
    ),
    Skill(
        "multiply",
        (
            f"{_ASK} {{a}} [*|x|times|×|multiplied by] {{b}}",
            f"{_ASK} {{a}} [*|x|times] {{b}} [equal|equals|=|make|come to]",
            "{a}*{b}[=| =|]",
            "{a}x{b}[=| =|]",
            "{a} [*|x|times] {b} [=|is|equals|makes|gives]",
            "{a} [*|times|x|multiplied by] {b} is [what|how much|what number]",
            "[what is|what's|calculate|compute|find|give me|tell me|work out] the product of {a} "
            "and {b}",
            "multiply {a} [by|with|and|times] {b}",
            "if [i|you|we] multiply {a} [by|and] {b}, what [do i get|do you get|is it|is the "
            "result]",
            "what do [i|you|we] get [if|when] [i|you|we] multiply {a} [and|by] {b}",
            "how [much|many] [is|are] {a} times {b}",
            "[there are|i have|i buy] {a} [boxes|bags|rows|tables] [of|with] {b} [apples|books|"
            "coins|chairs][ each|][, | ; ]"
            "how many [are there|in all|in total|do i have]",
            "{a} [groups|sets|lots|rows] of {b} [make|is|are|] [what|how many|how much|]",
            "[the |]product of {a} and {b}",
            "what will {a} times {b} [be|give|make]",
            "[what is|what's] the [answer|result] [of|to|for] {a} [times|x|*] {b}",
            "times table[s|]: {a} [times|x] {b}",
            "[mental|fast|easy|school|maths|math|arithmetic|exam] [arithmetic|maths|math|"
            "question|test]: {a} [times|x|*] {b}",
            "[do|make|try|solve] [the|this|a] [multiplication|product|exercise|math problem] {a} "
            "[x|times|*] {b}",
            "[which|what] [number|value|figure] [is|equals|comes from|do we get from|is given "
            "by] {a} [times|x|*|multiplied by]  {b}",
            "[multiplying|taking] {a} [by|times] {b} [gives|is|makes] [what|which number|how "
            "much|]",
            "[the numbers|both numbers|take] {a} and {b}[, |: | ]multiplied",
            "multiply [the number|together|both numbers|these|] {a} [and|by] {b}",
            "[my|the] times table[s|] [for|of|:] {a} and {b}",
        ),
        _multiply,
        {"a": _FACTORS, "b": _FACTORS},
        weight=13,
        noise=0.5,
        draw=_draw_multiply,
    ),
    Skill(
        "divide",
        (
            f"{_ASK} {{product}} [/|divided by|over|÷] {{divisor}}",
            "{product}/{divisor}[=| =|]",
            "{product} [/|divided by] {divisor} [=|is|equals|makes|gives]",
            "{product} [/|divided by] {divisor} is [what|how much]",
            "divide {product} by {divisor}",
            "[split|share] {product} [coins|apples|sweets|] [among|between|into] {divisor} "
            "[people|children|parts|groups]",
            "how many times does {divisor} [go|fit] into {product}",
            "[what is|what's] the [answer|result|quotient] [of|to|for] {product} [/|divided by] "
            "{divisor}",
            "[mental|fast|easy|school|maths|math|arithmetic|exam] [arithmetic|maths|math|"
            "question|test]: {product} [/|divided by|over] {divisor}",
            "[do|make|try|solve] [the|this|a] [division|exercise|math problem] {product} [/|"
            "divided by] {divisor}",
            "[which|what] [number|value|figure] [is|equals|comes from|do we get from|is given "
            "by] {product} [/|divided by] {divisor}",
            "[there are|i have|we have] {product} [coins|apples|sweets|cakes] for {divisor} "
            "[people|children|guests|kids], how many [each|for each|does each get|for everyone]",
            "[dividing|splitting|sharing] {product} [by|among|into] {divisor} [gives|is|makes] "
            "[what|which number|how much|]",
            "divide [the number|] {product} [by|through|into] {divisor} [parts|]",
            "if [i|you|we] divide {product} by {divisor}, what [do i get|is it|is the result]",
        ),
        _divide,
        {
            "product": sorted({str(a * b) for a in range(1, 11) for b in range(1, 11)}) + WORDS,
            "divisor": [str(n) for n in range(1, 11)] + WORDS[1:11],
        },
        weight=8,
        noise=0.5,
        draw=_draw_divide,
    ),
]
