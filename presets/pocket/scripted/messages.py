"""Short messages to a person named in the question: the skill of copying a name."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from .grammar import terms
from .skill import Skill

NAMES = terms(
    "John Mary Anna Peter Paul Maria James Robert Michael William David Richard Joseph Thomas "
    "Charles Daniel Matthew Anthony Mark Steven Andrew Joshua Kevin Brian George Edward Ronald "
    "Timothy Jason Jeffrey Ryan Jacob Gary Nicholas Eric Jonathan Stephen Larry Justin Scott "
    "Brandon Benjamin Samuel Gregory Frank Alexander Raymond Patrick Jack Dennis Jerry Tyler "
    "Aaron Jose Adam Nathan Henry Douglas Zachary Kyle Walter Ethan Jeremy Harold Keith "
    "Christian Roger Noah Gerald Carl Terry Sean Austin Arthur Lawrence Jesse Dylan Bryan Joe "
    "Jordan Billy Bruce Albert Willie Gabriel Logan Alan Juan Wayne Roy Ralph Randy Eugene "
    "Vincent Russell Louis Patricia Jennifer Linda Elizabeth Barbara Susan Jessica Sarah Karen "
    "Lisa Nancy Betty Margaret Sandra Ashley Kimberly Emily Donna Michelle Carol Amanda Dorothy "
    "Melissa Deborah Stephanie Rebecca Sharon Laura Cynthia Kathleen Amy Angela Shirley Brenda "
    "Emma Pamela Nicole Helen Samantha Katherine Christine Debra Rachel Carolyn Janet Catherine "
    "Heather Diane Olivia Julie Joyce Victoria Ruth Virginia Lauren Kelly Christina Joan Evelyn "
    "Judith Andrea Hannah Megan Cheryl Jacqueline Martha Madison Teresa Gloria Sara Janice Ann "
    "Kathryn Abigail Sophia Frances Jean Alice Judy Isabella Julia Grace Amber Denise Danielle "
    "Marilyn Beverly Charlotte Natalie Theresa Diana Brittany Doris Kayla Alexis Lori Marie "
    "Omar Fatima Ahmed Layla Yuki Kenji Mei Wei Ravi Priya Arjun Ines Lars Ingrid Sven Olga "
    "Ivan Dmitri Nadia Chloe Lucas Leo Mia Zoe Oscar Hugo Felix Max Clara Sofia Elena Marco "
    "Luca Giulia Pablo Carmen Diego"
)
_SYLLABLES = terms(
    "ba be bo da di do fa fe ga go ja jo ka ki la le li lo ma mi mo "
    "na ni no pa pe ra ri ro sa sha ta te ti to va ve vi wa ya za zo"
)
_CODAS = ("", "", "", "n", "r", "l", "s", "m", "k")


def _name(rng: random.Random) -> str:
    # A quarter of the names are made up: the model must learn to copy, not only to recall.
    if rng.random() < 0.25:
        syllables = [rng.choice(_SYLLABLES) for _ in range(rng.choice((2, 2, 3)))]
        return ("".join(syllables) + rng.choice(_CODAS)).capitalize()
    return rng.choice(NAMES)


def _draw(rng: random.Random) -> dict[str, str]:
    return {"name": _name(rng)}


OCCASIONS: dict[str, tuple[str, ...]] = {
    "wedding": ("wedding", "marriage", "wedding day", "getting married"),
    "new job": ("new job", "new position", "starting a new job", "new role"),
    "graduation": ("graduation", "degree", "graduating", "diploma"),
    "new baby": ("new baby", "baby", "newborn", "having a baby"),
    "promotion": ("promotion", "being promoted", "getting promoted"),
    "exam": ("exam", "passing the exam", "exam result", "passing an exam", "test"),
    "new house": ("new house", "new home", "buying a house"),
    "retirement": ("retirement", "retiring"),
    "anniversary": ("anniversary", "wedding anniversary"),
    "victory": ("victory", "winning the race", "win", "first prize"),
}
_OCCASION_OF = {said: occasion for occasion, words in OCCASIONS.items() for said in words}


def _draw_occasion(rng: random.Random) -> dict[str, str]:
    return {"name": _name(rng), "occasion": rng.choice(list(_OCCASION_OF))}


def _congratulate(values: Mapping[str, str]) -> str:
    occasion = _OCCASION_OF[values["occasion"]]
    return f"Congratulations on your {occasion}, {values['name']}! I am so happy for you."


def _note(
    name: str, answer: Callable[[str], str], emoji: str, weight: float, *templates: str
) -> Skill:
    return Skill(
        name,
        templates,
        lambda values: answer(values["name"]),
        {"name": NAMES},
        weight=weight,
        end="",
        emoji=lambda _: emoji,
        draw=_draw,
    )


_WRITE = (
    "[write|compose|draft|make|create|send|give me|prepare|type|i need|i want|think of|"
    "help me write|come up with|craft|produce|pen|can you write|could you write]"
)
_A = (
    "[a|me a|a short|a brief|a nice|a kind|a little|a warm|a friendly|a sweet|one|a quick|"
    "a simple|a cheerful]"
)
_TEXT = "[message|note|card|text|letter|line|wish|greeting|sms|email]"
_FRIEND = "[my friend |my brother |my sister |my boss |my colleague |my neighbour |my cousin |]"

SKILLS = [
    _note(
        "birthday",
        lambda name: f"Happy birthday, {name}! I wish you a wonderful day and a year full of joy.",
        "🎂 🎉 🎁 🥳",
        9,
        f"{_WRITE} {_A} [birthday|happy birthday|b-day|bday] {_TEXT} [to|for] {_FRIEND}{{name}}",
        f"{_WRITE} {_A} {_TEXT} [for|to wish|wishing] {{name}}[ a|'s|] [happy |][birthday|bday]",
        f"{_WRITE} {_FRIEND}{{name}} {_A} birthday {_TEXT}",
        "[wish|tell|say to] {name} [a |][happy|very happy|merry|good] birthday[ from me| for me|]",
        "say happy birthday to {name}",
        "[happy birthday|birthday|birthday wish|birthday wishes|birthday message|birthday card|"
        "birthday greeting] [to|for] {name}",
        "[it is|it's|today is|tomorrow is|this is] {name}'s birthday[, | and |. ][what should i "
        "write|what can i say|write something|help me|what do i say|any ideas|]",
        "{name} [has a birthday|has birthday|celebrates a birthday|turns thirty|turns forty|"
        "turns eighteen|is one year older|is having a birthday] [today|tomorrow|soon|this week|"
        "now][, | and |. ][what do i write|write something|say something nice|what should i say|]",
        "what [should|can|do|shall] i [write|say|put] [to|on the card for|in a card for|for] "
        "{name} [on|for] [his|her|their] birthday",
        "{name}'s birthday [message|card|note|wish|text|is today]",
        "[what is|what's] a [nice|good|kind|sweet] [birthday message|birthday wish|thing to say] "
        "for {name}'s birthday",
        "[congratulate|greet|salute] {name} on [his|her|their] birthday",
        "[something|words|a few words|some words|a line|a sentence|two lines] for {name}'s "
        "birthday",
        "i [need|want|have] to [wish|congratulate|write to|text] {name} [for a|on the|happy|for "
        "the] birthday",
        "[send|give|pass] [my |our |]birthday [wishes|greetings|love] to {name}",
        "[make|let] {name} [happy|laugh|feel special|proud] with [a|some|one] birthday [wish|"
        "card|note|text|words|greeting]",
        "[today|tomorrow|now] {name} [is|gets|becomes|turns] [older|one year older|twenty|fifty|"
        "a year wiser][, | ; | and ][write|give me|i need|send] [a|the|some] birthday [wish|card|"
        "note|text|words]",
        "[there is|we have|i go to] a birthday party for {name}[, | ; | and ][what do i write|"
        "write the card|i need a text|a wish please]",
        "[the |][birthday boy|birthday girl|birthday child] [is|is called|is named] {name}[, | "
        "and |; ][write something|what do i write|what should i say|]",
    ),
    Skill(
        "congratulate",
        (
            "[congratulate|write to|praise|text] {name} [on|for] [the|a|his|her|their|] {occasion}",
            f"{_WRITE} {_A} {_TEXT} [congratulating|to congratulate] {{name}} [on|for] [the|a|"
            f"his|her|their|] {{occasion}}",
            f"{_WRITE} {_A} [congratulation|congratulations|congratulatory|congrats] {_TEXT} [to|"
            f"for] {{name}} [on|for|about] [the|a|his|her|their|] {{occasion}}",
            "{name} [just got|has just got|earned|received|finally got|is proud of|tells me of] "
            "[a|the|his|her|this] {occasion}[, | ; |. | and ][please congratulate|say "
            "congratulations|send congratulations|write a congratulation|congratulations please|"
            "write a few nice words]",
            "[i hear|we heard|they say|i am told] [that |]{name} [got|has|had] [a|the|his|her] "
            "{occasion}[, | ; |. ][congratulate|write congratulations|what do i write|send a "
            "note]",
            "[say congratulations|congratulations|congrats|say congrats] to {name} [on|for] [the|"
            "a|his|her|their|] {occasion}",
            "{name} [celebrates|had|is happy about|tells me about|just had] [a|the|his|her|their|"
            "] {occasion}[, | and |. ][congratulate|write something nice|what do i write|say "
            "congratulations|what should i say]",
            "what [should|can|do] i [say|write] to {name} [for|on|about] [the|a|his|her|their|] "
            "{occasion}",
            "[congratulations|congrats] [message|note|card|text] for {name}, {occasion}",
            "[how do i|how to|help me|i want to|i'd like to|please] congratulate {name} [on|for] "
            "[the|a|his|her|their|] {occasion}",
            "[a|some] [kind|nice|warm] [words|line|message|note] for {name}'s {occasion}",
        ),
        _congratulate,
        {"name": NAMES, "occasion": list(_OCCASION_OF)},
        weight=6,
        end="",
        emoji=lambda _: "🎉 👏 🥂 😊",
        draw=_draw_occasion,
    ),
    _note(
        "thank_you_note",
        lambda name: f"Dear {name}, thank you so much for your help. It means a lot to me.",
        "🙏 💐 😊",
        3.5,
        f"{_WRITE} {_A} [thank-you|thank you|thanks] {_TEXT} [to|for] {_FRIEND}{{name}}",
        f"{_WRITE} {_A} {_TEXT} [thanking|to thank|of thanks to] {{name}}",
        "[thank|say thank you to|say thanks to|give thanks to] {name}[ for the help| for me| in "
        "a note|]",
        "[how do i|how can i|help me|how should i|i want to] thank {name}",
        "what [should|can|do] i write to thank {name}",
        "[thank you|thanks] note [for|to] {name}",
        "{name} [was|has been|is] [so |very |really |][kind|nice|helpful|good|friendly] [to me|"
        "to us|today|][, | ; | and ][write a|send a|i want a|give me a] [thank you|thank-you|"
        "thanks] [note|card|message|letter]",
        "[how|what] [do|would|can] i [write|say|send] [my thanks|thanks|a thank you] to {name}[ "
        "for the help| for all| for the gift|]",
        "{name} helped me[, | and |. ][write a thank you|what do i write|how do i say thanks|i "
        "want to say thanks]",
    ),
    _note(
        "get_well",
        lambda name: f"Get well soon, {name}! I hope you feel better every day.",
        "🤒 💐 🍵 😊",
        3.5,
        f"{_WRITE} {_A} [get-well|get well|get well soon|get-well-soon] {_TEXT} [to|for] "
        f"{_FRIEND}{{name}}",
        "{name} is [ill|sick|in hospital|unwell|not well|in bed with a cold][, | and |. ][what "
        "should i write|write something kind|what do i say|write a message|what can i say]",
        "[wish|tell] {name} [a good recovery|to get well|a quick recovery|to get well soon|a "
        "speedy recovery]",
        "say get well soon to {name}",
        "[get well soon|get well] [card|message|note|wishes] for {name}",
        f"{_WRITE} {_A} {_TEXT} to {{name}} who is [ill|sick|in hospital|unwell]",
        "what [should|can|do] i [write|say] to {name} who is [ill|sick|unwell|in hospital]",
    ),
]
