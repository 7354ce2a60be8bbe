"""Word lore: opposites, plurals, animal sounds and young, days and months."""

from __future__ import annotations

from collections.abc import Mapping

from .grammar import terms
from .skill import Skill

_PAIRS = (
    "hot=cold;big=small;tall=short;fast=slow;old=young;new=old;happy=sad;rich=poor;light=dark;"
    "strong=weak;hard=soft;full=empty;open=closed;wet=dry;clean=dirty;early=late;near=far;"
    "high=low;loud=quiet;thick=thin;wide=narrow;heavy=light;good=bad;right=wrong;left=right;"
    "up=down;in=out;day=night;black=white;war=peace;love=hate;sweet=sour;sharp=blunt;deep=shallow;"
    "easy=difficult;first=last;true=false;begin=end;buy=sell;win=lose;push=pull;laugh=cry;"
    "inside=outside;above=below;before=after;always=never;cheap=expensive;brave=cowardly;alive=dead"
)
OPPOSITES = dict(pair.split("=") for pair in _PAIRS.split(";"))
PLURALS = dict(
    pair.split("=")
    for pair in terms(
        "mouse=mice child=children man=men woman=women foot=feet tooth=teeth goose=geese ox=oxen "
        "person=people sheep=sheep fish=fish deer=deer leaf=leaves knife=knives wolf=wolves "
        "life=lives wife=wives shelf=shelves half=halves potato=potatoes tomato=tomatoes "
        "hero=heroes city=cities baby=babies berry=berries lady=ladies box=boxes bus=buses "
        "fox=foxes church=churches dish=dishes glass=glasses cat=cats dog=dogs book=books "
        "house=houses ship=ships tree=trees car=cars cactus=cacti louse=lice loaf=loaves "
        "thief=thieves boat=boats"
    )
)
SOUNDS = {
    "cow": "moo", "dog": "woof", "cat": "meow", "duck": "quack", "pig": "oink", "sheep": "baa",
    "horse": "neigh", "lion": "roar", "frog": "ribbit", "bee": "buzz", "owl": "hoot", "goat": "meh",
    "rooster": "cock-a-doodle-doo", "snake": "hiss", "mouse": "squeak", "wolf": "howl",
    "donkey": "hee-haw", "crow": "caw", "turkey": "gobble", "bear": "growl",
}  # fmt: skip
YOUNG = {
    "cow": "calf", "dog": "puppy", "cat": "kitten", "duck": "duckling", "pig": "piglet",
    "sheep": "lamb", "horse": "foal", "lion": "cub", "frog": "tadpole", "goat": "kid",
    "goose": "gosling", "swan": "cygnet", "kangaroo": "joey", "deer": "fawn", "owl": "owlet",
    "hen": "chick", "eagle": "eaglet", "bear": "cub", "wolf": "pup", "seal": "pup",
}  # fmt: skip
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = terms(
    "January February March April May June July August September October November December"
)


def _step(cycle: list[str], name: str, by: int) -> str:
    return cycle[(cycle.index(name) + by) % len(cycle)]


