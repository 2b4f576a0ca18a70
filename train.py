"""Trains a model: a face generator (gan), the voice path (voice), both (joint), a trait reader, a recogniser."""

import dataclasses
import json
import sys

import click

from dnnlib.command_line import BOOL, Door, public_command

_TASKS = ["gan", "voice", "joint", "probe", "recogniser", "speaker"]
_RUN = ("batch_gpu", "workers", "cache_gb", "skip_corrupt", "keep_states", "keep_snapshots", "tensorboard", "wandb",
        "curves", "allow_tf32", "nhwc", "nobench", "compile")
_FILES = ("network", "probe", "codes", "recogniser", "perceptual")
_OF_LONG_RUNS = ("batch_gpu", "workers", "cache_gb", "skip_corrupt", "keep_states", "keep_snapshots", "wandb", "curves",
                 "compile", "metrics", "judge", "num", "inception", "vgg", "img_snap", "snap_res", "resume")
_SETTINGS = ("kimg", "steps", "batch", "gamma", "mirror", "mirrory", "cond", "subset", "precision", "fp32", "glr",
             "dlr", "map_depth", "mbstd_group", "cbase", "cmax", "aug", "p", "target", "augpipe", "freezed",
             "freeze_mapping", "freeze_embed", "snap", "tick", "resolution", "seed", "no_se", "activation",
             "resume_kimg", "initstrength", "voice_augment", "train_generator")


def _options(*groups):
    def decorate(function):
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function
    return decorate


