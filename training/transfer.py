"""Weights taken over by name from another network, also from one of a lower resolution (growing by a block)."""

import dataclasses
import pathlib

import torch

# Names that the published --resume knows, and what these files are called where they are published. Nobody gave us
# their addresses in writing, so nothing is fetched by name: whoever has the file gives its path.
RESUME_NAMES = {
    "ffhq256": "ffhq-res256-mirror-paper256-noaug.pkl",
    "ffhq512": "ffhq-res512-mirror-stylegan2-noaug.pkl",
    "ffhq1024": "ffhq-res1024-mirror-stylegan2-noaug.pkl",
    "celebahq256": "celebahq-res256-mirror-paper256-kimg100000-ada-target0.5.pkl",
    "lsundog256": "lsundog-res256-paper256-kimg100000-noaug.pkl",
}


@dataclasses.dataclass(frozen=True)
class Transfer:
    """What a transfer did: names taken, names of the network that stay fresh, names of the file that found no place."""

    taken: tuple
    fresh: tuple
    left: tuple

    def sentence(self):
        """Returns one line for people."""
        return f"took {len(self.taken)} tensors by name, {len(self.fresh)} stay fresh, {len(self.left)} found no place"


def check_resume(resume):
    """Raises ValueError for a published name without a file: it says which file to get, and to give its path."""
    if resume in RESUME_NAMES and not pathlib.Path(resume).exists():
        raise ValueError(f'--resume={resume} is a name without an address here: get the file "{RESUME_NAMES[resume]}" '
                         "(the source networks for transfer learning of stylegan2-ada-pytorch) and give its path or "
                         "address, --resume=FILE.")


@torch.no_grad()
def transfer(network, tensors):
    """Returns a Transfer after copying every tensor of the same name and shape into `network`."""
    own = network.state_dict()
    taken = [name for name in own if name in tensors and tensors[name].shape == own[name].shape]
    for name in taken:
        own[name].copy_(tensors[name])
    return Transfer(taken=tuple(taken), fresh=tuple(name for name in own if name not in taken),
                    left=tuple(name for name in tensors if name not in taken))


@torch.no_grad()
def silence_new_blocks(generator, fresh):
    """Sets the fresh toRGB layers of a skip generator to zero: the grown network starts as the old one, enlarged."""
    for name, parameter in generator.named_parameters():
        if name in fresh and name.endswith(("torgb.weight", "torgb.bias")):
            parameter.zero_()


def take_over(generator, discriminator, path, say):
    """Copies by name what fits from any readable network file or address into G and D.

    The file may be of a lower resolution. G starts from the file's G, or its moving average when that is all there is.
    ValueError when the file cannot be read, or when nothing of a generator fits.
    """
    from voice2style.networks import load_networks

    networks = load_networks(path)
    say(f"{path} is {networks.source}")
    sources = {"G": (generator, networks.G if networks.G is not None else networks.G_ema),
               "D": (discriminator, networks.D)}
    for label, (network, source) in sources.items():
        if source is None:
            say(f"{label} from {path}: the file has none, it stays fresh")
            continue
        if source.img_channels != network.img_channels:
            raise ValueError(f'"{path}" draws pictures with {source.img_channels} channels, this run has '
                             f"{network.img_channels}; give a network for colour pictures.")
        result = transfer(network, source.state_dict())
        weights = [name for name in result.taken if not name.endswith(("resample_filter", "noise_const"))]
        if label == "G" and not weights:
            raise ValueError(f'nothing in "{path}" fits this generator: its sizes are others; choose --cfg, --cbase, '
                             "--cmax and --map-depth as the file has them.")
        say(f"{label} from {path}: {result.sentence()}{_named(result.fresh, 'fresh')}")
        mine = [name for name, _ in network.named_parameters()]
        if len(set(weights) & set(mine)) < len(mine) / 2:
            say(f"Warning: most weights of {label} found nothing of their size in the file; were --cfg, --cbase, "
                "--cmax and --map-depth meant to differ from it?")
        if label == "G":
            silence_new_blocks(network, result.fresh)


def _named(names, what):
    shown = [name for name in names if not name.endswith("resample_filter")]
    return f" ({what}: {', '.join(shown[:4])}{', …' if len(shown) > 4 else ''})" if shown else ""
