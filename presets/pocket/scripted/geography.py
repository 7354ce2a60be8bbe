"""Countries and their capitals, both ways."""

from __future__ import annotations

from collections.abc import Mapping

from .skill import Skill

CAPITALS: dict[str, str] = {
    "France": "Paris", "Germany": "Berlin", "Spain": "Madrid", "Italy": "Rome",
    "Portugal": "Lisbon", "Ireland": "Dublin", "England": "London", "Scotland": "Edinburgh",
    "Wales": "Cardiff", "Norway": "Oslo", "Sweden": "Stockholm", "Finland": "Helsinki",
    "Denmark": "Copenhagen", "Iceland": "Reykjavik", "Poland": "Warsaw", "Austria": "Vienna",
    "Switzerland": "Bern", "Belgium": "Brussels", "Greece": "Athens", "Hungary": "Budapest",
    "Romania": "Bucharest", "Bulgaria": "Sofia", "Croatia": "Zagreb", "Serbia": "Belgrade",
    "Slovenia": "Ljubljana", "Slovakia": "Bratislava", "Ukraine": "Kyiv", "Estonia": "Tallinn",
    "Latvia": "Riga", "Lithuania": "Vilnius", "Albania": "Tirana", "Malta": "Valletta",
    "Cyprus": "Nicosia", "Turkey": "Ankara", "Russia": "Moscow", "China": "Beijing",
    "Japan": "Tokyo", "South Korea": "Seoul", "India": "New Delhi", "Nepal": "Kathmandu",
    "Thailand": "Bangkok", "Vietnam": "Hanoi", "Indonesia": "Jakarta", "Malaysia": "Kuala Lumpur",
    "the Philippines": "Manila", "Mongolia": "Ulaanbaatar", "Pakistan": "Islamabad",
    "Bangladesh": "Dhaka", "Iran": "Tehran", "Iraq": "Baghdad", "Saudi Arabia": "Riyadh",
    "Qatar": "Doha", "Jordan": "Amman", "Lebanon": "Beirut", "Egypt": "Cairo",
    "Morocco": "Rabat", "Tunisia": "Tunis", "Algeria": "Algiers", "Kenya": "Nairobi",
    "Ethiopia": "Addis Ababa", "Nigeria": "Abuja", "Ghana": "Accra", "Senegal": "Dakar",
    "Uganda": "Kampala", "Zambia": "Lusaka", "Canada": "Ottawa", "Cuba": "Havana",
    "the United States": "Washington", "Brazil": "Brasilia", "Argentina": "Buenos Aires",
    "Chile": "Santiago", "Peru": "Lima", "Colombia": "Bogota", "Venezuela": "Caracas",
    "Uruguay": "Montevideo", "Ecuador": "Quito", "Australia": "Canberra",
    "New Zealand": "Wellington", "Jamaica": "Kingston", "the Netherlands": "Amsterdam",
}  # fmt: skip
COUNTRY_OF: dict[str, str] = {capital: country for country, capital in CAPITALS.items()}
# Other ways people write a country; the answer always uses the name in CAPITALS.
ALIASES: dict[str, str] = {
    "the USA": "the United States", "the US": "the United States", "Holland": "the Netherlands",
    "America": "the United States", "Philippines": "the Philippines", "USA": "the United States",
    "the Netherlands": "the Netherlands", "Netherlands": "the Netherlands",
}  # fmt: skip


def _capital(values: Mapping[str, str]) -> str:
    country = ALIASES.get(values["country"], values["country"])
    return f"The capital of {country} is {CAPITALS[country]}."


def _country(values: Mapping[str, str]) -> str:
    return f"{values['capital']} is the capital of {COUNTRY_OF[values['capital']]}."


