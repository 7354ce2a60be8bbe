"""English words and their French translations."""

from __future__ import annotations

from collections.abc import Mapping

from .grammar import terms
from .skill import Skill

FRENCH: dict[str, str] = dict(
    pair.split("=")
    for pair in terms(
        "cheese=fromage;sea otter=loutre de mer;peppermint=menthe poivrée;plush girafe=girafe "
        "peluche;bread=pain;water=eau;milk=lait;wine=vin;butter=beurre;egg=œuf;apple=pomme;"
        "pear=poire;cherry=cerise;strawberry=fraise;lemon=citron;grape=raisin;potato=pomme de "
        "terre;onion=oignon;carrot=carotte;garlic=ail;salt=sel;pepper=poivre;sugar=sucre;"
        "honey=miel;coffee=café;tea=thé;meat=viande;chicken=poulet;fish=poisson;soup=soupe;"
        "cake=gâteau;cat=chat;dog=chien;horse=cheval;cow=vache;pig=cochon;sheep=mouton;"
        "bird=oiseau;duck=canard;rabbit=lapin;mouse=souris;bear=ours;wolf=loup;fox=renard;"
        "lion=lion;bee=abeille;butterfly=papillon;frog=grenouille;giraffe=girafe;house=maison;"
        "door=porte;window=fenêtre;table=table;chair=chaise;bed=lit;kitchen=cuisine;"
        "room=chambre;garden=jardin;key=clé;book=livre;pen=stylo;paper=papier;letter=lettre;"
        "school=école;teacher=professeur;student=étudiant;friend=ami;man=homme;woman=femme;"
        "child=enfant;boy=garçon;girl=fille;mother=mère;father=père;brother=frère;"
        "sister=sœur;hand=main;head=tête;foot=pied;eye=œil;nose=nez;mouth=bouche;heart=cœur;"
        "sun=soleil;moon=lune;star=étoile;sky=ciel;sea=mer;river=rivière;mountain=montagne;"
        "forest=forêt;tree=arbre;flower=fleur;snow=neige;rain=pluie;wind=vent;fire=feu;"
        "day=jour;night=nuit;morning=matin;evening=soir;week=semaine;month=mois;year=an;"
        "red=rouge;blue=bleu;green=vert;white=blanc;black=noir;yellow=jaune;car=voiture;"
        "train=train;plane=avion;ship=navire;boat=bateau;bicycle=vélo;street=rue;city=ville;"
        "bridge=pont;church=église;money=argent;shirt=chemise;shoe=chaussure;hat=chapeau;"
        "dress=robe;hello=bonjour;goodbye=au revoir;thank you=merci;yes=oui;no=non;"
        "please=s'il vous plaît;love=amour;peace=paix;work=travail;music=musique;world=monde;"
        "country=pays;war=guerre;time=temps;ice=glace"
    )
)


def _translate(values: Mapping[str, str]) -> str:
    return f"In French, {values['word']} is {FRENCH[values['word']]}."


SKILLS = [
    Skill(
        "translate",
        (
            "[translate|please translate|can you translate|convert|turn|put|render] [the word |"
            "]{word} [to|into|in] [french|the french language]",
            "translate [english to french|from english to french|to french|into french]: {word}",
            "translate {word} [from english |][to|into] french",
            "[how do you say|how do i say|how to say|how would you say|how does one say|how do "
            "the french say|how can i say] {word} in french",
            "[what is|what's|whats] [the french [word|term|name|translation|expression] for "
            "{word}|{word} in french|french for {word}|the french for {word}]",
            "[french word|french translation|the french word|the translation|french] [for|of] "
            "{word}",
            "{word} in french[ is what| please|]",
            "[what|which] [word|term|name] [do the french use|do french people use|is used in "
            "french] for {word}",
            "what do [the french|french people|they in france|people in france] [call|say for] "
            "{word}",
            "what does {word} [mean|translate to|become] in french",
            "[give me|tell me|teach me|i need|i want|say|write|spell] [the french [word|"
            "translation|name] for {word}|{word} in french]",
            "[i am learning|i learn|i study|we study] french[, | and |. ][what is|how do i say|"
            "how do you say] {word}",
            "[the |]english [word |]{word} in french",
            "{word} => [in french|french|]",
            "{word}: french [word|translation|]",
            "[which|what] french word [means|stands for|is] {word}",
            "[in|into] french[, |: ][what is |how do you say |say |]{word}",
            "how [is|would] {word} [said|written|translated|be said|be written] in french",
            "[the |]french [word |][meaning|equivalent|version|name] [of|for] {word}",
            "[can you|do you|does anyone] [know|remember|recall|find] the french [name|word|"
            "expression|noun] [for|of|to say] {word}",
            "[help|assist] [me |us |][translate|translating|to translate|in translating] {word} "
            "[for|to] [a french person|the french|my french friend|people in france|a frenchman]",
            "[translate|put|say|write] {word} so that [the french|my french friend|people in "
            "france|a frenchman] [understand|understands|can understand|get|gets][ me| it|]",
            "[i forget|i wonder|i ask|remind me|teach me] how {word} is [named|said|written|"
            "called] [in french|by the french|in france]",
            "{word}[, | - ; ][what would|how would|how do|what do] [the french|french people|"
            "french children] [say|call it|write it|name it]",
            "what would [a french person|you|one|they|my french friend] [say|write|call it] in "
            "french [for|to say|when they mean|if it is|meaning] {word}",
            "i [am in|go to|travel to] [france|paris] and [need|want] the word for {word}",
            "[i don't know|i need|i lost|i look for|she asks] [how|what] [{word} is called|"
            "{word} is|to say {word}|one says for {word}|{word} means] in french",
            "[at school|in a shop|on a menu|in a restaurant|at the market|in a book] in [france|"
            "french]: [how is {word} called|what is {word}|how do they say {word}|the word for "
            "{word}|{word}]",
            "[my|the|our] french [test|lesson|teacher|class|exercise|book|exam] [wants|asks for|"
            "needs|asks|has|says] [the word |the translation of |]{word}[, | ; |. ][what is it|"
            "what do i write|how do i say it|help me|]",
            "[a|the|my] [french person|frenchman|french friend|lady from france|french child|"
            "french waiter] [says|would say|calls it|uses|would call it] what for {word}",
            "[the english word|in english|word]: {word}[, | ; |. ][french|in french|the french "
            "word|and in french|now french]",
            "[another|a new|a|one more] french word[ for me| please| to learn|]: {word}",
            "{word}[, | - | ; ][now in french|and in french|but french|the french word please|"
            "how in french|to french]",
            "[translation|translating|to translate] [of |][the word |]{word} [to|into|for] "
            "[french|a french friend|the french]",
            "[give|say|tell|write|send] me the french [of|for|to] [the word|the english|english|"
            "the english word|] {word}",
        ),
        _translate,
        {"word": list(FRENCH)},
        weight=12,
        noise=0.7,
    )
]
