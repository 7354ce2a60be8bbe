"""A small cookbook: ten recipes short enough for a small model to keep straight."""

from __future__ import annotations

from collections.abc import Mapping

from .skill import Skill

RECIPES: dict[str, tuple[str, str]] = {
    "mayonnaise": (
        "Mayonnaise: whisk one egg yolk with a teaspoon of mustard and a spoon of lemon juice. "
        "Add a cup of oil very slowly, drop by drop, whisking all the time. Season with salt.",
        "🥚 🍋 🛢️ 🥣",
    ),
    "pancakes": (
        "Pancakes: mix a cup of flour, a cup of milk, one egg and a pinch of salt. "
        "Fry thin layers in a hot buttered pan, one minute on each side.",
        "🥚 🥛 🍳 🥞",
    ),
    "an omelette": (
        "Omelette: beat three eggs with salt and pepper. "
        "Pour into a hot buttered pan, stir gently, and fold when the edges are set.",
        "🥚 🧈 🍳",
    ),
    "guacamole": (
        "Guacamole: mash two ripe avocados with lime juice and salt. "
        "Stir in chopped onion, tomato and coriander.",
        "🥑 🍋 🍅 🥣",
    ),
    "vinaigrette": (
        "Vinaigrette: mix one spoon of vinegar with mustard and salt. "
        "Whisk in three spoons of olive oil.",
        "🫒 🥣 🥗",
    ),
    "tomato soup": (
        "Tomato soup: soften an onion and garlic in oil, add chopped tomatoes and stock, "
        "simmer for twenty minutes, then blend until smooth.",
        "🧅 🍅 🍲",
    ),
    "scrambled eggs": (
        "Scrambled eggs: beat the eggs with a little milk and salt. "
        "Stir slowly in a buttered pan over low heat until just set.",
        "🥚 🥛 🍳",
    ),
    "hummus": (
        "Hummus: blend cooked chickpeas with tahini, lemon juice, garlic and salt. "
        "Add a little water until it is smooth.",
        "🫘 🍋 🧄 🥣",
    ),
    "pesto": (
        "Pesto: blend basil, pine nuts, garlic and parmesan. "
        "Add olive oil slowly until it is a thick sauce.",
        "🌿 🧀 🫒 🍝",
    ),
    "bread": (
        "Bread: mix flour, water, yeast and salt, and knead for ten minutes. "
        "Let it rise for an hour, shape it, and bake until golden.",
        "🌾 💧 🍞",
    ),
    "rice": (
        "Rice: rinse one cup of rice, add two cups of water and a pinch of salt. "
        "Cover and simmer for fifteen minutes, then let it rest.",
        "🍚 💧 🔥",
    ),
    "tea": (
        "Tea: boil fresh water, pour it over the tea leaves, wait three minutes, and strain.",
        "💧 🔥 🍵",
    ),
    "lemonade": (
        "Lemonade: stir the juice of four lemons with sugar and a litre of cold water. "
        "Serve with ice.",
        "🍋 💧 🧊 🥤",
    ),
    "french toast": (
        "French toast: dip slices of bread in beaten egg and milk, and fry in butter until "
        "golden. Serve with sugar or syrup.",
        "🍞 🥚 🥛 🍳",
    ),
}
ALIASES: dict[str, str] = {
    "mayo": "mayonnaise",
    "homemade mayonnaise": "mayonnaise",
    "an omelet": "an omelette",
    "omelette": "an omelette",
    "omelettes": "an omelette",
    "a pancake": "pancakes",
    "pancake": "pancakes",
    "a vinaigrette": "vinaigrette",
    "homemade bread": "bread",
    "a loaf of bread": "bread",
    "a tomato soup": "tomato soup",
    "plain rice": "rice",
    "boiled rice": "rice",
    "a cup of tea": "tea",
    "homemade lemonade": "lemonade",
    "basil pesto": "pesto",
    "fluffy pancakes": "pancakes",
}


def _name(values: Mapping[str, str]) -> str:
    return ALIASES.get(values["dish"], values["dish"])


