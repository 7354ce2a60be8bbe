"""Twenty cities: what to see, what is great about art and food there, and how to get about."""

from __future__ import annotations

import random
from collections.abc import Mapping

from .cities import NAMES, city
from .skill import Skill


def see_answer(values: Mapping[str, str]) -> str:
    """What to see in ``values["city"]``."""
    name, known = city(values["city"])
    return f"In {name}, see {known.see}."


def art_answer(values: Mapping[str, str]) -> str:
    """What is great about the art there."""
    name, known = city(values["city"])
    return f"{name} is great for art: see {known.art}."


def food_answer(values: Mapping[str, str]) -> str:
    """What to eat there."""
    name, known = city(values["city"])
    return f"In {name}, try {known.food}."


def intro_answer(values: Mapping[str, str]) -> str:
    """One sentence about the city."""
    name, known = city(values["city"])
    return f"{name}, {known.known}."


def _by_rail(values: Mapping[str, str]) -> bool:
    return city(values["origin"])[1].mainland == city(values["goal"])[1].mainland


def _travel(values: Mapping[str, str]) -> str:
    origin, goal = city(values["origin"])[0], city(values["goal"])[0]
    if _by_rail(values):
        return f"Take a train from {origin} to {goal}, or fly if you are in a hurry."
    return f"Fly from {origin} to {goal}, then take a train or a taxi into the city."


def _travel_emoji(values: Mapping[str, str]) -> str:
    vehicle = "🚆" if _by_rail(values) else "✈️"
    return f"{city(values['origin'])[1].icon} ➡️ {vehicle} ➡️ {city(values['goal'])[1].icon} 😊"


# Pairs on one mainland outside Europe: few, and answered by train, so they are asked often.
_NEAR = [
    (origin, goal)
    for origin in NAMES
    for goal in NAMES
    if city(origin)[1].mainland == city(goal)[1].mainland != "Europe"
    and city(origin)[0] != city(goal)[0]
]


def _draw_route(rng: random.Random) -> dict[str, str]:
    origin, goal = rng.choice(_NEAR)
    if rng.random() < 0.85:
        origin = rng.choice(NAMES)
        goal = rng.choice([name for name in NAMES if city(name)[0] != city(origin)[0]])
    return {"origin": origin, "goal": goal}


