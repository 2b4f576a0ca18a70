"""Facts about this installation for doctor.py: versions, devices, compilers, caches, weights, model, what lacks.

Every fact is looked up here and now; nothing is imported before its section. A lack is a pair (what, what to do).
"""

import dataclasses
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import shutil

from dnnlib.files import builds_dir, cache_dir, sha256_file

PACKAGES = {  # distribution -> (import name, what it is for, whether drawing a face for a voice needs it)
    "torch": ("torch", "the networks", True),
    "numpy": ("numpy", "arrays", True),
    "safetensors": ("safetensors", "checkpoints", True),
    "pillow": ("PIL", "pictures", True),
    "click": ("click", "the command lines", True),
    "soundfile": ("soundfile", "reading recordings", True),
    "soxr": ("soxr", "recordings of other sample rates", True),
    "scipy": ("scipy", "metrics", False),
    "librosa": ("librosa", "filterbanks of other kinds", False),
    "clean-fid": ("cleanfid", "FID and KID", False),
    "lpips": ("lpips", "perceptual distances", False),
    "tqdm": ("tqdm", "progress bars", False),
    "ninja": ("ninja", "building native ops", False),
}
EXTRAS = {  # extra -> ({distribution: import name}, what does not work without it)
    "vad": ({"silero-vad": "silero_vad"}, "--vad silero"),
    "av": ({"av": "av"}, "m4a, mp4 and video recordings"),
    "onnx": ({"onnx": "onnx", "onnxruntime": "onnxruntime", "onnxscript": "onnxscript"}, "convert.py to ONNX"),
    "video": ({"imageio-ffmpeg": "imageio_ffmpeg"}, "mp4 from gen_video.py and projector.py"),
    "web": ({"flask": "flask"}, "the browser page"),
    "face": ({"opencv-python-headless": "cv2"}, "finding faces in photographs"),
}
# Files beside the operators that are none.
OPS_MACHINERY = ("batched_conv", "build", "layer_tail", "native", "tiled_conv", "toolchain", "weight_gradient")
LEAST_TORCH = (2, 11)


@dataclasses.dataclass(frozen=True)
class Weights:
    """Published weights that a metric needs: file name, sha256, where it is from, what it is for."""

    name: str
    sha256: str
    url: str
    purpose: str


METRIC_WEIGHTS = (
    Weights("inception-2015-12-05.pt", "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
            "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
            "FID, KID, IS as published"),
    Weights("pt_inception-2015-12-05-6726825d.pth", "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
            "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
            "pt_inception-2015-12-05-6726825d.pth",
            "FID comparable with pytorch-fid"),
    Weights("vgg16-397923af.pth", "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
            "https://download.pytorch.org/models/vgg16-397923af.pth", "LPIPS, PPL, projector.py"),
)


@dataclasses.dataclass
class Report:
    """Sections of facts {title: {name: value}}, lacks [(what, what to do)], and whether the main way works."""

    sections: dict
    lacks: list
    works: bool = True

    def to_dict(self):
        """Returns the report as plain JSON."""
        lacks = [{"what": what, "do": remedy} for what, remedy in self.lacks]
        return {"works": self.works, **self.sections, "lacks": lacks}

    def lines(self):
        """Returns the report as lines for people."""
        lines = []
        for title, facts in self.sections.items():
            lines += ["", title.replace("_", " ")]
            width = max(map(len, facts), default=0)
            lines += [f"  {name:<{width}}  {_plainly(value)}" for name, value in facts.items()]
        lines += ["", "what lacks" if self.lacks else "nothing lacks"]
        lines += [f"  {what} -> {remedy}" for what, remedy in self.lacks]
        end = "works" if self.works else "does NOT work, see above"
        return [*lines[1:], "", f"drawing a face for a voice {end}."]


def examine():
    """Returns the Report of this installation."""
    report = Report({}, [])
    report.sections["versions"] = _versions(report)
    torch = _import_torch(report)
    report.sections["devices"] = _devices(torch, report)
    report.sections["compilers"] = compilers = _compilers()
    untried = {"state": "not tried without torch"}
    report.sections["operators"] = untried if torch is None else _operators(compilers, report)
    report.sections["caches"] = _caches()
    report.sections["metric_weights"] = {weights.name: _weights_state(weights, report) for weights in METRIC_WEIGHTS}
    report.sections["audio"] = _audio(report)
    report.sections["demo_model"] = untried if torch is None else _demo_model(report)
    return report


