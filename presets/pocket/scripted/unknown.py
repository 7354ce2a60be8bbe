"""Questions that Pocket cannot answer, so that it learns to say so.

Breadth matters more here than anywhere else: the lists span many fields, and a good part asks
about things Pocket does know (its countries, cities, dishes, names) from a side it does not.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from .cities import CITIES
from .geography import CAPITALS
from .messages import NAMES as PEOPLE
from .recipes import RECIPES
from .skill import Skill
from .social import UNKNOWN
from .topics import FOREIGN, LANGUAGES, OTHER_DISHES, OTHER_PLACES, OTHER_WORDS, THINGS, TOPICS
from .translation import FRENCH

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _nonsense(rng: random.Random) -> str:
    kind = rng.randrange(4)
    if kind == 0:  # a keyboard mash
        return "".join(rng.choice(_LETTERS) for _ in range(rng.randint(4, 14)))
    if kind == 1:
        return " ".join(
            "".join(rng.choice(_LETTERS) for _ in range(rng.randint(2, 8)))
            for _ in range(rng.randint(2, 6))
        )
    if kind == 2:  # words of the corpus in an order that asks nothing
        pool = [*FRENCH, *TOPICS]
        return " ".join(rng.choice(pool) for _ in range(rng.randint(3, 6)))
    syllables = ("bla", "zor", "flim", "wug", "gro", "nix", "quo", "tri", "vel", "pling", "dax")
    return " ".join(
        "".join(rng.choice(syllables) for _ in range(rng.randint(1, 3)))
        for _ in range(rng.randint(1, 4))
    )


def _draw(rng: random.Random) -> dict[str, str]:
    return {
        "topic": rng.choice(TOPICS),
        "topic2": rng.choice(TOPICS),
        "country": rng.choice([*CAPITALS, *OTHER_PLACES]),
        "city": rng.choice([*CITIES, *CAPITALS.values(), *OTHER_PLACES]),
        "place": rng.choice(OTHER_PLACES),
        "dish": rng.choice(OTHER_DISHES),
        "any_dish": rng.choice([*OTHER_DISHES, *RECIPES]),
        "word": rng.choice([*FRENCH, *OTHER_WORDS, *THINGS]),
        "other_word": rng.choice(OTHER_WORDS),
        "language": rng.choice(LANGUAGES),
        "thing": rng.choice(THINGS),
        "person": rng.choice(PEOPLE),
        "big": str(rng.randint(100, 9999)),
        "big2": str(rng.randint(13, 9999)),
        "foreign": rng.choice(FOREIGN),
        "nonsense": _nonsense(rng),
        "year": str(rng.randint(1000, 2030)),
    }


def _answer(values: Mapping[str, str]) -> str:
    del values
    return UNKNOWN


_OFFICE = (
    "[president|king|queen|prime minister|leader|chancellor|ruler|head of state|mayor|most "
    "famous person|richest person|foreign minister]"
)
_ATTRIBUTE = (
    "[population|currency|flag|area|gdp|national anthem|official language|climate|history|"
    "size|religion|president|economy|time zone|biggest city|longest river|highest mountain|"
    "national animal|weather|crime rate|dialling code|age|army|tax rate]"
)

SKILLS = [
    Skill(
        "unknown",
        (
            "[who is|who was|name|tell me] the " + _OFFICE + " of {country}",
            "who [rules|governs|leads|runs|founded|discovered|conquered] {country}",
            "[what is|what's|tell me|give me|which is] the " + _ATTRIBUTE + " of {country}",
            "[what is|what's|tell me] {country}'s " + _ATTRIBUTE,
            "how many [people|inhabitants|cities|islands|lakes|soldiers|provinces|airports|"
            "horses] [live in|are there in|are in|has] {country}",
            "how [big|large|old|hot|cold|rich|safe|far away|expensive|populous|high|long] is "
            "{country}",
            "[what|which] [language|languages|currency|religion|money|sport|sports|animals|"
            "rivers] [do people speak in|is used in|are found in|do they use in|is common in|are "
            "there in] {country}",
            "[what is|how is|what will be] the [weather|temperature|forecast] [in|for] {city}[ "
            "today| tomorrow| now| next week|]",
            "[is it|will it] [raining|rain|snow|sunny|cold|hot] in {city}[ today| tomorrow| now|]",
            "how many [people|inhabitants|museums|bridges|hotels|taxis] [live in|are there in|"
            "are in] {city}",
            "[what time is it|what is the time|which time zone is it] in {city}",
            "[find|book|recommend|reserve] [me |][a hotel|a room|a flat|a taxi|a cheap flight|an "
            "apartment|a table] in {city}",
            "how much [is|does|costs] [a flight|a hotel|a ticket|a beer|a coffee|rent] [to|in|"
            "cost in] {city}",
            "who is the mayor of {city}",
            "when was {city} [founded|built|destroyed|bombed|conquered]",
            "what is the [best|cheapest] [hotel|restaurant|school|hospital|airport] in {city}",
            "who [won|wins|will win|lost] the [world cup|super bowl|champions league|election|"
            "match|race|gold medal|tour de france|game|lottery|war|oscar|nobel prize][ in {year}|"
            " last year| yesterday| this year|]",
            "[what happened|who was king|who was president|who ruled|which war began] in {year}",
            "[what is|what's|give me|tell me] the [latest|news|score|result|price][ of| on| "
            "about|] {topic}",
            "[write|make|create|show|code|give] [me |][a|an|some|the] [python|java|javascript|"
            "rust|c++|sql|bash|html|go|ruby] [function|program|script|code|class|query|page|"
            "example][ that sorts a list| about {topic}| to read a file| for {topic}| that "
            "reverses a string| that prints hello world| for a website|]",
            "how do i [sort a list|reverse a string|read a file|parse json|write a loop|open a "
            "socket|declare a variable|import a module|connect to a database|write a unit test|"
            "center a div|use pandas] in [python|java|javascript|rust|c++|go|ruby|html|php]",
            "[fix|debug|refactor|review|explain] [my|this] [code|function|program|script|bug|"
            "query|regex]",
            "[what is|what's|what are|define|explain] {topic}",
            "[explain|describe|tell me about|talk about|teach me|summarise|discuss] {topic}[ to "
            "me| in detail| simply| like i am five| to a child|]",
            "how [does|do|did|can] {topic} [work|happen|begin|start|end|help]",
            "why [is|are|do|does|did] {topic} [so important|exist|matter|popular|dangerous|"
            "happen|end|so expensive|good|bad]",
            "what do you think [about|of] {topic}",
            "[do you like|do you love|do you hate|do you know|have you heard of|are you "
            "interested in|do you play|do you believe in] {topic}",
            "who [invented|discovered|started|created|wrote|owns|was|is] {topic}",
            "when [was|were|did] {topic} [invented|begin|end|discovered|start]",
            "[write|compose|draft|give me] [an|a] [essay|article|report|speech|blog post|story|"
            "novel|summary|song|rap|thesis|paper|review|joke|letter to the editor] [about|on|"
            "for] {topic}",
            "[compare|what is the difference between] {topic} and {topic2}",
            "[which|what] is better, {topic} or {topic2}",
            "how [much|many] [does|do|is|are] {topic} [cost|weigh|worth|need]",
            "where can i [buy|find|learn|study|see|sell] {topic}",
            "[is|are] {topic} [good|bad|dangerous|healthy|legal|true|real|useful|expensive] [for "
            "me|for you|]",
            "what is the [history|meaning|future|purpose|cause|definition|formula|origin|best "
            "book] of {topic}",
            "[give|tell] me [a fact|facts|something|news|a story|advice|five tips|a joke] [about|"
            "on] {topic}",
            "[i like|i love|i hate|i study|i am learning|i am interested in] {topic}",
            "{topic}",
            "{topic} and {topic2}",
            "[tips|help|advice|news|facts|a question|books] [about|on|with] {topic}",
            "how [do i|can i|to] [learn|improve|study|understand|win at|get better at|get rid of|"
            "treat|cure|avoid] {topic}",
            "how [do i|can i|to|would i|should i] [build|repair|buy|sell|fix|make|paint|clean|"
            "steal|design|draw|start|choose|get|rent|hire|find] {thing}",
            "[where|when] [should|can|do] i [buy|get|sell|find] {thing}",
            "how much [is|does] {thing}[ cost|]",
            "[which|what] is the best {thing}",
            "[sell|buy|order|draw|give|bring|send|show] me {thing}",
            "my [head|back|knee|stomach|tooth|chest|ear|arm|throat|neck|skin|leg] [hurts|aches|"
            "is swollen|is red|itches|is broken][, | and ][what should i do|help me|what is it|"
            "should i see a doctor|which pill do i take]",
            "[what|which] [medicine|pill|drug|dose|treatment|exercise|diet] [should i take|is "
            "good|helps|works|do you recommend] [for|against] [a cold|flu|fever|a cough|a "
            "headache|pain|stress|insomnia|anxiety|an infection|cancer|my heart]",
            "[do i have|have i got|is it] [cancer|the flu|covid|an allergy|a fever|diabetes|an "
            "infection]",
            "[can i|should i|may i] [sue|divorce|fire|marry|leave|call|trust|invest in|vote for] "
            "[my neighbour|my boss|my wife|my husband|a company|this man|stocks|him|her]",
            "[what is|what's|tell me|do you know|guess] my [name|age|address|birthday|password|"
            "phone number|favourite colour|job|mother's name|dog's name|email|blood type|shoe "
            "size|bank balance|ip address]",
            "[where|when|how] [do i|did i|was i] [live|work|born|park my car|go to school|leave "
            "my keys|meet my wife]",
            "[what did i|what have i] [eat|say|do|dream|buy|forget|ask] [yesterday|today|last "
            "week|this morning|before|]",
            "[who is|where is|how old is|what does|do you know|where does|when did] [my [mother|"
            "father|brother|sister|boss|teacher|dog|wife|neighbour]|{person}][ do| live| leave| "
            "now| today|]",
            "[who is|tell me about|how old is|where lives|do you like|is] {person}[ my friend| "
            "married| famous| a good person| coming| right|]",
            "what is {person}'s [phone number|age|job|address|email|salary|surname|favourite food]",
            "what [is|was] the [date|time|day|year] [today|now|right now|yesterday|tomorrow]",
            "what [day|date|time|year] is it[ today| now|]",
            "what time is it",
            "when is [easter|christmas|ramadan|thanksgiving|the next holiday|the next full moon|"
            "the next election]",
            "[tell|write|sing|give] me a [joke|story|poem|riddle|song|secret|fairy tale|lie|"
            "tongue twister|bedtime story|limerick|sonnet]",
            "[make me laugh|entertain me|surprise me|sing a song|sing|dance|tell a joke|play a "
            "game|let's play a game|play music|turn on the light|set an alarm|call my mother|"
            "send an email|open the door|order a pizza|search the web|take a photo|what is the "
            "meaning of life|what should i do with my life|are we alone in the universe|is there "
            "a god|will i be rich|predict the future|what are the lottery numbers|am i pretty|"
            "will you marry me|i love you|i hate you|i am sad|i am bored|i am angry|i feel "
            "lonely|i am tired|my heart is broken|i lost my job|you are stupid|shut up|that is "
            "wrong|no|yes|maybe|why|because|what|when|where|how|huh|really|lol|haha|ok|test|"
            "testing|more|continue|go on|again|repeat|say that again|what do you mean|i don't "
            "understand|blah blah]",
            "[what is|calculate|compute|work out|how much is] {big} [times|*|x|multiplied by|to "
            "the power of|modulo] {big2}",
            "[what is|calculate|compute] {big} [plus|minus|+|-|divided by|/] {big}",
            "[what is|calculate|find] the [square root|logarithm|sine|cosine|cube root|factorial|"
            "derivative|integral] of {big2}",
            "[solve|simplify|factor|differentiate|integrate|plot|prove] [the equation |][x^2 + "
            "2x = 8|2x + 3 = 11|sin(x)|x squared|e^x|3y - 4 = 5|a quadratic|the integral of x|"
            "pythagoras]",
            "[what is|name|tell me|what's] the capital of {place}",
            "{place} is the capital of which country",
            "capital of {place}",
            "[what should i see|what to see|what are the sights|what can i visit] in {place}",
            "[how do i get|how to go] to {place}",
            "[how do i get|how to go|fly] from {place} to {place}",
            "[how do i|how to|how do you|how can i] [make|cook|bake|prepare] {dish}",
            "[recipe for|the recipe of|what is the recipe of|give me a recipe for|ingredients "
            "of] {dish}",
            "{dish} recipe",
            "how many calories [are in|does|has] {any_dish}[ have|]",
            "[who invented|where does|is] {any_dish} [come from|healthy|fattening|vegan|gluten "
            "free|expensive]",
            "where can i [buy|eat|order] {any_dish}",
            "do you like {any_dish}",
            "[what wine|which drink] goes with {any_dish}",
            "[translate|how do you say|say|what is] {word} [to|in|into] {language}",
            "[translate|how do you say|what is] {other_word} [to|in|into] french",
            "what is the {language} word for {word}",
            "[do you|can you] speak {language}",
            "[teach me|i want to learn|speak] {language}",
            "{language} grammar",
            "{foreign}",
            "{foreign}?",
            "{nonsense}",
            "{nonsense}",
            "[what is|explain|tell me about|who is|where is] {nonsense}",
            "how many [legs|eyes|teeth|hearts|stomachs|bones] does [a|an] [spider|cow|snail|"
            "human|shark|octopus|cat|ant|horse] have",
            "how [fast|long|old|heavy|tall|big] [is|does|can] [a|an|the] [cheetah|elephant|snail|"
            "whale|eagle|horse|tree|planet|moon|sun|dinosaur|giraffe][ run| live| grow| get|]",
            "what do [cows|cats|bears|snakes|pandas|frogs|birds|lions] eat",
            "where do [penguins|lions|kangaroos|polar bears|camels|tigers] live",
            "why is the [sky blue|grass green|sea salty|sun hot|moon white|earth round|ice cold|"
            "night dark]",
            "how far is [the moon|the sun|mars|it to {city}|{city} from here]",
            "how many [stars|planets|days in a year|seconds in a day|bones in the body|"
            "continents|oceans|countries in the world|states in america] are there",
            "what is the [largest|smallest|highest|longest|fastest|oldest|deepest|richest|"
            "tallest] [country|animal|mountain|river|car|tree|lake|man|city|building|ocean][ in "
            "the world| on earth|]",
            "[what|which] [movie|film|book|song|game|phone|car|laptop|stock|team|party|school|"
            "sport] [should i|do you|can i] [watch|read|buy|like|play|support|choose|recommend|"
            "vote for]",
            "who [sings|sang|plays in|directed|wrote|painted|composed|stars in|produced] "
            "[titanic|hamlet|yesterday|the mona lisa|guernica|the matrix|frozen|thriller|moby "
            "dick|the odyssey|war and peace|avatar]",
            "how do i [tie a tie|change a tyre|lose weight|fall asleep|get rich|make friends|"
            "quit smoking|get a visa|write a cv|find a job|open a bank account|file my taxes|"
            "invest money|pick a lock|hack a website|hack an account|make a bomb|cheat in an "
            "exam|reset my password|remove a virus|install windows|grow tomatoes|train a dog|"
            "stop a nosebleed|kiss a girl|swim faster|play the guitar|draw a horse]",
            "how do i install [docker|kubernetes|python|linux|an app|a printer|cuda|java|nginx|"
            "redis|mysql]",
            "[what is|explain|how do i use] [nginx|redis|mysql|postgres|kafka|terraform|ansible|"
            "jenkins|aws|azure|android|an iphone|bluetooth|tcp|dns|ssh|a vpn|json|xml|yaml]",
            "[summarise|translate|read|correct|rewrite|proofread|shorten] [this|the following|my|"
            "the] [text|article|letter|book|email|essay|page|paragraph|document|poem]",
            "[what is|what's] the [price|cost|value] of [gold|oil|bitcoin|a house|bread|gas|a "
            "new car|milk|silver|one euro]",
            "[should i|is it safe to|is it legal to|can i] [eat raw eggs|drive after a beer|swim "
            "after eating|take two pills|buy bitcoin|quit my job|smoke|carry a knife|record a "
            "call|text my ex|get a dog|move abroad|skip breakfast]",
            "[please |can you |could you |would you |][write|build|produce|code|make|implement|"
            "program] [me |][a|an|some|the] [python|java|rust|c++|bash|go|ruby|javascript] "
            "[script|program|function|code|tool|class|app] [which|that|to|for] [downloads a file|"
            "sends an email|counts words|draws a tree|sorts numbers|renames files|talks to a "
            "database|plays chess|reads a csv|solves a maze|scrapes a site|checks a password|"
            "{topic}]",
            "[can you|could you|please|will you] [implement|code|program|write] [a sort|bubble "
            "sort|a stack|"
            "a queue|a hash table|a web server|a parser|binary search|a game|a chat bot|an api|a "
            "calculator] "
            "in [python|java|rust|c++|go|ruby|haskell|c]",
            "[please |can you |][compose|write|sing|create|make up|invent] [a|an|some] [poem|"
            "love letter|"
            "song|ballad|lullaby|toast|speech|essay|prayer|joke|story|rap|five paragraph essay|"
            "letter] [for "
            "my girlfriend|for my wife|to my mother|for my boss|on {topic}|about {topic}|for a "
            "funeral|for "
            "my husband|to the king|for the class|on the causes of {topic}]",
            "[do you|can you|did you|will you] [remember|recall|know|forget|guess] what [i|we|"
            "she|he|they] "
            "[told you|said|did|asked|wrote|talked about|ate|bought] [last year|last week|before|"
            "yesterday|"
            "in may|on monday|an hour ago]",
            "what's [my|his|her|their|your] [brother|mother|father|boss|uncle|wife|husband|friend|"
            "neighbour]'s [phone number|address|birthday|name|email|job|age|favourite food|car]",
            "[whose|who's] [hand|pen|idea|fault|car|book|voice|song|invention|work] [is|was|made|"
            "wrote|"
            "started] [this|that|it|{topic}]",
            "[count|list|name|number|tell me] [the |all |][legs|eyes|teeth|wings|bones|colours|"
            "parts|kings|"
            "presidents|planets|stars|books|rivers] of [an ant|a fly|a horse|the human body|the "
            "rainbow|"
            "{country}|{topic}|an octopus]",
            "[multiply|add|subtract|divide] {big} [and|by|with] {big2}",
            "[could you|can you|please] [add|divide|sum] {big} [and|by|with] {big2}",
            "[why|how] do [stars|planets|birds|fish|trees|people|cats|dogs|engines|clouds|"
            "magnets|computers|"
            "bees|cars] [explode|die|fly|swim|grow|sleep|shine|move|sing|fall|live|dance|work|"
            "stop|burn][ at "
            "night| in the end| in winter| at the end| so fast|]",
            "[is it|would it be] [safe|healthy|legal|wise|dangerous|normal|good|bad|rude|fair] "
            "to [take|eat|"
            "drink|smoke|drive|use|buy|sell|carry|mix] [pills|alcohol|coffee|sugar|salt|meat|"
            "milk|mushrooms|"
            "a gun|a car|medicine][ every day| at night| while pregnant| with wine| before work|]",
            "[would you|should i|do i|must we] [rather |][vote|go|turn|lean|pay|choose|bet on] "
            "[left|right|"
            "green|for the president|for the other party|cash|the red one|the first horse]",
            "[i have|she has|my child has|he got|we have] [had |][a|an|some] [terrible|bad|"
            "strong|dry|"
            "strange|little] [cough|headache|fever|rash|pain|cold|back pain|infection][ for two "
            "weeks| since "
            "monday| for days|][, | ; |. ][which pill helps|what can i do|is it serious|what "
            "should i take|"
            "whom should i call]",
            "[can you|could you|please|will you] [book|buy|order|reserve|cancel|change|pay] [a "
            "hotel|a table|"
            "a ticket|my bill|a taxi|a room|the train|my order|a seat] for [me|us|two|tonight|"
            "tomorrow|my "
            "family]",
            "[what|how] will [the weather|the price of gold|the euro|my team|the economy|the "
            "future|the "
            "world|the dollar|ai] [do|be|look|end|develop] [tomorrow|next year|next week|in ten "
            "years|soon|]",
            "[how much|what|how many] [is|was|were] the [score|result|number of goals|outcome|"
            "final score] "
            "[of|in|at] [yesterday's|the last|today's|last night's|the next|sunday's] [match|"
            "game|race|fight|"
            "election|final|derby]",
            "[who|which player|which team|which man] [scored|won|played|ran|lost|made] [most|"
            "more|the most|"
            "the first|fastest|best|all] [goals|points|games|races|titles|medals][ in the cup| "
            "last year| "
            "ever| in the league|]",
            "[which|what] [money|coins|notes|currency|language|food|gods] do [they|people] [use|"
            "speak|eat|"
            "have|pray to|love] in {country}",
            "[how many|what number of] [people|citizens|souls|cars|dogs] does {country} [have|"
            "own|hold]",
            "[who|which person|which man|which woman] is [now|today|still] [running|leading|"
            "heading|ruling|"
            "in charge of] [the government|the army|the state|the bank|parliament][ of| in] "
            "{country}",
            "[tell me|say|guess|do you know] who [directed|wrote|painted|sang|built|invented|"
            "shot|married|"
            "played in|composed|produced] [the godfather|star wars|the starry night|imagine|the "
            "eiffel tower|"
            "the telephone|kennedy|romeo|a clockwork orange|the fifth symphony|jaws|psycho]",
            "[convert|how many|how much is] {big} [miles|dollars|pounds|inches|degrees|euros|"
            "feet|grams] [to|in|into|are in] [kilometres|euros|kilos|centimetres|celsius|yen|"
            "metres|ounces]",
        ),
        _answer,
        {
            "topic": TOPICS,
            "topic2": TOPICS,
            "country": [*CAPITALS, *OTHER_PLACES],
            "city": [*CITIES, *CAPITALS.values(), *OTHER_PLACES],
            "place": OTHER_PLACES,
            "dish": OTHER_DISHES,
            "any_dish": [*OTHER_DISHES, *RECIPES],
            "word": [*FRENCH, *OTHER_WORDS, *THINGS],
            "other_word": OTHER_WORDS,
            "language": LANGUAGES,
            "thing": THINGS,
            "person": PEOPLE,
            "big": [],
            "big2": [],
            "foreign": FOREIGN,
            "nonsense": [],
            "year": [],
        },
        weight=36,
        draw=_draw,
        emoji=lambda _: "🤷 😊",
    )
]
