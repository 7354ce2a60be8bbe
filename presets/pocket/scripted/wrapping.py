"""What people put around a question: an opener, a sentence of scenery, a closing word."""

from __future__ import annotations

import random
import re

from .grammar import fill, normalise, parse, pattern

OPENERS = (
    "hey",
    "hi",
    "hello",
    "hi there",
    "hey pocket",
    "hello pocket",
    "pocket",
    "dear pocket",
    "ok",
    "okay",
    "so",
    "well",
    "um",
    "please",
    "pls",
    "quick question",
    "question",
    "excuse me",
    "sorry",
    "tell me",
    "please tell me",
    "can you tell me",
    "could you tell me",
    "would you tell me",
    "can you please tell me",
    "do you know",
    "i want to know",
    "i would like to know",
    "i'd like to know",
    "i need to know",
    "i was wondering",
    "i wonder",
    "just curious",
    "one question",
    "another question",
    "now",
    "next",
    "next question",
    "also",
    "and",
    "by the way",
    "help me",
    "can you help me",
    "let me ask",
    "may i ask",
    "my friend asks",
    "my daughter wants to know",
    "my teacher asked me",
    "i forgot",
    "remind me",
    "i have a question",
    "for my homework",
    "for a quiz",
    "i am curious",
    "good morning",
    "thanks",
    "say",
    "listen",
    "any idea",
    "would you happen to know",
    "out of curiosity",
    "for a school project",
    "first of all",
    "i am preparing for a test",
    "good evening",
    "i am not sure",
    "let us see",
    "you know what",
    "one more thing",
    "if you do not mind",
    "be so kind",
    "my son asked me this",
    "we were talking about this",
    "here is my question",
    "this is important",
    "i hope you can help",
    "i am stuck",
    "a simple one",
    "an easy one",
)
CLOSERS = (
    "please",
    "thanks",
    "thank you",
    "pls",
    "thx",
    "if you know",
    "if you can",
    "for me",
    "do you know",
    "can you tell me",
    "i forgot",
    "quickly",
    "in short",
    "briefly",
    "in one sentence",
    "i need it for school",
    "i am curious",
    "just wondering",
    "right now",
    "my friend",
    "pocket",
    "again",
    "any idea",
    "help",
    "asap",
    "tell me",
    "many thanks",
    "cheers",
    "i can't remember",
    "thanks in advance",
    "if possible",
    "if you don't mind",
    "it is urgent",
)
# A sentence of scenery before the question.
CONTEXTS = (
    "[my|our|the] [aunt|uncle|boss|teacher|neighbour|grandmother|colleague|brother|sister|wife|"
    "husband|kids|class|quiz master|crossword|book|newspaper|homework|professor|guide|team]"
    " [asks me|wants to know this|wonders|needs an answer|says|asks this|told me to ask|does not "
    "know|has a question|wants this|is curious]",
    "[i am|i'm|we are|my friend is|she is|he is] [at home|at school|in the office|on the train|"
    "reading a book|watching tv|filling in a form|playing a quiz|making a list|looking at a map|"
    "writing a letter|new here|in a hurry|on holiday|learning|planning something]",
    "[yesterday|today|tomorrow|next month|last week|this evening|in spring|one day] [i|we|my "
    "friend|she|they] [will need this|talked about it|had a bet|must know this|will be asked|"
    "heard about it|saw it on the news|read about it|will try it|have a test]",
    "[suppose|imagine|let's say|assume] [someone asks|we play a game|it is a quiz|i am a child|"
    "you are my teacher|a friend asks|we meet|this is a test]",
    "[a|one|the] [friend|child|guest|student|tourist|colleague|customer|stranger|lady|man] [of "
    "mine |][asks|wants to know|wonders|needs help|came to me|has a question|would like an "
    "answer]",
)
_BREAKS = (", ", ", ", ": ", ". ", " - ", " ", "! ")
_SCENERY = [parse(template) for template in CONTEXTS]


def wrapped(question: str, rng: random.Random) -> str:
    """The question as sampled people would wrap it; often unchanged."""
    if rng.random() < 0.33:
        question = rng.choice(OPENERS) + rng.choice(_BREAKS) + question
    if rng.random() < 0.14:
        context = fill(rng.choice(_SCENERY), rng, {})
        question = context + rng.choice((". ", ", ", ": ", "! ", " and ", "; ")) + question
    if rng.random() < 0.16:
        question = question.rstrip("?") + rng.choice((", ", " ", "? ", ". ")) + rng.choice(CLOSERS)
    return question


def _either(choices: tuple[str, ...]) -> str:
    return "|".join(re.escape(choice) for choice in sorted({normalise(c) for c in choices}))


def wrapping_patterns() -> tuple[str, str]:
    """Regular expressions over normalised text for all that may stand before and after."""
    scenery = "|".join(pattern(nodes, {}) for nodes in _SCENERY)
    before = f"(?:(?:{scenery}|{_either(OPENERS)}) +(?:and +)?)*"
    return before, f"(?: +(?:{_either(CLOSERS)}))*"