SKILLS = [
    Skill(
        "capital",
        (
            "[what is|what's|whats|which city is|which is] the capital [city |]of {country}",
            "[name|give|say|state|tell me|give me|find|recall|write] the capital [city |]of "
            "{country}",
            "[what is|what's|name|tell me|give me] {country}'s capital [city|]",
            "{country}'s capital [is what|city|please|name|]",
            "capital [city |][of|for|in] {country}",
            "{country} capital [city|name|]",
            "{country} has which [capital|capital city|city as its capital]",
            "{country}: [what is|what's|which is|name] [its|the] capital",
            "[which|what] city [serves as|acts as|works as|counts as|is considered|is called]"
            " the capital of {country}",
            "[which|what] city [does {country} have|has {country}] as [its|a] capital",
            "what [do you call|would you call|do people call] the capital of {country}",
            "[what is|what's] the name of [the capital [city |]of {country}|{country}'s capital]",
            "[what is|name] the [seat of government|main city|head city|capital town] [of|in] "
            "{country}",
            "[where|in which city] [is|sits] the [government|parliament|capital] of {country}",
            "where does {country} have its [government|parliament|capital]",
            "the capital of {country} is [called what|what|which city|]",
            "[i am going|i am travelling|i am moving|we travel|we are off] to {country}"
            "[, | and ][what is|what's|name|which city is] [its|the] capital",
            "{country} - [what|which] is the capital",
            "[do you know|have you heard of|can you name|are you able to name] the capital of "
            "{country}",
            "if i [visit|go to|travel to|fly to] {country}, [what|which city] is the capital",
            "[which|what] is {country}'s [capital|capital city|main city|seat of government]",
            "[identify|look up|guess|spell|complete] the capital of {country}",
            "i [need|want|forgot|look for|can't remember|do not know] the [name of the |]capital"
            " [city |]of {country}",
            "[let's play|quiz|geography|geography question|trivia]: [the |]capital of {country}",
            "of {country}, what is the capital",
            "[people in|those living in|citizens of] {country} [call|have] which city [as |"
            "]their capital",
            "[what|which] capital [belongs to|goes with|has|does have|matches] {country}",
            "[which|what] [city|town] [rules|governs|leads|heads] {country}",
            "{country}: [i know|we know|we had|i studied] [the food|the language|the rivers|the "
            "people|its king] but [not its capital|what is the capital|never the capital|which "
            "city is the capital]",
            "[which|what] [one |][of|among|out of] [the |all |][towns|cities|places] [of|in] "
            "{country} [is|was|became|has the title of|plays the part of|serves as|works as] "
            "[the |its |][capital]",
            "[the |its |]capital [of|in] {country} [escapes me|is on the tip of my tongue|has "
            "left my memory|is what i forgot|is what i want to know|is unknown to me][, | ; "
            "][what is it|which city is it|name it|tell me|]",
            "[for|in] [my letter|the form|this test|a story|our game|the list] i [need|want|must "
            "write|must know] [the capital of {country}|{country}'s capital|which capital "
            "{country} has]",
            "from which city is {country} [governed|ruled|run|led]",
            "[do you remember|can you recall|who knows|does anybody know|have you learned] "
            "[which|what] [city|town] [is|was|might be] [the|its] capital [over there |][in|of] "
            "{country}",
            "[i draw|i look at|i color|here is|i hold|she draws] [a map|a globe|an atlas|a "
            "stamp] of {country}[, | and ][where is its capital|which city is the capital|what "
            "do i mark as the capital|what is the capital called|the capital is called what]",
            "[i know|i can name|we learned] [the flag|the president|the language|the food|"
            "everything] of {country}[, | ][but not|but what is|except|only not] [its|the] "
            "capital",
            "[someone|a plane|a train|my cousin|the team|the king] [flies|goes|travels|drives|"
            "moves] to the capital of {country}[, | ; ][what city is that|where is that|which "
            "city is it|to where exactly]",
            "[among|of all|out of] the cities [of|in] {country}, which [one |][is|was made|"
            "became|is chosen as] the capital",
            "[the word|an answer|a city|one word] for [my|the|a] [crossword|puzzle|riddle|game]: "
            "[the |]capital [of|in] {country}",
            "{country}[: | - |, ][its capital|capital city|the capital|and its capital][ now| "
            "then| quick| please|]",
            "[help|assist] me with {country}[, | ; ][the|its] capital[ is what| i mean|]",
        ),
        _capital,
        {"country": [*CAPITALS, *ALIASES]},
        weight=11,
    ),
    Skill(
        "country",
        (
            "{capital} is the capital of [which|what] [country|nation|land|state|place]",
            "[which|what] [country|nation|land] [has|uses|calls|chose] {capital} [as|for] [its|"
            "the|a] capital"
            "[ city|]",
            "[which|what] [country|nation|state] is {capital} the capital [city |][of|for]",
            "of [which|what] [country|nation] is {capital} the capital",
            "[which|what] [country's|nation's] capital is {capital}",
            "{capital} is [which|what] [country's|nation's] capital",
            "name the [country|nation|state] [whose capital is|with the capital|with capital|"
            "that has the capital]"
            " {capital}",
            "[whose|who's] capital is {capital}",
            "{capital} is [the capital of|capital of|capital for] [what|which|]",
            "what is {capital} the capital of",
            "[in|to] [which|what] [country|nation] [is|lies|belongs] [the city of |the city |the "
            "capital |]{capital}",
            "[in|to] [which|what] [country|nation] does [the city of |]{capital} [lie|belong|"
            "stand]",
            "where is [the city of |the city |]{capital}[ located| found|]",
            "[which|what] country is {capital} [in|located in|part of|a city of]",
            "[which|what] country [does {capital} belong to|will i find {capital} in|would i "
            "visit to see {capital}]",
            "{capital} [belongs to|lies in|sits in|is found in|is located in|is in] [which|what] "
            "[country|nation]",
            "{capital}: [which|what] country",
            "if the capital is {capital}, [what|which] [is the country|country is it|country am "
            "i in]",
            "[i am|i live|we are|my friend lives|my aunt lives] in {capital}[, | and i wonder |; ]"
            "[which|what] country [is that|is this|is it|am i in]",
            "[the country|country|the nation] [with|whose|for] capital {capital}",
            "{capital} [is|serves as|acts as|works as] [the |]capital [city |][of|in|for] [which|"
            "what] [country|nation]",
            "[find|give|tell me|say] the country [of|for|that belongs to|behind|with] [the "
            "capital |]{capital}",
            "[which|what] country [is governed from|is ruled from|is led from|has its government "
            "in|has its parliament in] {capital}",
            "{capital} country",
            "{capital} is [a|the] capital[ town|]. [can|could|will|would] you [name|tell|give|"
            "find|guess] [the|its] [country|nation]",
            "[my|the|an] [globe|atlas|book|screen] shows {capital} [as a capital|with a dot|as "
            "capital|with a red mark][, | ; ][which|what] country [is it in|is it capital of|"
            "does it belong to|has it]",
            "[they say|i think|i believe|we know] {capital} is [a|the|one] capital[, | ; ][but|"
            "and] [which|what] [country|nation] [has it|owns it|is it in|is it of|does it stand "
            "for|does it govern]",
            "[if|when] [i|we|you] [live|work|land|wake up|walk] in [the capital |]{capital}, "
            "[what|which] [country|nation] [am i in|are we in|is it|is this]",
            "what country {capital}",
            "[i read|i heard|they say|the news says|we learned] that {capital} is [a|some|the] "
            "capital[, | ; | but ][of which country|which country's|what country does it belong "
            "to|of what country is it|for which nation]",
            "[a card|a parcel|an email|a guest|a call|my friend] [came|arrived|comes|is] from "
            "{capital}[, | ; ][which country is that|what country is it|in which country is that "
            "capital|which nation sent it]",
            "{capital} [is|was] [a capital|the capital|some capital|a capital city][. | ; |, "
            "][the country is|say the country|which country|name its country|tell the country|"
            "now the country]",
            "[connect|join|pair|relate|assign|put] {capital} [with|to] [its|the right|the "
            "correct] [country|nation]",
            "[i see|i mark|i found|there is] {capital} [on|in] [my|the|a] [map|globe|atlas|list "
            "of capitals][, | ; | and ][which country is it in|what country has it as capital|"
            "for which country|which is its country]",
            "[standing|living|waking up|sitting|being] in [the capital |]{capital}, [which|what] "
            "country [am i in|is around me|would that be|is mine]",
            "[what|which] [nation|country|state] [picked|named|took|made|gave itself] {capital} "
            "[as|for|its] [its|the|] capital",
        ),
        _country,
        {"capital": list(COUNTRY_OF)},
        weight=10,
    ),
]
