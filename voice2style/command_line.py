"""The generate command, `generate.py` and `voice2style`: options in, one call out."""

import math
import pathlib
import sys

import click

import voice2style
from dnnlib.command_line import BOOL, BadInput, Door, Folder, GridSize, SeedRange

LOWEST_PSI, HIGHEST_PSI = -1.0, 2.0


class Psi(click.ParamType):
    """A truncation psi."""

    name = "psi"

    def convert(self, value, param, ctx):
        try:
            psi = float(value)
        except (TypeError, ValueError):
            psi = math.nan
        if not LOWEST_PSI <= psi <= HIGHEST_PSI:
            raise BadInput(f"--trunc {value} is out of range: give a number from {LOWEST_PSI:g} (the opposite face) "
                           f"over 0 (the mean face) and 1 (no truncation) to {HIGHEST_PSI:g}.")
        return psi


class Sheet(click.ParamType):
    """A boolean, or the size of a contact sheet: 1, 0, true, false, 4x2."""

    name = "bool|WxH"

    def convert(self, value, param, ctx):
        if isinstance(value, (bool, tuple)):
            return value
        return GridSize().convert(value, param, ctx) if set("x,") & set(value.lower()[1:]) \
            else BOOL.convert(value, param, ctx)


def _print_version(ctx, _, wanted):
    if wanted:
        click.echo(f"voice2style {voice2style.__version__}")
        ctx.exit()


@click.command(cls=Door)
@click.argument("more", nargs=-1, metavar="[FILE|FOLDER]...")
@click.option("--wav", multiple=True, metavar="FILE|FOLDER",
              help="Recording (wav, flac, ogg, mp3, ...) or folder of them, searched through all levels. "
                   "Repeat it, or list more names after the first: --wav *.wav")
@click.option("--outdir", type=Folder(), required=True, metavar="DIR",
              help="Where the pictures go. Made when it is not there; files of the same name are replaced.")
@click.option("--network", metavar="FILE|URL", help="Checkpoint, or any network file that can be read here.  "
                                                    "[default: the demo model]")
@click.option("--trunc", "psi", type=Psi(), help="Truncation psi: 0 the mean face, 1 none.  "
                                                 "[default: 0.7 for voices, 1 for seeds]")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=1, show_default=True,
              help="Seed of what is sampled for a voice: fine styles of further faces, random noise.")
@click.option("--num-faces", type=click.IntRange(1, 10000), default=1, show_default=True, metavar="K",
              help="Faces for each voice. Face 0 is the encoder's answer; the others keep its coarse styles and "
                   "sample the fine ones.")
@click.option("--num-coarse", type=click.IntRange(1), metavar="L",
              help="How many style layers follow the voice in the further faces.  [default: 8, but six are left]")
@click.option("--grid", type=Sheet(), default=False, help="Also write grid.png, a contact sheet of everything drawn.")
@click.option("--seeds", type=SeedRange(), help="Without a voice: faces for seeds such as 0,3,5-9.")
@click.option("--projected-w", metavar="NPZ", help="Without a voice: faces for stored codes, key w [N, L, D].")
@click.option("--class", "label", type=click.IntRange(0), help="Class of a conditional network.")
@click.option("--noise-mode", type=click.Choice(["const", "random", "none"]), default="const", show_default=True,
              help="Noise inputs of the generator.")
@click.option("--vad", type=click.Choice(["own", "silero", "none"]), default="own", show_default=True,
              help="What finds the speech in a recording; silero is the extra [vad], none keeps the pauses.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--force-fp32", type=BOOL, default=False, help="Compute half-precision layers in float32.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True,
              help="Of the drawing on a processor. auto: bf16 from 512x512 on where the processor has it, else fp32.")
@click.option("--backend", type=click.Choice(["torch", "openvino"]), default="torch", show_default=True,
              help="What computes the pictures; openvino is an extra.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
              help="Print the version and exit.")
def generate(wav, more, outdir, seeds, projected_w, **wishes):
    """Draws faces for voices, for seeds, or for stored codes.

    \b
      generate.py --wav hello.wav --outdir out
      generate.py --wav recordings/ --num-faces 4 --grid=1 --outdir out
      generate.py --seeds 0,3,5-9 --network network.pkl --trunc 0.7 --outdir out

    Writes NAME.png and NAME.npz (key w, [1, L, D]); NAME-0 ... for several faces; seed0000.png; proj00.png.
    Every picture says inside that it is AI-generated. A voice does not tell who somebody is: a face drawn
    here is one of many that fit, and no evidence of identity.

    Exit code 0: everything was done. 2: something was not (a line on stderr says what and why; the other
    files are done). 130: interrupted.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name that the terminal cannot show is no failure
    voices = (*wav, *more)
    if seeds is not None and projected_w is not None:
        click.echo("note: --seeds is ignored with --projected-w.", err=True)
    if voices and (seeds is not None or projected_w is not None):
        raise click.UsageError("--wav draws from a voice, --seeds and --projected-w without one: give one of them.")
    if not voices and seeds is None and projected_w is None:
        raise click.UsageError("say what to draw: --wav FILE for a voice, --seeds 0-9, or --projected-w FILE.npz.")
    if not voices and (wishes["num_faces"] > 1 or wishes["num_coarse"] is not None):
        raise click.UsageError("--num-faces and --num-coarse are for voices; without one, give more --seeds.")
    if wishes["force_fp32"] and wishes["precision"] == "bf16":
        raise click.UsageError("--force-fp32=1 and --precision bf16 contradict each other: give one of them.")
    _generate(voices, seeds, projected_w, outdir, wishes)


def _generate(voices, seeds, projected_w, outdir, wishes):
    from torch_utils.process import prepare_process

    prepare_process()
    from voice2style import rendering

    wishes = rendering.Wishes(outdir=pathlib.Path(outdir), **wishes)
    if voices:
        if not rendering.draw_voices(voices, wishes):
            raise click.exceptions.Exit(2)
    elif projected_w is not None:
        rendering.draw_projected(projected_w, wishes)
    else:
        rendering.draw_seeds(seeds, wishes)