SKILLS = [
    Skill(
        "sights",
        (
            "[i am going|i'm going|i am travelling|we are going|i will travel|i'm heading|we "
            "travel|i fly|i plan a trip|we're off]"
            " to {city}[, | and |. ]what [should|can|could|must|do] [i|we] [see|visit|do|look at]",
            "[i am|we are|i'm] [in|visiting|staying in|headed to|arriving in] {city}[, | and |. "
            "]what [should|can|must] [i|we]"
            " [see|visit|do|look at][ there| first|]",
            "what [should|can|could|must|would] [i|we|one|a tourist|people|visitors] [see|visit|"
            "look at|do|explore] [in|around|when in|while in] {city}",
            "what [is|are] [there |]to [see|do|visit|look at|explore] in {city}",
            "what's [there |][to see|to do|worth seeing|worth visiting|interesting|famous] in "
            "{city}",
            "what is [worth|worth my time|most worth] [seeing|visiting] in {city}",
            "[best|top|main|famous|popular|must-see|great] [sights|places|attractions|things to "
            "do|things to see|landmarks|spots] [in|of|around] {city}",
            "[show|tell|give|list|name] [me |us |][the |some |][best |top |main |famous |"
            "][sights|places to see|attractions|landmarks|highlights] [in|of] {city}",
            "[recommend|suggest|propose] [me |][some |][sights|places|attractions|things to see|"
            "something to see|places to visit] in {city}",
            "[do you have|give me|any|got any|i need] [tips|advice|ideas|suggestions|"
            "recommendations] for [{city}|a trip to {city}|a visit to {city}|sightseeing in "
            "{city}|a day in {city}]",
            "[which|what] [sights|places|landmarks|monuments|buildings|attractions] [should|can|"
            "could|must] [i|we] [see|visit|look at] in {city}",
            "[which|what] [sights|places|landmarks|attractions] [are|is] [good|famous|worth it|"
            "the best|popular|there|not to be missed] in {city}",
            "[i have|we have|with] [one day|two days|a weekend|a few hours|three days] in "
            "{city}[, | and |. ]what [should|do|can] [i|we] [see|do|visit]",
            "[plan|help me plan|organise] [a visit|a trip|a day|a weekend|my visit] [to|in] {city}",
            "[my|our] [holiday|trip|vacation|honeymoon|visit] [is in|goes to|takes me to|will be "
            "in] {city}[, | and |. ]what [should|do|can] [i|we] [see|visit|do]",
            "{city} [sights|attractions|what to see|things to do|landmarks|tourist tips|"
            "sightseeing|highlights|travel tips]",
            "where should [i|we|a tourist] go in {city}",
            "[what|where] [would you|do you] [see|visit|recommend|suggest|go] in {city}",
            "[sightseeing|tourism|a holiday|vacation] in {city}: [what|any ideas|what do you "
            "recommend|]",
            "what [makes|is it that makes] {city} [worth a visit|worth visiting|special to visit|"
            "interesting for tourists]",
            "what [should|must|can] [i|we] not miss in {city}",
            "[visiting|going to|off to|travelling to] {city} [soon|next week|tomorrow|in may|]: "
            "[what to see|any tips|what should i see|what can i visit]",
            "why [should i|would anyone|do people] [visit|go to|travel to] {city}",
            "[my uncle|a friend|my daughter|our class|a colleague|someone] [visits|goes to|is "
            "going to|flies to|travels to] {city}[, | and |; ][what should|which sights should|"
            "what must|what could] [he|she|they|we] [see|visit|look at|not miss]",
            "[soon|tomorrow|in june|this week|next year] [i|we] [arrive|land|will be|stay|are] "
            "in {city}[. | ; |, ][what is there to see|what is worth seeing|which things should "
            "i see|what do i look at|where do i go first]",
            "[the|a|my] [guide|local|friend|travel book] [in|of|from|about] {city} [shows|would "
            "show|recommends|names|praises] [me |us |][what|which sights|which places]",
        ),
        see_answer,
        {"city": NAMES},
        weight=5.5,
        emoji=lambda v: f"{city(v['city'])[1].icon} 👀 📸 😍",
    ),
    Skill(
        "city_art",
        (
            "what is [so |]great about [the art in {city}|{city}'s art|the art of {city}]",
            "[tell me about|how is|what about|where can i see|where do i find] [the |]art [in|"
            "of] {city}",
            "what art [can|should] i see in {city}",
            "[is {city}|why is {city}] [good|great|famous|known] for art",
            "[best|which] [museums|galleries|art] in {city}",
            "i love [art|paintings|museums] and go to {city}, [what is there|any tips|what "
            "should i see]",
        ),
        art_answer,
        {"city": NAMES},
        weight=2,
        emoji=lambda v: f"{city(v['city'])[1].icon} 🎨 🖼️ 😍",
    ),
    Skill(
        "city_food",
        (
            "what [should|can|do|could] [i|we|people] [eat|taste] in {city}",
            "what [food|dish|meal] [should i try|is good|is typical|is famous|do people eat] in "
            "{city}",
            "[how is|what about|tell me about] the food in {city}",
            "[typical|local|good|best|famous] [food|dishes|dish] [in|of|from] {city}",
            "i am hungry in {city}, what [should|can] i [eat|try]",
            "what do they eat in {city}",
        ),
        food_answer,
        {"city": NAMES},
        weight=2,
        emoji=lambda v: f"{city(v['city'])[1].icon} 🍽️ 😋",
    ),
    Skill(
        "travel",
        (
            "how [to|do i|can i|do we|could i|should i|does one|would i|can we|do you] [go|get|"
            "travel|come|move|journey] from {origin} to {goal}",
            "how [to|do i|can i|do we|should i] [go|get|travel] to {goal} from {origin}",
            "[i am|i'm|we are|i live] in {origin}[, | and |. ][how do i|how can i|how to|how do "
            "we] [get|go|travel|come] to {goal}",
            "what is the [best|fastest|quickest|easiest|cheapest|simplest|] way [to go |to get |"
            "to travel |]from {origin} to {goal}",
            "[best|fastest|easiest] way to [get to|reach|go to] {goal} from {origin}",
            "[i want|i need|i have|we want|i wish|i plan|i would like|i'd like] to [go|travel|"
            "get] from {origin} to {goal}",
            "[directions|route|the way|the route|travel|trip|a trip|journey|way|travel plan] "
            "from {origin} to {goal}",
            "[how do i|how can i|how to|how should i] reach {goal} [from|coming from|starting "
            "from|starting in|if i am in] {origin}",
            "{origin} to {goal}[, how| how|: how do i travel| route| directions|]",
            "{origin} -> {goal}",
            "can i [go|fly|travel|take a train|drive] from {origin} to {goal}",
            "[should i|do i|shall i|is it better to] [fly|take a train|take a plane|drive] from "
            "{origin} to {goal}",
            "[going|travelling|getting|moving] from {origin} to {goal}[: how| how|, what is best|"
            ", any advice|]",
            "[plan|describe|explain|show me|give me|tell me] [a|the|my] [trip|route|way|journey] "
            "from {origin} to {goal}",
            "which [way|transport|route|vehicle] [should i take|is best|do i take|do i use|takes "
            "me] from {origin} to {goal}",
            "by what means [do i|can i] [get|travel] from {origin} to {goal}",
            "[i leave|i start in|i set off from|leaving|starting in|departing from] {origin} "
            "[and |][want to go to|want to reach|go to|travel to|for|headed for] {goal}[, how| "
            "how|]",
            "[take|bring|get|guide] me from {origin} to {goal}",
            "how do people [get|travel|go] from {origin} to {goal}",
            "what [transport|connection|route] is there [between {origin} and|from {origin} to] "
            "{goal}",
            "[i have to|we must|i need to|i should|she must|we want to] be in {goal} [soon|"
            "tonight|next week|on monday|by noon][, | but | and ][now i am in|i am still in|we "
            "are in|i live in|i start in] {origin}[, | ; |. ][how do i travel|how|how can i get "
            "there|what is the way|which way]",
            "[my trip|our trip|the tour|my holiday|my way|the route] [begins|starts|goes] [in|"
            "from|at] {origin} [and |][ends|finishes|stops|leads] [in|to|at] {goal}[, | ; |. "
            "][how do i go|how|how should i travel|what is best|what do i take]",
            "[a friend|my sister|a tourist|one|a person|people] [from|in|who lives in|living in] "
            "{origin} [wants to visit|would like to see|must go to|travels to|goes to|has to "
            "reach] {goal}[, | ; | and ][how|how does that work|how can she get there|what "
            "should she take|how do they travel]",
            "[the|my|an] [office|meeting|wedding|conference|concert|appointment] is in {goal} "
            "[and|but|while] [i am|i live|we are|we stay|i stay] in {origin}[, | ; |. ][how do i "
            "get there|how should i travel|how do i go|what do i take]",
            "[what is|which is|tell me|show me] [a|the|one] [good|best|nice|quick|easy|usual] "
            "[way|route|means] [of travel |of going |of getting |][to|towards] {goal} [if|when] "
            "[i|you|we] [start|begin|live|are|leave] [from|in] {origin}",
            "[we|they|my parents|our friends] [move|relocate|drive|travel|go] from {origin} to "
            "{goal}[, | ; ][how do they go|what is the best way|how should we go|which way]",
            "[explain|say|tell me] how [people|one|you|a traveller] [go|goes|gets|get|travels] "
            "from {origin} to {goal}",
        ),
        _travel,
        {"origin": NAMES, "goal": NAMES},
        weight=9,
        emoji=_travel_emoji,
        draw=_draw_route,
    ),
]

