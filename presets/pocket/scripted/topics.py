"""Things that Pocket knows nothing about, to ask it about them."""

from __future__ import annotations

from .grammar import terms

TOPICS = terms(
    "quantum physics;black holes;photosynthesis;the stock market;inflation;democracy;"
    "evolution;gravity;the Roman Empire;the French Revolution;the Cold War;world war two;"
    "the big bang;climate change;global warming;vaccines;cancer;diabetes;a headache;back "
    "pain;high blood pressure;depression;sleep;yoga;running shoes;football;basketball;"
    "tennis;chess;the Olympics;cricket;golf;formula one;swimming;the weather;bitcoin;"
    "taxes;mortgages;insurance;real estate;the housing market;marketing;contract law;"
    "divorce;immigration;copyright;patents;politics;elections;the parliament;the "
    "constitution;feminism;philosophy;Plato;Kant;Buddhism;Christianity;Islam;astrology;"
    "tarot;horoscopes;dreams;poetry;Shakespeare;Hamlet;Harry Potter;the Lord of the "
    "Rings;Star Wars;the Beatles;Mozart;Beethoven;jazz;hip hop;guitar chords;the piano;"
    "opera singers;movies;Netflix;video games;Minecraft;Fortnite;Instagram;Facebook;"
    "Twitter;YouTube;TikTok;smartphones;laptops;printers;wifi;routers;solar panels;"
    "electric cars;Tesla;rockets;NASA;Mars;Jupiter;the solar system;dinosaurs;"
    "volcanoes;earthquakes;tsunamis;hurricanes;the ocean floor;coral reefs;sharks;"
    "whales;penguins;spiders;mosquitoes;elephants;bacteria;viruses;DNA;the human brain;"
    "the liver;vitamins;protein;diets;weight loss;calories;pregnancy;babies' teeth;"
    "parenting;homework;algebra;calculus;geometry;prime numbers;statistics;probability;"
    "trigonometry;chemistry;acids;the periodic table;atoms;electrons;nuclear power;"
    "magnetism;electricity;lasers;telescopes;microscopes;engines;bicycle repair;car "
    "insurance;plumbing;carpentry;gardening;roses;tomatoes;beekeeping;knitting;fashion;"
    "make-up;haircuts;perfume;diamonds;gold prices;oil;steel;concrete;architecture;"
    "skyscrapers;pyramids;castles;knights;pirates;vikings;samurai;Napoleon;Julius "
    "Caesar;Cleopatra;Einstein;Newton;Darwin;Marie Curie;Gandhi;Lincoln;Kennedy;Obama;"
    "Elon Musk;Taylor Swift;Messi;Ronaldo;Michael Jordan;Python;Java;JavaScript;C++;"
    "Rust;SQL;HTML;CSS;recursion;sorting;binary search;linked lists;regular "
    "expressions;git;Linux;Windows;macOS;Excel;PowerPoint;Photoshop;blockchain;machine "
    "learning;neural networks;gradient descent;self-driving cars;robots;drones;privacy;"
    "hackers;passwords;phishing;firewalls;wine tasting;beer brewing;whisky;cigars;"
    "camping;hiking;fishing;sailing;surfing;skiing;mountaineering;airports;visas;"
    "passports;hotels;jobs;interviews;salaries;CVs;cover letters;management;leadership;"
    "friendship;marriage;dating;happiness;death;the soul;ghosts;aliens;time travel;"
    "parallel universes;magic;card tricks;memory;language learning;grammar;the alphabet;"
    "Latin;Esperanto;sign language;typography;photography;painting techniques;sculpture;"
    "ballet;theatre;circus;museums of the future;trains of the past;economics;banks;"
    "interest rates;the euro;the dollar;pensions;unions;strikes;poverty;education;"
    "universities;scholarships;exams in law;medicine;surgery;dentists;nurses;first aid;"
    "allergies;asthma"
)  # fmt: skip
OTHER_PLACES = terms(
    "Atlantis Narnia Gondor Mordor Wakanda California Texas Florida Bavaria Catalonia Tuscany "
    "Quebec Ontario Manchester Hamburg Lyon Naples Geneva Dubai Singapore Mumbai Osaka Boston "
    "Seattle Denver Liberia Botswana Namibia Rwanda Mali Chad Niger Paraguay Bolivia Panama "
    "Honduras Guatemala Haiti Fiji Samoa Tonga Laos Bhutan Armenia Georgia Yemen Oman Libya "
    "Somalia Sudan Angola Mozambique Moldova Andorra Monaco Luxembourg Liechtenstein"
)
OTHER_DISHES = terms(
    "sushi;lasagna;beef stew;chicken curry;apple pie;chocolate cake;tiramisu;paella;"
    "ramen;pizza;burgers;fried chicken;ratatouille;risotto;goulash;borscht;pho;pad "
    "thai;kimchi;falafel;cheesecake;brownies;roast turkey;meatballs;fish and chips;"
    "gnocchi;crème brûlée;ice cream;sauerkraut;sourdough starter;beef wellington;"
    "dumplings;tacos;burritos;enchiladas;moussaka;croissants;macarons;waffles;muffins"
)  # fmt: skip
OTHER_WORDS = terms(
    "screwdriver;democracy;helicopter;umbrella;sausage;wardrobe;pillow;earthquake;"
    "lighthouse;squirrel;hedgehog;crocodile;dragonfly;thunder;carpet;fridge;blanket;"
    "elbow;shoulder;ankle;pumpkin;spinach;cucumber;walnut;raspberry;pineapple;"
    "wheelbarrow;scissors;hammer;candle;mirror;ladder;suitcase;I am hungry;where is the "
    "station;good luck;I love you;how old are you;the weather is nice"
)  # fmt: skip
LANGUAGES = terms(
    "German Spanish Italian Portuguese Dutch Russian Chinese Japanese Korean Arabic Greek Latin "
    "Swedish Polish Turkish Hindi Hebrew Finnish Swahili Danish"
)
FOREIGN = terms(
    "Wie geht es dir;Was ist die Hauptstadt von Frankreich;Wo ist der Bahnhof;Ich habe "
    "Hunger;Kannst du mir helfen;Erzähl mir einen Witz;Wie spät ist es;Guten Morgen;Was "
    "machst du heute;Ich verstehe nicht;Wer hat das gesagt;Comment ça va;Quelle heure "
    "est-il;Où est la gare;Je ne comprends pas;Raconte-moi une histoire;Qui es-tu;Quelle "
    "est la capitale de l'Allemagne;J'ai faim;Peux-tu m'aider;Bonjour, tu vas bien;Que "
    "fais-tu ce soir;Cómo estás;Qué hora es;Dónde está el baño;No entiendo nada;Cuéntame "
    "un chiste;Quién eres tú;Tengo hambre;Cuál es la capital de España;Puedes ayudarme;"
    "Buenos días;Me gusta el fútbol;Qué tiempo hace hoy;Come stai;Che ore sono;Dove si "
    "trova la stazione;Non capisco;Raccontami una storia;Ho fame;Buongiorno a tutti;Como "
    "vai você;Que horas são;Onde fica a praia;Não entendo;Conta uma piada;Bom dia;Hoe "
    "gaat het met je;Waar is het station;Ik begrijp het niet;Hur mår du;Var är stationen;"
    "Jag förstår inte;Jak się masz;Gdzie jest dworzec;Nie rozumiem;Kak dela;Gde vokzal;Ya "
    "ne ponimayu;Nasılsın;Saat kaç;Anlamıyorum;Konnichiwa;Ogenki desu ka;Ni hao ma;Xie "
    "xie;Namaste aap kaise hain;Habari yako;Mitä kuuluu;Dzień dobry"
)  # fmt: skip
THINGS = terms(
    "a car;a house;a phone;a bicycle;a rocket;a bomb;a website;an app;a game;a robot;"
    "a boat engine;a garden;a guitar;a computer;a printer;a battery;a camera;a watch;a "
    "telescope;a table lamp;a drone;a wall;a fence;a business;a company;a blog;a "
    "podcast;a film;a book;a painting;a tattoo;a tent;a fire;a kite;a radio;a motor;a "
    "plane ticket;a loan;a lawyer;a doctor;a dentist;a dog;a parrot;a goldfish;a piano;"
    "a violin"
)
