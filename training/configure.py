"""From options to frozen settings: a preset row, then what the user said; every contradiction is one sentence."""

import dataclasses
import math
import pathlib

from dnnlib.settings import did_you_mean
from training.dataset import Dataset
from training.presets import (
    DEMO_GAN,
    GAN_PRESETS,
    JOINT_PRESETS,
    PROBE_PRESETS,
    PUBLISHED,
    VOICE_PRESETS,
    auto_row,
    published_settings,
)
from training.settings import RunSettings

TASKS = ("gan", "voice", "joint", "probe", "recogniser", "speaker")
_FIELDS = {"kimg": "total_kimg", "snap": "snapshot_ticks", "tick": "tick_kimg", "glr": "g_lr", "dlr": "d_lr",
           "map_depth": "mapping_layers", "p": "aug_p", "target": "aug_target", "freezed": "freeze_d"}
_OPTION_OF = {"total_kimg": "--kimg", "snapshot_ticks": "--snap", "tick_kimg": "--tick", "g_lr": "--glr",
              "d_lr": "--dlr", "mapping_layers": "--map-depth", "aug_p": "--p", "aug_target": "--target",
              "freeze_d": "--freezed", "freeze_mapping": "--freezeM", "freeze_embed": "--freezeE",
              "terms": "--term"}


def configure(*, task, data, cfg=None, gpus=1, resolution=None, no_se=None, activation=None, resume=None, fp32=None,
              initstrength=None, cbase=None, cmax=None, **given):
    """Returns the settings of a task; ValueError for an option that the task does not have, or that does not fit."""
    dataset = Dataset(data)
    given = {name: value for name, value in given.items() if value is not None}
    _check_finite({**given, "initstrength": initstrength})
    cfg = cfg or default_cfg(task, dataset)
    side = dataset.card.get("resolution") if resolution is None else resolution
    settings = _row(task, cfg, side, gpus, cbase, cmax)
    if fp32 is not None:
        given.setdefault("precision", "fp32" if fp32 else settings.precision)
        if fp32 and given["precision"] != "fp32":
            raise ValueError(f"--fp32=1 and --precision={given['precision']} contradict each other; give one of them.")
    ablations = {name: value for name, value in (("use_se", None if no_se is None else not no_se),
                                                 ("activation", activation)) if value is not None}
    if ablations:
        if not hasattr(settings, "encoder"):
            raise ValueError(f"--task={task} has no audio processor; --no-se and --activation are for --task=voice "
                             "and --task=joint.")
        settings = dataclasses.replace(settings, encoder={**settings.encoder, **ablations})
    if not given.get("terms"):
        given.pop("terms", None)
    if task == "gan" and resume not in (None, "noresume", "latest") and cfg != "demo":
        given = {"ada_kimg": 100.0, "ema_rampup": None, **given}  # as published: a trained network adapts faster
    if task in ("voice", "joint"):
        given = _in_iterations(given, given.get("batch", settings.batch))
    given = {_FIELDS.get(name, name): value for name, value in given.items()}
    if "steps" in given and hasattr(settings, "tick_steps"):
        given.setdefault("tick_steps", min(settings.tick_steps, given["steps"]))
    _check_augmentation(settings, given, initstrength)
    if initstrength is not None:
        given["aug_p"] = initstrength
    foreign = set(given) - {field.name for field in dataclasses.fields(settings)}
    if foreign:
        names = sorted(_OPTION_OF.get(name, "--" + name.replace("_", "-")) for name in foreign)
        raise ValueError(f"--task={task} has no option {', '.join(names)}.")
    settings = dataclasses.replace(settings, **given)
    if getattr(settings, "resume_kimg", 0) >= getattr(settings, "total_kimg", math.inf):
        raise ValueError(f"--resume-kimg={settings.resume_kimg:g} leaves nothing of --kimg={settings.total_kimg:g}, "
                         "where the run ends; give a larger --kimg.")
    return settings


def _check_finite(given):
    for name, value in given.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"--{name.replace('_', '-')} is {value}; give a finite number.")


def _in_iterations(given, batch):
    """Returns options with --kimg and --tick (thousands of clips) as iterations, which these tasks count."""
    if "kimg" in given and "steps" in given:
        raise ValueError(f"--kimg={given['kimg']:g} and --steps={given['steps']} both say how long; give one of them.")
    counts = {"steps" if name == "kimg" else "tick_steps": max(math.ceil(round(given[name] * 1000 / batch, 6)), 1)
              for name in ("kimg", "tick") if name in given}
    return {**{name: value for name, value in given.items() if name not in ("kimg", "tick")}, **counts}


def default_cfg(task, dataset):
    """Returns the row for a command without --cfg: demo for the drawn world and for other tasks, else auto."""
    return "auto" if task == "gan" and dataset.card.get("source") != "drawn world" else "demo"


def _row(task, cfg, side, gpus, cbase, cmax):
    if task == "gan":
        _known(cfg, GAN_PRESETS, task)
        if not isinstance(side, int) or side < 8 or side & (side - 1):
            raise ValueError(f"the dataset holds {side}x{side} faces; a generator needs a power of two from 8 on: "
                             "build the dataset with --resolution of such a size.")
        if cfg == "demo":
            if side not in DEMO_GAN:
                raise ValueError(f'--cfg=demo has rows for {", ".join(f"{one}x{one}" for one in DEMO_GAN)}; '
                                 f"the dataset holds {side}x{side} faces.")
            if cbase or cmax:
                raise ValueError("--cbase and --cmax are for the published rows; --cfg=demo has its own widths.")
            return DEMO_GAN[side]
        row = auto_row(side, gpus) if cfg == "auto" else PUBLISHED[cfg]
        return published_settings(row, side, cbase=cbase, cmax=cmax)[0]
    if cbase or cmax:
        raise ValueError(f"--task={task} has no option --cbase, --cmax.")
    if task in ("recogniser", "speaker"):
        from training.recogniser_settings import RecogniserSettings, SpeakerSettings

        if task == "speaker":
            return SpeakerSettings()
        if not isinstance(side, int) or side < 16 or side % 16:
            raise ValueError(f"the dataset holds {side}x{side} faces; a recogniser needs a multiple of 16: build the "
                             "dataset with --resolution of such a size.")
        return RecogniserSettings(resolution=side)
    rows = {"voice": VOICE_PRESETS, "joint": JOINT_PRESETS, "probe": PROBE_PRESETS}[task]
    _known(cfg, rows, task)
    return rows[cfg]


