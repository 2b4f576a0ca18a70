"""The sounds of the demo voices: formants and sources of ten vowels and eighteen consonants."""

from typing import NamedTuple


class Vowel(NamedTuple):
    """Three formants in Hz, for a vocal tract of 16.9 cm."""

    f1: float
    f2: float
    f3: float


class Consonant(NamedTuple):
    """Formant targets in Hz, then amounts: voicing, frication (centre and width in Hz), aspiration, nasality."""

    f1: float
    f2: float
    f3: float
    voicing: float
    frication: float = 0
    centre_hz: float = 0
    width_hz: float = 1
    aspiration: float = 0
    nasality: float = 0


VOWELS = {
    "i": Vowel(290, 2250, 2950), "I": Vowel(400, 1950, 2550), "e": Vowel(440, 2050, 2600), "E": Vowel(560, 1780, 2500),
    "ae": Vowel(690, 1660, 2430), "a": Vowel(740, 1280, 2450), "A": Vowel(620, 1020, 2450), "o": Vowel(470, 850, 2400),
    "u": Vowel(320, 860, 2250), "@": Vowel(500, 1450, 2450),
}  # fmt: skip
CONSONANTS = {
    "m": Consonant(270, 1100, 2150, 0.55, nasality=1), "n": Consonant(280, 1500, 2450, 0.55, nasality=1),
    "l": Consonant(370, 1150, 2700, 0.75), "r": Consonant(380, 1200, 1650, 0.75),
    "w": Consonant(310, 720, 2250, 0.7), "j": Consonant(290, 2150, 2900, 0.7),
    "s": Consonant(380, 1650, 2550, 0, 0.50, 6300, 1300), "S": Consonant(370, 1750, 2450, 0, 0.55, 3500, 1300),
    "z": Consonant(330, 1600, 2500, 0.40, 0.28, 6000, 1400), "f": Consonant(360, 1150, 2250, 0, 0.16, 5500, 3500),
    "v": Consonant(330, 1150, 2250, 0.50, 0.09, 5500, 3500), "h": Consonant(0, 0, 0, 0.05, aspiration=0.7),
    "p": Consonant(350, 950, 2200, 0, 0.30, 1200, 1500, 0.3), "t": Consonant(350, 1750, 2600, 0, 0.40, 4200, 1800, 0.3),
    "k": Consonant(320, 1900, 2300, 0, 0.38, 2100, 900, 0.3), "b": Consonant(330, 950, 2200, 0.30, 0.12, 1000, 1200),
    "d": Consonant(330, 1700, 2600, 0.30, 0.16, 3800, 1800), "g": Consonant(310, 1900, 2300, 0.30, 0.16, 1900, 900),
}  # fmt: skip
STOPS = frozenset("ptkbdg")
CODAS = tuple("mnlszS")  # consonants that may close a syllable
SCHWA = VOWELS["@"]
