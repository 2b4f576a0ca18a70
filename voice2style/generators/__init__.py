"""The generators: codes ws [N, L, D] to pictures [N, 3, H, W]; one row of the table each."""

from voice2style.generators.stylegan2 import Generator, GeneratorSettings

GENERATORS = {"stylegan2": (GeneratorSettings, Generator)}
