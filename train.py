"""Trains a model: a face generator (gan), the voice path onto its W+ codes (voice), a trait reader (probe)."""

import dataclasses
import json
import pathlib
import sys

import click

from dnnlib.command_line import BOOL, Door, public_command


@click.command(cls=Door)
@click.option("--task", type=click.Choice(["gan", "voice", "probe"]), required=True, help="What is trained.")
@click.option("--data", required=True, help="Dataset: folder or zip made by dataset_tool.py.")
@click.option("--outdir", required=True, help="Run folders are made here; the same command goes on in its own.")
@click.option("--cfg", type=click.Choice(["demo"]), default="demo", show_default=True, help="Row of presets.py.")
@click.option("--network", help="Checkpoint with the frozen generator (--task voice).")
@click.option("--resume", help="Checkpoint to start from by name; of a lower resolution: grows it (--task gan).")
@click.option("--probe", help="Trait probe that the voice path learns from (--task voice).")
@click.option("--kimg", type=click.FloatRange(min=0.001), help="Length of the run in thousands of images.")
@click.option("--steps", type=click.IntRange(min=1), help="Length of the run in iterations (voice, probe).")
@click.option("--batch", type=click.IntRange(min=1), help="Images or clips in an iteration.")
@click.option("--gamma", type=click.FloatRange(min=0), help="Weight of R1.")
@click.option("--mirror", type=BOOL, help="Flip half of the faces, 0 or 1.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="Arithmetic of the main phases.")
@click.option("--no-se", type=BOOL, is_flag=False, flag_value=True, default=None,
              help="Ablation: no squeeze and excitation (--task voice).")
@click.option("--activation", type=click.Choice(["mish", "relu"]), help="Of the audio processor (--task voice).")
@click.option("--snap", type=click.IntRange(min=1), help="Snapshot every so many ticks.")
@click.option("--tick", type=click.FloatRange(min=0.001), help="Length of a tick in kimg.")
@click.option("--resolution", type=int, help="Side of the picture in pixels; default: the dataset's.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--desc", default=None, help="Ending of the run folder's name.")
@click.option("--device", default="cpu", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("-n", "--dry-run", is_flag=True, help="Print the whole configuration as JSON and stop.")
def main(**options):
    """Train a generator on faces, a trait probe on faces, or the voice path onto a frozen generator."""
    from torch_utils.allocator import keep_freed_memory
    from torch_utils.devices import pick_device
    from training.configure import configure

    keep_freed_memory()
    settings = configure(**{name: options[name] for name in (
        "task", "data", "cfg", "kimg", "steps", "batch", "gamma", "mirror", "precision", "snap", "tick", "resolution",
        "seed", "no_se", "activation")})
    if options["dry_run"]:
        click.echo(json.dumps({**options, "settings": dataclasses.asdict(settings)}, indent=2))
        return
    stem = pathlib.Path(options["data"]).stem
    shared = {"data": options["data"], "outdir": options["outdir"], "device": str(pick_device(options["device"])),
              "desc": options["desc"] or f"{stem}-{options['task']}-{options['cfg']}-batch{settings.batch}",
              "command": public_command("train.py", sys.argv[1:])}
    if options["task"] == "gan":
        from training.gan_loop import train_gan

        path = train_gan(settings, resume=options["resume"], **shared)
    elif options["task"] == "probe":
        from training.probe_loop import train_probe

        path = train_probe(settings, **shared)
    else:
        from training.voice_loop import train_voice

        for name, what in (("network", "the checkpoint with the frozen generator"),
                           ("probe", "the trait reader made by --task probe")):
            if options[name] is None:
                raise click.UsageError(f"--task voice needs --{name}, {what}.")
        path = train_voice(settings, network=options["network"], probe=options["probe"], **shared)
    click.echo(f"The model is {path}")


if __name__ == "__main__":
    main()
