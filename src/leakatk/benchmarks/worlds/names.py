"""Names and values of invented worlds, none of them given to two owners."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

Values = dict[str, str]
Used = set[tuple[str, ...]]  # (kind, values ...) that belong to somebody


def _split(words: str) -> tuple[str, ...]:
    return tuple(words.split())


_ONSETS = _split("b br d dr f g gr h j k kl l m n p r s st t tr v z")
_VOWELS = "aeiou"
_CODAS = ["", "n", "r", "l", "s", "m"]
MONTHS = _split("January February March April May June July August September October November December")
# All start with a consonant, so that "a" is right before each.
JOBS = _split(
    "baker barber beekeeper blacksmith bookbinder botanist brewer bricklayer butcher carpenter cartographer chemist "
    "clockmaker cobbler cook cooper courier dairyman dancer dentist diver drummer falconer farmer fisherman florist "
    "forester furrier gardener geologist glazier goldsmith grocer guard hatter judge laundress lawyer librarian "
    "locksmith mason mechanic midwife miller miner musician nurse painter pharmacist pilot plumber porter potter "
    "printer roofer sailor sculptor shepherd surgeon surveyor tailor tanner teacher thatcher translator turner "
    "veterinarian violinist waiter watchman weaver welder woodcutter zoologist"
)
ADJECTIVES = _split(
    "Amber Ancient Barren Bitter Bright Broken Burning Crimson Crooked Distant Drifting Dusty Empty Faded Fallen Fierce "
    "Forgotten Fragile Frozen Gentle Gilded Golden Hidden Hollow Humble Idle Ivory Jagged Lasting Lonely Lost Lucid "
    "Marble Mellow Misty Narrow Nameless Northern Pale Patient Quiet Restless Rising Rusted Sacred Salted Scarlet "
    "Secret Shattered Silent Silver Sleeping Solemn Southern Stolen Sunken Tangled Tender Thirsty Veiled Velvet Wandering "
    "Weathered Whispering Wild Winter Wooden Yellow"
)
NOUNS = _split(
    "Anchor Archive Ash Atlas Balcony Basin Bell Bridge Cabin Candle Canyon Castle Cellar Chapel Chimney Cloak Compass "
    "Corridor Cradle Crown Desert Door Ember Feather Ferry Fiddle Field Flute Forest Fountain Garden Gate Glacier Harbor "
    "Harvest Horizon Island Kettle Ladder Lantern Letter Lighthouse Loom Mirror Mountain Needle Orchard Oven Palace "
    "Parade Pasture Pearl Pilgrim Quarry Raven Ribbon River Saddle Sail Shadow Shore Sparrow Spiral Staircase Storm "
    "Stranger Tavern Thicket Tower Valley Violin Voyage Wagon Well Willow Window"
)
PUBLISHERS = ("Press", "Books", "House", "Editions", "Library", "Brothers")


def word(rng: Random, syllables: int) -> str:
    """An invented name: open syllables, a closing consonant at most at the end."""
    return "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(syllables)).capitalize() + rng.choice(
        _CODAS
    )


def person(rng: Random) -> str:
    """First name and last name: millions of them."""
    return f"{word(rng, 2)} {word(rng, 2)}"


def unused(rng: Random, used: Used, kind: str, draw: Callable[[Random], Values]) -> Values:
    """Draw until these values are new in this world."""
    values = draw(rng)
    while (kind, *values.values()) in used:
        values = draw(rng)
    return values


def fresh(rng: Random, used: Used, kind: str, draw: Callable[[Random], Values]) -> Values:
    """Draw new values, and let nobody else have them."""
    values = unused(rng, used, kind, draw)
    used.add((kind, *values.values()))
    return values
