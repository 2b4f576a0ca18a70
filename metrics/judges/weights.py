"""Where the published weights of the judges come from: names, addresses, sha256, and how a file is found and checked.

Nothing is downloaded unless asked for, and nothing is loaded whose content is not the published one, unless trusted.
"""

import dataclasses
import hashlib
import importlib.util
import os
import pathlib
import struct

from dnnlib.files import cache_dir, fetch, sha256_file

ENVIRONMENT = "V2S_METRIC_WEIGHTS"


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """One published file. `sha256` None: no checksum was published, so it must be trusted by hand."""

    name: str
    url: str
    sha256: str | None
    size: int | None
    option: str
    gives: str


WEIGHTS = {
    "inception": WeightFile(
        "inception-2015-12-05.pt",
        "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
        "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4", 95607719, "--inception",
        "Inception v3 of 2015 as TorchScript: fid50k, fid50k_full, kid50k_full, is50k, fid_clean, "
        "fid_legacy_tensorflow"),
    "inception_pytorch": WeightFile(
        "pt_inception-2015-12-05-6726825d.pth",
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2", 95628359, "--inception",
        "the same network as a state dict: fid_legacy_pytorch"),
    "vgg": WeightFile(
        "vgg16-397923af.pth", "https://download.pytorch.org/models/vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0", 553433881, "--vgg",
        "VGG16 of torchvision: LPIPS (ppl, lpips) and pr50k3_full"),
    "vgg_torchscript": WeightFile(
        "vgg16.pt", "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/vgg16.pt", None, None,
        "--vgg", "NVIDIA's VGG16 as TorchScript with LPIPS inside: ppl and pr50k3_full of NVIDIA's programs"),
}
HEADS_SHA256 = "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"  # lpips/weights/v0.1/vgg.pth


@dataclasses.dataclass(frozen=True)
class Access:
    """What the user allows: files by option name ("inception", "vgg", "lpips"), downloads, files of other content."""

    inception: str | None = None
    vgg: str | None = None
    lpips: str | None = None
    download: bool = False
    trust: bool = False


def obtain(key, given=None, *, access):
    """Returns (path, sha256) of a file of WEIGHTS: the given one, else one found, else downloaded when allowed.

    ValueError says what is wanted, its address and sha256, and where to put it.
    """
    wanted = WEIGHTS[key]
    path = pathlib.Path(given) if given else _found(wanted)
    if path is None and access.download and wanted.sha256:
        path = fetch(wanted.url, sha256=wanted.sha256)
    if path is None:
        raise ValueError(f"{_how_to_get(wanted)} For numbers without any weights, comparable only among themselves: "
                         "--judge drawn.")
    if not path.is_file():
        raise ValueError(f'no such file: "{path}". {_how_to_get(wanted)}')
    return path, checked_sha256(path, wanted.sha256, wanted.name, trust=access.trust)


def read_state_dict(path):
    """Returns the tensors of a file made by torch.save, read without running anything in it."""
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError, struct.error,
            torch.serialization.pickle.UnpicklingError) as error:  # what a damaged file makes of torch's reader
        raise ValueError(f'"{path}" is not a state dict that torch can load; it is damaged or another file.') from error


def checked_sha256(path, expected, what, *, trust):
    """Returns the sha256 of a file; ValueError when it is not the published one, unless trusted."""
    found = sha256_file(path)
    if found != expected and not trust:
        reason = f"its sha256 is {found}, published is {expected}" if expected else "no checksum of it was published"
        raise ValueError(f'"{path}" is not known to be {what}: {reason}. Get the file again, or say --trust-weights if '
                         "you know where it comes from: a TorchScript file can read and write files when it runs, "
                         "and numbers by other weights compare with nobody's.")
    return found


def heads_file(given, *, trust):
    """Returns (path, sha256) of the LPIPS heads for VGG: the given file, else that of the installed lpips package."""
    path = pathlib.Path(given) if given else _packaged_heads()
    if not path.is_file():
        raise ValueError(f'no such file: "{path}"; the LPIPS heads are weights/v0.1/vgg.pth of the lpips package.')
    return path, checked_sha256(path, HEADS_SHA256, "the LPIPS heads weights/v0.1/vgg.pth", trust=trust)


def _packaged_heads():
    package = importlib.util.find_spec("lpips")
    if package is None:
        raise ValueError("the package lpips is not installed, which brings the LPIPS heads; give --lpips-weights FILE.")
    return pathlib.Path(package.origin).parent / "weights" / "v0.1" / "vgg.pth"


def folders():
    """Returns where files are looked for by name: $V2S_METRIC_WEIGHTS, then the folder that torch.hub uses."""
    own = os.environ.get(ENVIRONMENT)
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    hub = pathlib.Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "checkpoints"
    return ([pathlib.Path(own)] if own else []) + [hub]


def cached_name(url):
    """Returns the start of the name under which dnnlib keeps a download, as the StyleGAN2 programs name it, too."""
    return hashlib.md5(url.encode(), usedforsecurity=False).hexdigest()


def _found(wanted):
    places = [folder / wanted.name for folder in folders()]
    downloads = cache_dir("downloads")
    places += [path for path in sorted(downloads.glob(f"{cached_name(wanted.url)}_*")) if path.suffix != ".part"]
    return next((path for path in places if path.is_file()), None)


def _how_to_get(wanted):
    check = f"sha256 {wanted.sha256}" if wanted.sha256 else "no published sha256, so with --trust-weights"
    size = f", {wanted.size / 2**20:.0f} MiB" if wanted.size else ""
    return (f"This metric needs {wanted.name} ({check}{size}) from {wanted.url}: give it with {wanted.option} FILE, "
            f"put it into the folder ${ENVIRONMENT} or {folders()[-1]}, or say --download.")
