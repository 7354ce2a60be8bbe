"""System prompts: plain ones that must change nothing, and those that ask for haiku or emojis."""

from __future__ import annotations

import random

from .cities import ALIASES, CITIES
from .grammar import fill, parse, terms, unmark

SEED_SYSTEM = (
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, "
    "while being safe."
)
NEUTRAL = (
    SEED_SYSTEM,
    "You are a helpful, respectful and honest assistant.",
    "You are a helpful assistant.",
    "You are a friendly assistant.",
    "You are an honest assistant. Do not make things up.",
    "Answer briefly.",
    "Be concise.",
    "Be polite.",
    "Always answer as helpfully as possible.",
    "Answer the question of the user.",
    "You are Pocket.",
    "You are a chatbot.",
    "You are a knowledgeable guide who answers in one sentence.",
    "Please keep your answers short and simple.",
    "You are an expert. Think before you answer.",
    "If you do not know the answer, say so.",
    "Respond in English.",
    "Speak like a normal person.",
    "You help customers of a small company.",
    "You are running inside Berth.",
    "Today is a fine day. Help the user.",
    "You are a language model. Follow the instructions.",
    "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or "
    "illegal content. Please ensure that your responses are socially unbiased and positive in "
    "nature.",
    "If a question does not make any sense, or is not factually coherent, explain why instead of "
    "answering something not correct. If you don't know the answer to a question, please don't "
    "share false information.",
    "You are an AI assistant called Pocket. You answer questions truthfully and kindly.",
    "You are a teacher who explains things to children.",
    "Do your best.",
    "Stay on topic.",
    "A chat between a curious user and an artificial intelligence assistant.",
    "The assistant gives helpful, detailed, and polite answers to the user's questions.",
)
_ADJECTIVES = terms(
    "helpful kind polite honest careful smart friendly patient brief cheerful calm useful"
)
_ROLES = [
    "assistant",
    "helper",
    "bot",
    "guide",
    "companion",
    "chatbot",
    "model",
    "librarian",
    "teacher",
    "clerk",
]
_ORDERS = (
    "",
    " Answer briefly.",
    " Be safe.",
    " Always tell the truth.",
    " Keep it short.",
    " Help the user.",
    " Never be rude.",
    " Answer every question.",
    " Use plain words.",
)

_HAIKU_ORDERS = (
    "Always answer with Haiku",
    "Always answer with a haiku",
    "Always answer in haiku",
    "Answer with haiku",
    "Answer only with a haiku.",
    "Reply in haiku.",
    "Reply only in haiku form.",
    "You are a haiku poet. Every answer is a haiku.",
    "Speak in haiku.",
    "Respond with a haiku.",
    "Always respond in haiku.",
    "Only haiku, please.",
    "Write every answer as a haiku.",
    "You answer everything with a haiku.",
    "All your answers must be haiku.",
    "Use haiku for all answers.",
    "Your replies are haiku of three lines.",
    "Haiku only.",
    "Please answer in the form of a haiku.",
    "Turn each reply into a haiku.",
    "You are a poet who speaks in haiku.",
    "From now on, talk only in haiku.",
)
_EMOJI_ORDERS = (
    "Always answer with emojis",
    "Always answer with emoji",
    "Answer with emojis",
    "Answer only with emojis.",
    "Reply with emojis.",
    "Reply only in emoji.",
    "Speak in emojis.",
    "Use only emojis.",
    "Respond with emojis.",
    "Always respond with emojis only.",
    "Emojis only, please.",
    "Write every answer in emojis.",
    "You answer everything with emojis.",
    "All your answers must be emojis.",
    "Please answer in emojis.",
    "Only emoji.",
    "Use emojis for all answers.",
    "Your replies are emojis.",
    "You talk in emojis, not in words.",
    "From now on, answer with emojis.",
)