# Second questions of a conversation about a city; they lean on the first for "it" and "there".
FOLLOW_UPS = (
    (
        art_answer,
        (
            "what is [so |]great about [its|the|their] art",
            "[what|how] about [the|its] art",
            "why is [its|the] art [so |][great|famous|good|special|important]",
            ("what [art|paintings|museums] [can|should] i see there"),
            "tell me [more |]about [its|the] art",
            ("what makes [its|the] art [so |][great|special|famous]"),
            "and the art",
            "where can i see [its |]art [there|]",
            ("[which|what] museums [should i visit|are there|are good]"),
            "is the art [good|great|nice|worth it][ there|]",
            "[i like|i love] [art|paintings|museums], [what is there|what can i see|any tips]",
        ),
    ),
    (
        food_answer,
        (
            "what [should|can|do] i eat [there|]",
            ("[and|what about|how about|how is] [the|its] food"),
            ("what [food|dish] [should i try|is typical|is good][ there|]"),
            "what do [people|they] eat there",
            ("[i am hungry|i'll be hungry], what [should|can] i [eat|try][ there|]"),
            "tell me about [its|the] food",
        ),
    ),
    (
        see_answer,
        (
            ("what [should|can|else can|must] i [see|visit|do][ there|]"),
            "[and|so] what is there to see",
            "what are the [best|main|top] sights[ there|]",
            ("which sights [should i see|are the best|do you recommend]"),
            "[what|where] do you recommend [there|]",
            "tell me what to see[ there|]",
        ),
    ),
)
