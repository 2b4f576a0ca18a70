"""A loaded network with its name and checksum, which sign every picture drawn with it."""

import dataclasses
import json

from dnnlib.console import warn
from dnnlib.files import sha256_file
from dnnlib.interrupts import ctrl_c_ends_at_once
from torch_utils.images import PNG_CHANNELS
from voice2style.provenance import Provenance, write_picture


@dataclasses.dataclass(frozen=True)
class SignedModel:
    """A VoiceToFace, and what pictures say about where it came from."""

    model: object
    name: str
    sha256: str

    def write(self, path, pixels, *, seed, sentence, options, audio_sha256=()):  # uint8 [H, W, C]
        """Writes a PNG that names the network, the seed, the options and, as checksums, the recordings."""
        write_picture(path, pixels, Provenance(model=self.name, model_sha256=self.sha256, seed=str(seed),
                                               options=options, audio_sha256=tuple(audio_sha256), sentence=sentence))

    def signature(self, *, seed, sentence, options):
        """Returns the same in one line, for the comment of a film."""
        about = {"model": self.name, "model_sha256": self.sha256, "seed": str(seed), "options": options}
        return f"{sentence}. {json.dumps(about, sort_keys=True)}"


def open_network(network=None, *, device="auto", force_fp32=False, channels=PNG_CHANNELS):
    """Returns the network of a path or address (None: the demo model), ready to sign and to draw as generate does.

    ValueError, too, when its pictures have another number of channels than those allowed.
    """
    with ctrl_c_ends_at_once():
        from voice2style.pipeline import check_channels, load, network_file

    path = network_file(network)
    model = load(path, device=device)
    check_channels(model, channels, name=path)
    for note in model.card.source.get("notes", []):
        warn(f"note: {path.name}: {note}")
    model.accelerate(precision="fp32" if force_fp32 else "auto")
    return SignedModel(model, path.name if network else "voice2style demo model", sha256_file(path))


def checked_label(model, label):
    """Returns the class to draw, None for a network without classes; says when a wished one has no meaning.

    ValueError when a conditional network gets no class, or one that it does not have.
    """
    from voice2style.faces import one_hot

    if label is not None and not model.generator.c_dim:
        warn("note: --class is ignored, this network is not conditional.")
        return None
    one_hot(model, label)
    return label