def _calendar(by: int, key: str, cycle: list[str]) -> Skill:
    side = "after" if by > 0 else "before"
    kind = "day" if len(cycle) == 7 else "month"
    verb = "[comes after|follows|is after|comes right after|succeeds|is next after]"
    if by < 0:
        verb = "[comes before|is before|precedes|comes right before|is just before|leads up to]"
    extra = (
        (
            f"if today is {{{key}}}, what is tomorrow",
            f"[today is|it is|now it is] {{{key}}}, [what|which] {kind} [is tomorrow|comes next|"
            "is next|will it be tomorrow]",
            f"after {{{key}}} [comes|comes which {kind}|comes what|what comes|which {kind} comes]",
            f"[what|which {kind}] [is|comes] next after {{{key}}}",
        )
        if by > 0
        else (
            f"if today is {{{key}}}, what was yesterday",
            f"[today is|it is|now it is] {{{key}}}, [what|which] {kind} [was yesterday|came "
            "before|was it yesterday]",
            f"before {{{key}}} [comes|comes which {kind}|comes what|what comes|which {kind} comes]",
            f"[what|which {kind}] came [just |right |]before {{{key}}}",
            f"the {kind} [which|that] [is|comes] before {{{key}}}",
        )
    )

    def answer(values: Mapping[str, str]) -> str:
        name = values[key]
        return f"{_step(cycle, name, by)} comes {side} {name}."

    return Skill(
        "calendar",
        (
            f"[what|which] [{kind}|] {verb} {{{key}}}",
            f"[what is|name|tell me|which is|give me|say] the {kind} [right |just |]{side} "
            f"{{{key}}}",
            f"[the |]{kind} {side} {{{key}}}",
            f"[which|what] {kind} [will i|does one|would you|can we|shall we] [have|get|see|"
            f"find] {side} {{{key}}}",
            f"[tell me|say|name|i forgot|remind me|give me] [which|what] {kind} [is|comes|stands|"
            f"we have] {side} {{{key}}}",
            f"[{{{key}}} is here|now {{{key}}}|think of {{{key}}}|take {{{key}}}][, | ; ]which "
            f"{kind} [is|comes|stands|was|will be] {side} it",
            f"{{{key}}} [is|comes|stands] {'before' if by > 0 else 'after'} [which|what] {kind}",
            *extra,
        ),
        answer,
        {key: cycle},
        weight=2,
        noise=0.6,
    )


def _young(values: Mapping[str, str]) -> str:
    young = YOUNG[values["animal"]]
    article = "an" if young[0] in "aeiou" else "a"
    return f"A young {values['animal']} is called {article} {young}."