def version_of(distribution, module):
    """Returns the version of an installed package, "unknown" if only its module is found, None if it is not there."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown" if importlib.util.find_spec(module) else None


def _versions(report):
    import voice2style

    facts = {"voice2style": voice2style.__version__, "python": f"{platform.python_version()} on {platform.platform()}"}
    for name, (module, purpose, needed) in PACKAGES.items():
        facts[name] = version_of(name, module)
        if facts[name] is None:
            report.works = report.works and not needed
            report.lacks.append((f"{name} is not installed ({purpose})", f"pip install {name}"))
    for extra, (members, purpose) in EXTRAS.items():
        found = {name: version_of(name, module) for name, module in members.items()}
        facts.update({f"{name} [{extra}]": version for name, version in found.items()})
        if missing := [name for name, version in found.items() if version is None]:
            report.lacks.append((f"{', '.join(missing)} not installed (optional: {purpose})",
                                 f"pip install 'voice2style[{extra}]'"))
    return facts


def _import_torch(report):
    """Returns torch, or None when it is not there or does not start."""
    try:
        import torch
    except (ImportError, OSError) as error:
        if version_of("torch", "torch") is not None:  # an absent one is a lack already
            report.lacks.append((f"torch does not start ({_first_line(error)})", "install torch again"))
        report.works = False
        return None
    if tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2]) < LEAST_TORCH:
        report.lacks.append((f"torch {torch.__version__} is older than {LEAST_TORCH[0]}.{LEAST_TORCH[1]}",
                             "pip install --upgrade torch"))
    return torch


def _devices(torch, report):
    facts = {"cpu": _cpu_name(), "cores": _cores()}
    if torch is None:
        return facts
    facts["cpu instructions"] = torch.backends.cpu.get_cpu_capability()
    facts.update(_cpu_formats(torch))
    facts["threads of torch"] = torch.get_num_threads()
    facts["cuda"] = _cuda(torch, report)
    mps = torch.backends.mps
    facts["mps"] = ("available" if mps.is_available() else
                    "built in, no such device" if mps.is_built() else "not built in")
    return facts


def _cpu_name():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cores():
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{os.cpu_count()}, {usable} of them usable here"


def _cpu_formats(torch):
    """Returns what torch says about 16-bit arithmetic of this CPU; nothing where this torch does not say."""
    if not hasattr(torch.cpu, "get_capabilities"):
        return {}
    found = torch.cpu.get_capabilities()
    names = {"bf16": ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"), "fp16": ("avx512_fp16", "amx_fp16", "fp16"),
             "amx": ("amx_tile",)}
    return {f"cpu {name}": any(found.get(key) is True for key in keys) for name, keys in names.items()}


def _cuda(torch, report):
    """Returns the cards, or why there are none."""
    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        return [f"{card.name}, {card.total_memory / 2**30:.0f} GiB, capability {card.major}.{card.minor}"
                for card in cards]
    if torch.version.cuda is None:
        reason, remedy = "this torch is built without CUDA", "for a card, install a CUDA build of torch; the CPU works"
    elif shutil.which("nvidia-smi") is None:
        reason, remedy = "no NVIDIA driver is found", "for a card, install its driver; the CPU works, slower"
    else:
        reason = f"torch (CUDA {torch.version.cuda}) sees no card"
        remedy = "look at nvidia-smi and CUDA_VISIBLE_DEVICES; the CPU works, slower"
    report.lacks.append((f"no CUDA card: {reason}", remedy))
    return f"none: {reason}"


def _compilers():
    names = {"c++": [os.environ.get("CXX") or "g++", "c++", "clang++"], "nvcc": ["nvcc"], "ninja": ["ninja"]}
    facts = {what: next(filter(None, map(shutil.which, tries)), None) for what, tries in names.items()}
    home = os.environ.get("CUDA_HOME")
    if facts["nvcc"] is None and home:
        facts["nvcc"] = shutil.which("nvcc", path=os.path.join(home, "bin"))
    return {what: path or "not found" for what, path in facts.items()}


def _operators(compilers, report):
    """Returns which operators there are, and which of them have native sources beside them."""
    import torch_utils.ops

    folder = pathlib.Path(torch_utils.ops.__file__).parent
    plain = sorted(path.stem for path in folder.glob("*.py") if path.stem not in ("__init__", *OPS_MACHINERY))
    native = sorted({path.stem for suffix in ("cpp", "cu") for path in folder.glob(f"*.{suffix}")})
    if not native:
        return {"plain PyTorch operators in use": plain, "native ops": "not part of this version, no compiler needed"}
    if lacking := [what for what in ("c++", "ninja") if compilers[what] == "not found"]:
        report.lacks.append((f"native ops cannot be built: {' and '.join(lacking)} not found; the plain ones are used "
                             "(slower on a CUDA GPU and for large pictures)", f"install {' and '.join(lacking)}"))
    from torch_utils.ops import build

    return {"plain PyTorch operators": plain, "native sources": native, "on a CUDA GPU": build.state("cuda"),
            "on the CPU": build.state("cpu"), "vector kernels of the CPU": build.state("simd")}


def _caches():
    folders = {
        "downloads ($DNNLIB_CACHE_DIR)": cache_dir(),
        "built ops ($TORCH_EXTENSIONS_DIR)": builds_dir(),
        "torch ($TORCH_HOME)": torch_home(),
    }
    return {what: f"{path}, {_size(path)}" for what, path in folders.items()}


def torch_home():
    """Returns the folder under which torch.hub keeps what it downloads."""
    return _folder("TORCH_HOME", "torch")


def _folder(variable, name):
    root = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(os.environ.get(variable) or pathlib.Path(root, name))


def _size(folder):
    if not folder.is_dir():
        return "not there yet"
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return f"{len(sizes)} files, {sum(sizes) / 2**20:.1f} MiB"


def weight_places(weights):
    """Returns the paths at which a file of weights is looked for, in the order of looking."""
    import hashlib

    own = os.environ.get("V2S_METRIC_WEIGHTS")
    key = hashlib.md5(weights.url.encode(), usedforsecurity=False).hexdigest()
    downloads = [path for path in sorted(cache_dir("downloads").glob(f"{key}_*")) if path.suffix != ".part"]
    return [*([pathlib.Path(own, weights.name)] if own else []), *downloads,
            torch_home() / "hub" / "checkpoints" / weights.name]


def _weights_state(weights, report):
    for path in filter(pathlib.Path.is_file, weight_places(weights)):
        if sha256_file(path) == weights.sha256:
            return f"{path}, sha256 ok"
        report.lacks.append((f"{path} has another sha256 than published", f"get it again from {weights.url}"))
        return f"{path}, sha256 NOT ok"
    report.lacks.append((f"{weights.name} is not there (optional: {weights.purpose})",
                         f"get {weights.url} and put it into the folder that $V2S_METRIC_WEIGHTS names"))
    return "not there"


def _audio(report):
    try:
        import soundfile
    except (ImportError, OSError) as error:
        report.works = False
        if version_of("soundfile", "soundfile") is not None:
            report.lacks.append((f"soundfile does not start ({_first_line(error)})",
                                 "install libsndfile and soundfile again"))
        return {"libsndfile": "does not start"}
    known = soundfile.available_formats()
    decodes = [name.lower() for name in ("WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF") if name in known]
    if "OGG" in known and "OPUS" in soundfile.available_subtypes("OGG"):
        decodes.append("opus")
    if "mp3" not in decodes:
        report.lacks.append(("mp3 recordings cannot be read: libsndfile is older than 1.1",
                             "pip install --upgrade soundfile"))
    video = "with PyAV" if importlib.util.find_spec("av") else "no"
    return {"libsndfile": soundfile.__libsndfile_version__, "reads": decodes, "m4a, mp4, video": video}


def _demo_model(report):
    """Returns how the demo model does when it really draws a face for the recording that comes with it."""
    try:
        from voice2style.pipeline import DEMO_MODEL, load

        if not DEMO_MODEL.is_file():
            report.works = False
            report.lacks.append((f"the demo model is not there ({DEMO_MODEL})",
                                 "install voice2style again, or give a model with --network"))
            return {"file": f"{DEMO_MODEL}, not there"}
        size = DEMO_MODEL.stat().st_size / 2**20
        return {"file": f"{DEMO_MODEL}, {size:.1f} MiB", **_draw(load(device="cpu"), DEMO_MODEL)}
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        report.works = False
        report.lacks.append((f"the demo model does not work ({_first_line(error)})", "install voice2style again"))
        return {"state": f"does not work: {_first_line(error)}"}


def _draw(model, path):
    """Returns what came of a face for hello.wav."""
    import warnings

    facts = {"loads": True, "licence": model.card.licence, "hears": model.hears}
    recording = path.with_name("hello.wav")
    if not model.hears or not recording.is_file():
        return facts
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture = model.face(recording)
    return {**facts, "draws": f"{picture.shape[3]} x {picture.shape[2]} pixels for {recording.name}"}


def _first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0]


def _plainly(value):
    if isinstance(value, list):
        return "; ".join(map(str, value)) if any("," in str(v) for v in value) else ", ".join(map(str, value))
    if value is None or isinstance(value, bool):
        return "not installed" if value is None else "yes" if value else "no"
    return value
