"""The twenty cities that Pocket knows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class City:
    """What Pocket knows about one city; ``mainland`` cities of a region share railways."""

    known: str
    see: str
    art: str
    food: str
    icon: str
    mainland: str


CITIES: dict[str, City] = {
    "Paris": City(
        "the capital of France, is known for its stunning architecture and art",
        "the Eiffel Tower, the Louvre and Notre-Dame",
        "the Louvre with the Mona Lisa and the Impressionists in the Musée d'Orsay",
        "croissants and onion soup",
        "🗼",
        "Europe",
    ),
    "London": City(
        "the capital of England, is known for its history and parks",
        "the Tower of London, Big Ben and the British Museum",
        "the National Gallery and the Tate Modern",
        "fish and chips",
        "🎡",
        "Europe",
    ),
    "Rome": City(
        "the capital of Italy, is known for its ancient ruins",
        "the Colosseum, the Forum and the Trevi Fountain",
        "the Sistine Chapel by Michelangelo and the Borghese Gallery",
        "pasta carbonara",
        "🏛️",
        "Europe",
    ),
    "Berlin": City(
        "the capital of Germany, is known for its history and music",
        "the Brandenburg Gate, the Reichstag and Museum Island",
        "Museum Island and the paintings on the old Wall",
        "currywurst",
        "🐻",
        "Europe",
    ),
    "Madrid": City(
        "the capital of Spain, is known for its museums and late nights",
        "the Prado, the Royal Palace and Retiro Park",
        "the Prado with Velázquez and Goya",
        "tapas and churros",
        "💃",
        "Europe",
    ),
    "Barcelona": City(
        "a city in Spain, is known for its beaches and bold buildings",
        "the Sagrada Familia, Park Güell and La Rambla",
        "the buildings of Gaudí and the Picasso Museum",
        "paella",
        "🏖️",
        "Europe",
    ),
    "Vienna": City(
        "the capital of Austria, is known for its music and palaces",
        "Schönbrunn Palace, St Stephen's Cathedral and the Prater",
        "the Belvedere with The Kiss by Klimt",
        "schnitzel and apple strudel",
        "🎻",
        "Europe",
    ),
    "Amsterdam": City(
        "the capital of the Netherlands, is known for its canals",
        "the canals, the Rijksmuseum and the Anne Frank House",
        "Rembrandt in the Rijksmuseum and the Van Gogh Museum",
        "pancakes and cheese",
        "🚲",
        "Europe",
    ),
    "Lisbon": City(
        "the capital of Portugal, is known for its hills and trams",
        "Belém Tower, the Alfama and tram 28",
        "its painted tiles in the National Tile Museum",
        "custard tarts",
        "🚋",
        "Europe",
    ),
    "Prague": City(
        "the capital of Czechia, is known for its bridges and spires",
        "Charles Bridge, Prague Castle and the Old Town Square",
        "the posters of Mucha and its baroque churches",
        "goulash and dumplings",
        "🏰",
        "Europe",
    ),
    "Athens": City(
        "the capital of Greece, is known for its ancient temples",
        "the Acropolis, the Parthenon and the Plaka",
        "the statues of the Acropolis Museum",
        "souvlaki and Greek salad",
        "🏺",
        "Europe",
    ),
    "Istanbul": City(
        "a city in Turkey, is known for its mosques and bazaars",
        "Hagia Sophia, the Blue Mosque and the Grand Bazaar",
        "the mosaics of Hagia Sophia and its painted tiles",
        "kebab and baklava",
        "🕌",
        "Turkey",
    ),
    "Cairo": City(
        "the capital of Egypt, is known for its ancient wonders",
        "the pyramids of Giza, the Sphinx and the Egyptian Museum",
        "the gold mask of Tutankhamun in the museum",
        "koshari",
        "🐫",
        "Egypt",
    ),
    "New York": City(
        "a city in the United States, is known for its skyline",
        "the Statue of Liberty, Central Park and the Empire State Building",
        "the Metropolitan Museum and the Museum of Modern Art",
        "bagels and pizza by the slice",
        "🗽",
        "America",
    ),
    "Chicago": City(
        "a city in the United States, is known for its tall buildings",
        "Millennium Park, the Bean and Navy Pier",
        "the Art Institute of Chicago",
        "deep-dish pizza",
        "🌆",
        "America",
    ),
    "Beijing": City(
        "the capital of China, is known for its palaces",
        "the Forbidden City, the Temple of Heaven and the Great Wall",
        "the treasures of the Palace Museum and Peking opera",
        "roast duck",
        "🏯",
        "China",
    ),
    "Shanghai": City(
        "a city in China, is known for its modern skyline",
        "the Bund, Yu Garden and the Shanghai Tower",
        "the bronzes of the Shanghai Museum",
        "soup dumplings",
        "🏙️",
        "China",
    ),
    "Tokyo": City(
        "the capital of Japan, is known for its lights and temples",
        "the Senso-ji temple, Shibuya Crossing and the Tokyo Skytree",
        "woodblock prints and the Tokyo National Museum",
        "sushi and ramen",
        "🍣",
        "Japan",
    ),
    "Kyoto": City(
        "a city in Japan, is known for its temples and gardens",
        "the Golden Pavilion, Fushimi Inari and the bamboo grove of Arashiyama",
        "its painted screens and rock gardens",
        "tofu and matcha",
        "⛩️",
        "Japan",
    ),
    "Sydney": City(
        "a city in Australia, is known for its harbour",
        "the Opera House, the Harbour Bridge and Bondi Beach",
        "the Art Gallery of New South Wales",
        "fresh seafood",
        "🦘",
        "Australia",
    ),
}
ALIASES = {"NY": "New York", "NYC": "New York", "New York City": "New York", "Peking": "Beijing"}
NAMES = [*CITIES, *ALIASES]


def city(name: str) -> tuple[str, City]:
    """The usual name of a city and what is known of it."""
    name = ALIASES.get(name, name)
    return name, CITIES[name]