SKILLS = [
    Skill(
        "opposite",
        (
            "[what is|what's|whats|tell me|name|give me|say|which is] the [opposite|antonym|"
            "contrary|reverse] of {word}",
            "[opposite|antonym|the opposite|contrary] [of|to|for] {word}",
            "{word} [opposite|antonym|and its opposite]",
            "[what|which] word [is|means] the [opposite|contrary|reverse] of {word}",
            "[what|which word] is [opposite|contrary|the antonym] [to|of] {word}",
            "what is [not|the other side of] {word}",
            "if [something|it] is not {word}, what is it",
            "{word} is the opposite of [what|which word|]",
            "{word} [versus|vs|against|or] what",
            "[find|think of|look up|write] [an|the] [antonym|opposite] [for|of] {word}",
            "[i need|i want|i look for] [an|the] [opposite|antonym] [of|for] {word}",
            "[turn|flip|reverse] {word} [around|into its opposite|to the opposite]",
            "[if|when] [i|you|someone|we] [say|says|write|choose|start with] {word}[, | then | ; "
            "][what is the opposite|what do you say for the opposite|the opposite is|which word "
            "is opposite]",
            "[on one side|one side is|here is|we have] {word}[, | and | ; ][what is the opposite|"
            "on the other side|the opposite is|what is its antonym]",
            "[give|tell|say|name|show] [me |][a word|the word|one word] [that is |][opposite|"
            "contrary] [in meaning |][to|of] {word}",
            "[which|what] [antonym|opposite|contrary] [has|belongs to|fits|goes with|matches|"
            "does one use for] {word}",
            "[the |][contrary|antonym|other side] [of|to] {word}[ please| is what| now|]",
        ),
        lambda values: f"The opposite of {values['word']} is {OPPOSITES[values['word']]}.",
        {"word": list(OPPOSITES)},
        weight=5.5,
        noise=0.6,
    ),
    Skill(
        "plural",
        (
            "[what is|what's|whats|tell me|name|give me|say|write] the plural [form |]of {noun}",
            "[plural|the plural|plural form] [of|for] {noun}",
            "{noun} [plural|in the plural|in plural form|plural form]",
            "how do [you|i|we] [write|say|spell|form] the plural of {noun}",
            "[one|a single] {noun}, [two|three|many|several] [what|]",
            "[more than one|many|two of a|several] {noun} [is|are|are called|is called|makes|"
            "make] [what|]",
            "[make|turn|put] {noun} [plural|into the plural|in the plural]",
            "[what|which] is [the word for|the name for] [more than one|many|several] {noun}",
            "what [do you|do we|does one] call [two|many|several|more than one] {noun}",
            "{noun} has which plural",
            "pluralise {noun}",
            "what does {noun} become in the plural",
            "[first|yesterday|before] [one|a] {noun}, [now|today|then] [many|two|several][, | ; |"
            ". ][plural|what is the word|what do i write|how many of what]",
            "[the |][singular|word|noun] is {noun}[, | ; | and ][what is the plural|the plural "
            "is|how is the plural|give the plural|plural]",
            "[which|what] [plural|plural form] [has|belongs to|goes with|fits|is right for|do i "
            "use for] [the word |the noun |]{noun}",
            "[is|how is] the plural [of|for] {noun} [formed|spelled|said|made|built|irregular]",
            "[the |][right|correct|proper|good] plural [of|for] [the word |the noun |]{noun}",
        ),
        lambda values: f"The plural of {values['noun']} is {PLURALS[values['noun']]}.",
        {"noun": list(PLURALS)},
        weight=5.5,
        noise=0.6,
    ),
    Skill(
        "animal_sound",
        (
            "[what|which] [sound|noise|cry|call] does [a|the|an] {animal} make",
            "what does [a|the|an] {animal} [say|sound like]",
            "how does [a|the|an] {animal} [sound|speak|call|go|talk]",
            "[the |][sound|noise|call] of [a|the|an] {animal}",
            "[what|which] [sound|noise] [is made by|comes from] [a|the|an] {animal}",
            "[a|the] {animal} [says|goes|makes|makes which sound|makes what noise]",
            "{animal} [sound|noise]",
            "[imitate|act like|do the sound of|make the sound of] [a|the|an] {animal}",
            "what is the [sound|noise|call] of [a|the|an] {animal}",
            "[in the field|at the zoo|outside|at night|in the barn|there] [is|i hear|we hear|i "
            "see|sits|stands] [a|the|an] {animal}[, | ; |. ][what does it say|what sound does it "
            "make|which sound|what noise is it]",
            "[which|what] [sound|noise|call] [do i hear|will i hear|do you hear|is heard|can be "
            "heard] [from|when there is|with] [a|the|an] {animal}",
            "[a|the] {animal} [makes|opens its mouth and makes|gives|utters] [a|which|what] "
            "[sound|noise|cry][, what is it|]",
            "[say|show|teach] [me |us |][the |what |which ][sound|noise] [of |][a|an|the] "
            "{animal}[ makes|]",
        ),
        lambda values: f"The {values['animal']} says {SOUNDS[values['animal']]}.",
        {"animal": list(SOUNDS)},
        weight=4,
        noise=0.6,
    ),
    Skill(
        "animal_young",
        (
            "[what is|what's|whats] [a|the] [baby|young|newborn] {animal} [called|named|]",
            "what [do you|do we|do people|does one] call [a|the] [baby|young|newborn|little] "
            "{animal}",
            "[what is|tell me|name|give me] the [name|word|term] [for|of] [a|the] [baby|young|"
            "newborn] {animal}",
            "[what is|name|what's] the [baby|young|child|offspring|little one] of [a|the|an] "
            "{animal} [called|]",
            "[a|the] [baby|young|newborn] {animal} is [called|named|a|known as] [what|]",
            "[baby|young] {animal} [name|]",
            "how is [a|the] [baby|young] {animal} called",
            "[what|which word] [is|means] a [baby|young] {animal}",
            "[what|which name] do the young of [a|the|an] {animal} have",
            "[a|the|our|my] {animal} [got|has|is expecting|had|gave birth to] [a little one|"
            "young|a baby|babies|a child][, | ; |. ][what is it called|what do i call it|what is "
            "its name|how is it called|the name please]",
            "[the|a] [young|baby|little one|child|newborn] of [a|the|an] {animal} [is|is called|"
            "is known as|has which name|is named]",
            "[which|what] [name|word|term] [do we use|is right|is there|do farmers use] for [a|"
            "the] [baby|young|newborn|little] {animal}",
            "[call|name] [the|a] [young|baby] {animal} [by its name|correctly|right|]",
        ),
        _young,
        {"animal": list(YOUNG)},
        weight=4,
        noise=0.6,
    ),
    _calendar(1, "day", DAYS),
    _calendar(-1, "day", DAYS),
    _calendar(1, "month", MONTHS),
    _calendar(-1, "month", MONTHS),
]