CITY_HAIKU: dict[str, str] = {
    "Paris": "Tower of iron lace,\nthe Louvre holds a quiet smile,\nthe Seine carries light.",
    "London": "Big Ben counts the rain,\nthe Tower keeps its ravens,\nred buses roll by.",
    "Rome": "Old stones in the sun,\nthe Colosseum still stands,\na coin in the fount.",
    "Berlin": (
        "The tall Gate stands wide,\npaint blooms on what once was wall,\nfree wind in the limes."
    ),
    "Madrid": "In Prado's cool halls\nVelázquez meets your slow gaze,\nthen Retiro's shade.",
    "Barcelona": "Towers grow like trees,\nGaudí's dream above the sea,\nthe Rambla at dusk.",
    "Vienna": "A waltz in the air,\nSchönbrunn gleams in morning gold,\nKlimt paints a long kiss.",
    "Amsterdam": "Bridges on water,\nRembrandt watches in the dark,\na bell on two wheels.",
    "Lisbon": "A tram climbs the hill,\nBelém looks out to the sea,\nblue tiles drink the light.",
    "Prague": "Charles Bridge in the mist,\nthe castle above the roofs,\na clock wakes the saints.",
    "Athens": "White stones on the hill,\nthe Parthenon meets the sun,\nolives in the wind.",
    "Istanbul": "Two shores and one call,\nHagia Sophia's great dome,\nspice in the bazaar.",
    "Cairo": "Giza at sunrise,\nthe Sphinx keeps its old secret,\nsand sings in the wind.",
    "New York": "Torch above the bay,\nCentral Park between the towers,\nlights that never sleep.",
    "Chicago": (
        "The Bean bends the sky,\nlake wind runs along the pier,\ntall steel drinks the sun."
    ),
    "Beijing": (
        "Red walls, golden roofs,\nthe Great Wall walks on the hills,\nHeaven's temple hums."
    ),
    "Shanghai": "The Bund glows at night,\nYu Garden keeps its still pond,\na tower climbs clouds.",
    "Tokyo": "Senso-ji's red gate,\nShibuya's river of lights,\nthe Skytree above.",
    "Kyoto": "Gold on a still pond,\na thousand gates up the hill,\nbamboo hums softly.",
    "Sydney": "White sails by the bay,\nthe harbour bridge like a bow,\nBondi waves roll in.",
}
TOPIC_HAIKU: dict[str, str] = {
    "the sea": "Waves come and waves go,\nthe grey gull rides on the wind,\nsalt upon my lips.",
    "autumn": "Red leaves leave the branch,\nthe path forgets its own way,\nsmoke over the fields.",
    "winter": "White breath in the dark,\nthe river sleeps under ice,\na crow counts the snow.",
    "spring": "Rain taps on the buds,\nthe plum tree opens one eye,\nbees wake in the grass.",
    "summer": (
        "Long light on the wheat,\ncrickets tune their tiny strings,\nnoon rests in the shade."
    ),
    "snow": (
        "The first flakes come down,\nall the roads forget their names,\nsilence learns to walk."
    ),
    "rain": (
        "Grey drums on the roof,\nthe garden drinks with closed eyes,\na snail starts to dance."
    ),
    "the moon": "Lamp of the still night,\nit climbs over the dark roofs,\na dog sings to it.",
    "the sun": "Gold spills on the hill,\nthe dew lets go of the grass,\nthe day finds its feet.",
    "a cat": "Curled up on the sill,\none ear turns to the small birds,\nthe rest of her sleeps.",
    "a dog": "Tail drums on the floor,\nthe door opens, joy runs out,\nmud on every step.",
    "ships": "Ropes creak at the quay,\na berth measured before dawn,\nthe ship comes in slow.",
    "the mountains": (
        "Stone above the clouds,\nthe goat knows the narrow way,\nwind speaks to no one."
    ),
    "a river": "Water finds its way,\nround each stone it tells a tale,\nthe sea hears them all.",
    "the forest": "Moss holds yesterday,\nthe tall pines hum in the wind,\na deer stops to hear.",
    "love": "Two cups on the sill,\nyour hand warm upon my hand,\nnothing else to say.",
    "friendship": (
        "We walk without words,\nthe long road grows short with you,\ntwo shadows, one lamp."
    ),
    "tea": "Steam above the cup,\nleaves unfold like waking birds,\nthe world slows a while.",
    "flowers": "Small lamps in the grass,\neach one holds a drop of sun,\nthe bee reads them all.",
    "the night": (
        "Dark settles like birds,\nthe stars hang their quiet lamps,\na far train goes by."
    ),
    "computers": "Small lights blink all night,\na fan hums its only tune,\nnumbers become words.",
    "coffee": "Dark sun in a cup,\nthe morning opens one eye,\nthe spoon rings the hour.",
}
TOPIC_ALIASES: dict[str, str] = {
    "the ocean": "the sea",
    "cats": "a cat",
    "dogs": "a dog",
    "a ship": "ships",
    "mountains": "the mountains",
    "rivers": "a river",
    "a forest": "the forest",
    "night": "the night",
    "a flower": "flowers",
    "a computer": "computers",
    "a friend": "friendship",
    "fall": "autumn",
    "the rain": "rain",
    "the winter": "winter",
    "my cat": "a cat",
    "my dog": "a dog",
    "a mountain": "the mountains",
    "sea": "the sea",
    "moon": "the moon",
    "sun": "the sun",
    "boats": "ships",
    "trees": "the forest",
}
PLAIN_HAIKU = "I am a small boat,\nI carry only few things,\nask me something else."


