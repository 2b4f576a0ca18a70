#!/usr/bin/env python3
"""Mixes styles: pictures that take some style layers from the columns and the others from the rows."""

import pathlib

import click

from dnnlib.command_line import BOOL, Door, Folder, NumRange, SeedRange
from voice2style.command_line import Psi


@click.command(cls=Door)
@click.option("--network", metavar="FILE|URL", help="Checkpoint, or any network file that can be read here.  "
                                                    "[default: the demo model]")
@click.option("--rows", type=SeedRange(), help="Seeds of the rows, such as 85,100,75.")
@click.option("--cols", type=SeedRange(), help="Seeds of the columns, such as 55,821,1789.")
@click.option("--row-codes", metavar="NPZ", help="Stored codes (key w) as rows, instead of --rows.")
@click.option("--col-codes", metavar="NPZ", help="Stored codes (key w) as columns, instead of --cols.")
@click.option("--styles", type=NumRange(), help="Style layers that come from the columns.  [default: 0-6]")
@click.option("--trunc", "psi", type=Psi(), help="Truncation psi of seeds.  [default: 1, none]")
@click.option("--noise-mode", type=click.Choice(["const", "random", "none"]), default="const", show_default=True,
              help="Noise inputs of the generator.")
@click.option("--class", "label", type=click.IntRange(0), help="Class of a conditional network.")
@click.option("--outdir", type=Folder(), required=True, metavar="DIR", help="Where the pictures go.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--force-fp32", type=BOOL, default=False, help="Compute half-precision layers in float32.")
def style_mixing(rows, cols, row_codes, col_codes, styles, outdir, **wishes):
    """Draws rows x columns of mixed faces.

    \b
      style_mixing.py --rows 85,100,75 --cols 55,821,1789 --styles 0-6 --network network.pkl --outdir out
      style_mixing.py --row-codes anna.npz --cols 0-5 --outdir out

    Writes <row>-<col>.png for every pair, <row>-<row>.png and <col>-<col>.png for the rows and columns by
    themselves, and grid.png with all of them. Rows and columns from files are called row0, row1, col0 ...
    """
    for name, seeds, codes in (("row", rows, row_codes), ("col", cols, col_codes)):
        if (seeds is None) == (codes is None):
            raise click.UsageError(f"give either --{name}s SEEDS or --{name}-codes FILE.npz.")
    if rows is None and cols is None and wishes["psi"] is not None:
        click.echo("note: --trunc is ignored, stored codes are drawn as they are.", err=True)
    from torch_utils.process import prepare_process

    prepare_process()
    from voice2style.mixing import MixingWishes, mix_styles

    mix_styles(MixingWishes(pathlib.Path(outdir), rows=rows, cols=cols, row_codes=row_codes, col_codes=col_codes,
                            styles=styles, **wishes))


if __name__ == "__main__":
    style_mixing()