_GENERAL = [
    click.option("--task", type=click.Choice(_TASKS), default="gan", show_default=True, help="What is trained."),
    click.option("--data", required=True, help="Dataset: folder or zip made by dataset_tool.py."),
    click.option("--outdir", required=True, help="Run folders are made here; the same command goes on in its own."),
    click.option("--cfg", help="Row of presets.py: auto, stylegan2, paper256, paper512, paper1024, cifar, demo (gan); "
                               "demo, paper, paper-latent, paper-lr05 (voice); demo, paper (joint). Without it: demo "
                               "for the drawn world, else auto."),
    click.option("--gpus", type=click.IntRange(min=1), help="Ranks on this machine; under torchrun: its ranks."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps."),
    click.option("--seed", type=int, default=0, show_default=True),
    click.option("--desc", help="Ending of the run folder's name."),
    click.option("-n", "--dry-run", is_flag=True, help="Print the whole configuration as JSON and stop."),
]
_LENGTH = [
    click.option("--kimg", type=click.FloatRange(min=0.001), help="Length of the run in thousands of images or clips."),
    click.option("--steps", type=click.IntRange(min=1), help="Length of the run in iterations (not gan)."),
    click.option("--tick", type=click.FloatRange(min=0.001), help="Length of a tick in kimg."),
    click.option("--snap", type=click.IntRange(min=1), help="Snapshot every so many ticks."),
    click.option("--img-snap", type=click.IntRange(min=1), help="Pictures every so many ticks; default: with --snap."),
    click.option("--snap-res", type=click.Choice(["1080p", "4k", "8k"]), help="Largest size of a sheet of pictures."),
    click.option("--metrics", help="Measured at snapshots: names with commas as in calc_metrics.py --list, or none."),
    click.option("--judge", metavar="inception|drawn|PATH", help="Who looks at pictures for the metrics; the path of a "
                                                                 "trait probe for world_traits."),
    click.option("--num", type=click.IntRange(min=2), help="So many generated pictures for the metrics instead of the "
                                                           "number in their names."),
    click.option("--inception", metavar="FILE", help="Weights of Inception for the metrics, by file."),
    click.option("--vgg", metavar="FILE", help="Weights of VGG16 for the metrics, by file."),
    click.option("--keep-states", type=click.IntRange(min=1), help="So many states stay (default 2)."),
    click.option("--keep-snapshots", type=click.IntRange(min=0), help="So many snapshots stay, and the best; 0: all."),
]
_NETWORKS = [
    click.option("--network", help="Any readable checkpoint with the generator (voice, joint)."),
    click.option("--resume", help="Network to start from by name of its tensors: a file, an address, ffhq256, ffhq512, "
                                  "ffhq1024, celebahq256, lsundog256; latest: go on in the newest run; noresume."),
    click.option("--resume-kimg", "--nkimg", "resume_kimg", type=click.FloatRange(min=0), help="Where kimg starts."),
    click.option("--freezed", "--freezeD", "freezed", type=click.IntRange(min=0), help="Freeze-D: layers held still."),
    click.option("--freezeM", "freeze_mapping", type=click.IntRange(min=0), help="Layers of the mapping held still."),
    click.option("--freezeE", "freeze_embed", type=click.IntRange(min=0), help="1: label embeddings are held still."),
    click.option("--cbase", type=click.IntRange(min=1), help="Feature maps are cbase / resolution …"),
    click.option("--cmax", type=click.IntRange(min=1), help="… and at most cmax."),
    click.option("--map-depth", type=click.IntRange(min=1), help="Layers of the mapping network."),
    click.option("--mbstd-group", type=click.IntRange(min=1), help="Samples in a group of D's batch statistics."),
    click.option("--no-se", type=BOOL, is_flag=False, flag_value=True, default=None,
                 help="Ablation: no squeeze and excitation (voice, joint)."),
    click.option("--activation", type=click.Choice(["mish", "relu"]), help="Of the audio processor (voice, joint)."),
    click.option("--train-generator", type=BOOL, help="Let the generator move as well (joint)."),
]
_DATA = [
    click.option("--resolution", type=int, help="Side of the picture in pixels; default: the dataset's."),
    click.option("--cond", type=BOOL, help="Labels of the dataset condition the networks."),
    click.option("--subset", type=click.IntRange(min=1), help="Only so many faces."),
    click.option("--mirror", type=BOOL, help="Flip half of the faces, 0 or 1."),
    click.option("--mirrory", type=BOOL, help="Flip half of the faces upside down."),
    click.option("--aug", type=click.Choice(["noaug", "ada", "fixed"]), help="Augmentation of what D sees."),
    click.option("--p", type=click.FloatRange(0, 1), help="Strength for --aug=fixed."),
    click.option("--target", type=click.FloatRange(-1, 1), help="Mean sign of D on real faces for --aug=ada."),
    click.option("--augpipe", help="blit, geom, color, filter, noise, cutout, bg, bgc, bgcf, bgcfn or bgcfnc."),
    click.option("--initstrength", type=click.FloatRange(0, 1), help="Where ADA's p starts."),
    click.option("--voice-augment", type=BOOL, help="Change the voices: noise, speed, gain, band, room, masks."),
    click.option("--workers", type=click.IntRange(min=0), help="Processes a rank that read data too large for memory."),
    click.option("--cache-gb", type=click.FloatRange(min=0), help="Data up to this size is kept in memory (1)."),
    click.option("--skip-corrupt", type=click.IntRange(min=0), help="So many damaged items are passed over (10)."),
]
_OBJECTIVES = [
    click.option("--batch", type=click.IntRange(min=1), help="Images or clips in an iteration, over all ranks."),
    click.option("--batch-gpu", type=click.IntRange(min=1), help="Samples at a time on a rank; the same result."),
    click.option("--gamma", type=click.FloatRange(min=0), help="Weight of R1."),
    click.option("--glr", type=click.FloatRange(min=0, min_open=True), help="Learning rate of G."),
    click.option("--dlr", type=click.FloatRange(min=0, min_open=True), help="Learning rate of D."),
    click.option("--term", multiple=True, metavar="NAME=WEIGHT",
                 help="An objective by its name in training/losses/terms.py; may be given again (voice, joint)."),
    click.option("--perceptual", help="What the terms that compare pictures look through: "
                                      "pixels, drawn, or a file of weights."),
    click.option("--probe", help="Trait probe that the voice path learns from."),
    click.option("--codes", help="Known W+ codes of the dataset's faces."),
    click.option("--recogniser", help="Face recogniser for the identity terms: .safetensors or ONNX."),
]
_SPEED = [
    click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), help="Arithmetic of the main phases."),
    click.option("--fp32", type=BOOL, help="No half precision."),
    click.option("--allow-tf32", type=BOOL, help="TensorFloat-32 in convolutions and products."),
    click.option("--nhwc", type=BOOL, help="Accepted: the fast memory layout is chosen by itself."),
    click.option("--compile", type=BOOL, help="torch.compile in the main phases; made for GPUs."),
    click.option("--nobench", type=BOOL, help="No search for the fastest convolutions."),
    click.option("--tensorboard", type=BOOL, default=True, help="Write events when TensorBoard is installed."),
    click.option("--wandb", type=BOOL, help="Send statistics to Weights & Biases."),
    click.option("--curves", type=BOOL, help="Draw curves.png at snapshots."),
]