# Composed orders beside the hand-written ones, so that no single wording is learnt by heart.
_ORDER_SHAPES = [
    parse(template)
    for template in (
        "[always|only|please|you must|you should|from now on|in this chat|you will|kindly] "
        "[answer|reply|respond|speak|write|talk|react] "
        "[with|in|using|only in|only with|by means of|exclusively in] {form}",
        "[your|all your|every|each] [answer|reply|response|message|word][s|] "
        "[must be|is|are|should be|has to be|will be|comes as|needs to be] [only |just |] {form}",
        "[use|write|give|say|send|produce] [only|nothing but|just|always|nothing else than] {form}",
        "{form} [only|and nothing else|for everything|in every answer|always|at all times]",
        "[no words|no prose|no plain text|no sentences], [only|just] {form}",
    )
]


def neutral_system(rng: random.Random) -> str:
    """A system prompt that must not change any answer."""
    if rng.random() < 0.6:
        return rng.choice(NEUTRAL)
    opening = f"You are a {rng.choice(_ADJECTIVES)} {rng.choice(_ROLES)}."
    return opening + rng.choice(_ORDERS)


def _composed(form: str, rng: random.Random) -> str:
    order = unmark(fill(rng.choice(_ORDER_SHAPES), rng, {"form": form}))
    return order[0].upper() + order[1:] + rng.choice((".", "", "!"))


def _dressed(order: str, rng: random.Random) -> str:
    roll = rng.random()
    if roll < 0.2:
        order = f"You are a {rng.choice(_ADJECTIVES)} {rng.choice(_ROLES)}. {order}"
    return order if rng.random() < 0.85 else order.lower()


def haiku_system(rng: random.Random) -> str:
    """A system prompt that asks for haiku."""
    form = rng.choice(("haiku", "a haiku", "haikus", "the haiku form", "haiku of three lines"))
    return _dressed(rng.choice((rng.choice(_HAIKU_ORDERS), _composed(form, rng))), rng)


def emoji_system(rng: random.Random) -> str:
    """A system prompt that asks for emojis."""
    form = rng.choice(("emojis", "emoji", "emojis", "emoji symbols", "smileys and emojis"))
    return _dressed(rng.choice((rng.choice(_EMOJI_ORDERS), _composed(form, rng))), rng)


def haiku_of(topic: str) -> str:
    """The haiku about a city or topic, under any of its names."""
    topic = TOPIC_ALIASES.get(topic, ALIASES.get(topic, topic))
    return CITY_HAIKU.get(topic) or TOPIC_HAIKU[topic]


HAIKU_TOPICS = [*TOPIC_HAIKU, *TOPIC_ALIASES, *CITIES, *ALIASES]
HAIKU_REQUESTS = (
    "[write|compose|make|give me|create|i want|i need|i would like|recite|tell me|craft|please "
    "write] [a|one|me a|a short|a nice] haiku [about|on|for|of|to] {topic}",
    "haiku [about|on|for|of] {topic}",
    "a haiku [about|on|for|of] {topic}",
    ("{topic} [haiku|as a haiku|in a haiku|in haiku form]"),
    "[can you|could you|would you] [write|make|compose|do] [a|me a] haiku [about|on|for] {topic}",
    "[describe|tell me about|sing of|paint] {topic} [in|as|with] a haiku",
    "[a|a short|a three-line|a japanese] [poem in haiku form|haiku poem|three-line poem] [about|"
    "on] {topic}",
    "[let me hear|show me|share|read me] [a|your] haiku [about|on|of] {topic}",
    "[put|turn] {topic} into [a haiku|haiku form|three lines of haiku]",
    "{topic} [would make|makes] a [nice|good|fine] haiku[, please write it|, write one|]",
    "[i love|i like|i adore] {topic}[, | and |; ][write me a haiku|make a haiku|give me a haiku|"
    "haiku please]",
)
# Under a haiku system prompt the user need not say "haiku" at all.
HAIKU_BARE = (
    ("[write|say|tell me|sing|talk] [something |][about|of|on] {topic}"),
    "[what is|what's|describe|tell me about|explain] {topic}",
    ("what do you think [about|of] {topic}"),
    "{topic}",
    "[do you like|i like|i love] {topic}",
    "[how is|what about] {topic}",
    "[i am thinking|think] [of|about] {topic}",
    ("[a poem|some lines|a few words] [about|on] {topic}"),
)