SKILLS = [
    Skill(
        "recipe",
        (
            "[what is|what's|tell me|give me|show me|share|write|i need|do you have|send me|"
            "find] [the|a|your] recipe [of|for] {dish}",
            "[recipe|instructions|cooking instructions|the steps|directions] [for|of|to make] "
            "{dish}",
            "{dish} recipe",
            "how [do i|do you|to|can i|should i|does one|do we|would you|could i] [make|cook|"
            "prepare|do|fix|whip up|create] {dish}",
            "how is {dish} [made|prepared|cooked]",
            "how are {dish} [made|prepared|cooked]",
            "[teach|show|tell] me [how to|to] [make|cook|prepare] {dish}",
            "[i want|i would like|i'd like|i need|we want|i am trying|help me|i wish] to [make|"
            "cook|prepare] {dish}[, how| how|, what do i do|]",
            "what [do i need|goes in|goes into|is in|ingredients do i need|should i buy] [for|to "
            "make|] {dish}",
            "what are the [ingredients|steps] [of|for|in] {dish}",
            "[ingredients|ingredient list] [of|for] {dish}",
            "[explain|describe] how [to make|to cook|i make|you make] {dish}",
            "[what is|what's] the [best|easiest|right|simplest|proper|] way to [make|cook|"
            "prepare] {dish}",
            "[can you|could you] [cook|make|teach me] {dish}",
            "[i have guests|i am hungry|it is lunch time|for dinner|for breakfast|for lunch|"
            "tonight][, | and ][how do i|how to|i want to] [make|cook|prepare] {dish}",
            "[making|cooking|preparing] {dish}[: how| step by step|]",
            "[a|an|some] [easy|simple|quick|good|classic|basic] [recipe|way|method] [for|to make|"
            "to cook] {dish}",
            "walk me through [making |cooking |]{dish}",
            "what [must|should|do] i [do|mix] [to get|to make|for] {dish}",
            "[i feel like having|i fancy|i could eat|i would love|i would like|i must have] "
            "[some |a bit of |]{dish}[, | ; |. ][how is it made|how is that done|how do i do it|"
            "how does it go|what do i do|what is the way]",
            "[please |kindly |][write|note|type] [out |][your|the|a full] recipe [of|for] "
            "{dish}[ for me| so i can make it| so that i can try it| to keep|]",
            "[let's|let us|we will] [make|cook|prepare] {dish}",
            "[my guests|the children|we all|i|my wife|my friends|they] [want|love|wish for|crave|"
            "would like|ask for|like] {dish}[, | so |; ][how is it made|how do i make it|how do "
            "i cook it|what are the steps|how does one cook it|how is that prepared|what do i do]",
            "[i never|i have not|i have never|we never|she never] [made|cooked|prepared|tried] "
            "{dish}[, | and | so |. ][how does it work|how do i begin|what do i do|where do i "
            "start|how is it cooked|show me how]",
            "[write|put|note] [me |][down |][the|your|a|that] [recipe|instructions|steps] [for|"
            "of] {dish}[ so that i can make it| because i want to cook| for tonight| for my book|"
            "]",
            "[i am|we are|i'm] [in the mood for|craving|dreaming of|longing for|going to have|"
            "planning] {dish}[, | ; | and ][how do i make it|how is it done|what is the recipe|"
            "how|recipe please]",
            "[instructions|guide|guidance|directions|a lesson|help] [so that i can|so i can|to|"
            "on how to|for someone who wants to] [make|cook|prepare] {dish}",
            "[i would love|i am eager|i hope|it would be nice|i try] to [learn|know|be able|find "
            "out] [how to make|to make|how to cook|to cook|the way to make] {dish}",
            "[in which way|by which steps|with what steps|in what order] [is|are|do i make|does "
            "one make|do you cook|can i make] {dish}[ made| prepared|]",
        ),
        lambda values: RECIPES[_name(values)][0],
        {"dish": [*RECIPES, *ALIASES]},
        weight=5.5,
        emoji=lambda values: RECIPES[_name(values)][1] + " 😋",
    )
]