def _known(cfg, rows, task):
    if cfg not in rows:
        raise ValueError(f"--task={task} has no row --cfg={cfg}.{did_you_mean(cfg, rows)} There are {', '.join(rows)}.")


def _check_augmentation(settings, given, initstrength):
    if not hasattr(settings, "aug"):
        return
    aug = given.get("aug", settings.aug)
    if aug != "noaug":
        _need_module("training.augment", "--aug")
    if "aug_p" in given and aug != "fixed":
        raise ValueError("--p is for --aug=fixed; where ADA starts is --initstrength.")
    if aug == "fixed" and not given.get("aug_p"):
        raise ValueError("--aug=fixed needs its strength, --p between 0 and 1.")
    if "aug_target" in given and aug != "ada":
        raise ValueError("--target is for --aug=ada.")
    if initstrength is not None and aug != "ada":
        raise ValueError("--initstrength is for --aug=ada.")
    if "augpipe" in given and aug == "noaug":
        raise ValueError("--augpipe is of no use with --aug=noaug.")


def _need_module(name, option):
    import importlib.util

    if importlib.util.find_spec(name) is None:
        raise ValueError(f"{option} needs {name}, which this installation does not have; give --aug=noaug.")


def run_settings(settings, options, *, cfg=None, gpus=1):
    """Returns RunSettings from options; ValueError when batch, ranks, parts and groups do not divide each other."""
    wanted = {name: options[name] for name in (field.name for field in dataclasses.fields(RunSettings))
              if options.get(name) is not None}
    wanted["metrics"] = tuple(wanted.get("metrics", ()))
    if cfg == "demo":
        wanted.setdefault("grid", "1080p")  # drawing a thousand faces takes a processor core longer than a tick
    batch, group = settings.batch, getattr(settings, "mbstd_group", None) or 1
    if batch % gpus:
        raise ValueError(f"--batch={batch} is not divisible by {gpus} ranks; give a multiple of {gpus}, such as "
                         f"--batch={max(batch // gpus, 1) * gpus}.")
    mine = batch // gpus
    if "batch_gpu" not in wanted and cfg in PUBLISHED and options.get("batch") is None:
        wanted["batch_gpu"] = min(PUBLISHED[cfg].batch // PUBLISHED[cfg].ref_gpus, mine)
    part = wanted.get("batch_gpu", mine)
    if mine % part:
        raise ValueError(f"--batch-gpu={part} does not divide the {mine} samples of one rank; give one of "
                         f"{', '.join(str(k) for k in range(1, mine + 1) if mine % k == 0)}.")
    group = min(group, batch)
    if part % group:
        raise ValueError(f"a piece of {part} samples is no multiple of the {group} samples in a group of batch "
                         f"statistics; give --mbstd-group a divisor of {part}, or a larger --batch-gpu.")
    return RunSettings(**wanted)


def check_gpus(gpus, device):
    """Raises ValueError when a command asks for more GPUs than this machine has."""
    import torch

    if str(device).startswith("cuda"):
        there = torch.cuda.device_count()
        if gpus > there:
            raise ValueError(f"--gpus={gpus}, but this machine has {there}; give --gpus={max(there, 1)}, or use "
                             "torchrun on several machines.")
        if gpus > 1 and ":" in str(device):
            raise ValueError(f"--device={device} names one GPU, --gpus={gpus} wants several; give --device=cuda.")
    elif gpus > 1 and str(device) != "cpu":
        raise ValueError(f"--gpus={gpus} is for CUDA GPUs, or for --device=cpu; --device={device} has one.")


def describe(options, settings, *, task, cfg, gpus):
    """Returns the ending of the run folder's name, for published rows in the published grammar."""
    stem = pathlib.Path(options["data"]).stem
    if task != "gan" or cfg == "demo":
        return f"{stem}-{task}-{cfg}-batch{settings.batch}"
    words = [stem]
    words += ["cond"] if options.get("cond") else []
    words += [f"subset{options['subset']}"] if options.get("subset") else []
    words += ["mirror"] if options.get("mirror") else []
    words += ["mirrory"] if options.get("mirrory") else []
    words.append(f"{cfg}{gpus}" if cfg == "auto" else cfg)
    words += [f"{name}{options[name]:g}" for name in ("gamma", "kimg", "batch") if options.get(name) is not None]
    words += [options["aug"]] if options.get("aug") else []
    words += [f"{name}{options[name]:g}" for name in ("p", "target") if options.get(name) is not None]
    words += [options["augpipe"]] if options.get("augpipe") else []
    resume = options.get("resume")
    if resume is not None and resume != "latest":
        from training.transfer import RESUME_NAMES

        words.append("noresume" if resume == "noresume" else
                     f"resume{resume}" if resume in RESUME_NAMES else "resumecustom")
    words += [f"freezed{options['freezed']}"] if options.get("freezed") else []
    return "-".join(words)