@click.command(cls=Door)
@_options(_GENERAL, _LENGTH, _DATA, _NETWORKS, _OBJECTIVES, _SPEED)
def main(**options):
    """Train a generator on faces, the voice path onto a generator, both together, or a judge of faces or voices.

    The same command again goes on where the run was stopped. Boolean options take a value: --mirror=1.
    """
    from torch_utils.process import prepare_process

    prepare_process()
    from torch_utils import distributed
    from torch_utils.devices import pick_device
    from training.configure import check_gpus, configure, default_cfg, describe, run_settings
    from training.dataset import Dataset
    from training.launch import build_operations, launch
    from training.losses.terms import parse_terms
    from training.snapshot_metrics import measuring_options, metric_names

    device, task = str(pick_device(options["device"])), options["task"]
    gpus = _ranks(options["gpus"], distributed.launched_ranks())
    _refuse_foreign(task, options, gpus)
    cfg = options["cfg"] = options["cfg"] or default_cfg(task, Dataset(options["data"]))
    settings = configure(task=task, data=options["data"], cfg=cfg, gpus=gpus, resume=options["resume"],
                         terms=parse_terms(options["term"]), **{name: options[name] for name in _SETTINGS})
    names = metric_names(options["metrics"])
    run = run_settings(settings, {**{name: options[name] for name in _RUN}, "batch": options["batch"], "metrics": names,
                                  "measuring": measuring_options(options), "image_ticks": options["img_snap"],
                                  "grid": options["snap_res"], "resume_latest": options["resume"] == "latest"},
                       cfg=cfg, gpus=gpus)
    if set(options["desc"] or "") & {"/", "\\"}:
        raise click.UsageError(f"--desc={options['desc']} is the ending of one folder's name; leave / and \\ out.")
    desc = options["desc"] or describe(options, settings, task=task, cfg=cfg, gpus=gpus)
    if options["dry_run"]:
        click.echo(json.dumps({**options, "gpus": gpus, "desc": desc, "settings": dataclasses.asdict(settings),
                               "run": dataclasses.asdict(run)}, indent=2))
        return
    if distributed.launched_ranks() is None:
        check_gpus(gpus, device)
    request = {"task": task, "settings": settings, "run": run, "arguments": {
        "data": options["data"], "outdir": options["outdir"], "device": device, "desc": desc,
        "command": public_command("train.py", sys.argv[1:]), **_inputs(task, options)}}
    build_operations(device)
    path = launch(request, gpus=gpus)
    if path is not None:
        click.echo(f"The model is {path}")


def _ranks(wanted, launched):
    """Returns the number of ranks: torchrun's, or --gpus."""
    if launched is not None and wanted not in (None, launched):
        raise click.UsageError(f"--gpus={wanted}, but torchrun started {launched} ranks; leave --gpus out.")
    return launched or wanted or 1


def _refuse_foreign(task, options, gpus):
    """Raises a usage error for an option that has no meaning in this task."""
    foreign = {"gan": _FILES, "voice": (), "joint": ()}.get(task, (*_FILES, *_OF_LONG_RUNS))
    if task != "gan" and options["resume"] not in (None, "latest"):
        foreign = (*foreign, "resume")
    found = [name for name in foreign if options[name] not in (None, ())]
    if found:
        raise click.UsageError(f"--task={task} has no option {', '.join('--' + n.replace('_', '-') for n in found)}.")
    if task in ("probe", "recogniser", "speaker") and gpus > 1:
        raise click.UsageError(f"--task={task} runs on one device; leave --gpus and torchrun out.")


def _inputs(task, options):
    """Returns the networks and files that a task takes; a usage error names what it lacks."""
    if task == "gan":
        from training.transfer import check_resume

        resume = options["resume"]
        check_resume(resume)
        return {"resume": None if resume in ("noresume", "latest") else resume}
    if task in ("probe", "recogniser", "speaker"):
        return {}
    if options["network"] is None:
        raise click.UsageError(f"--task {task} needs --network, the checkpoint with the generator.")
    given = {name: options[name] for name in ("network", "probe", "codes", "recogniser", "perceptual")}
    if task == "voice" and not any(given[name] for name in ("probe", "codes", "recogniser")) and not options["term"]:
        raise click.UsageError("--task voice needs something to learn from: --probe, the trait reader made by --task "
                               "probe, --codes, --recogniser or --term.")
    return given


if __name__ == "__main__":
    main()
