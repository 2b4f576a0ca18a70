#!/usr/bin/env python3
"""Reads networks in any form, running nothing in them, and writes them in the forms that others read."""

import click

from dnnlib.command_line import BOOL, Door
from dnnlib.console import say, warn

FORMS = ("voice2style", "plain", "rosinality", "onnx")


@click.command(cls=Door)
@click.option("--source", required=True, metavar="FILE|URL", help="Any readable file: path, file:// or http(s)://.")
@click.option("--dest", metavar="FILE", help="Where to write: NAME.safetensors, NAME.pt or NAME.onnx.")
@click.option("--format", "form", type=click.Choice(FORMS), help="The form to write.  [default: by the suffix of "
                                                                  "--dest; .safetensors means voice2style]")
@click.option("--overwrite", type=BOOL, default=False, show_default=True, help="Replace a file that is there.")
@click.option("--list", "names", type=BOOL, is_flag=False, flag_value=True, default=False,
              help="Print names, shapes and types of the tensors, and stop.")
@click.option("--info", type=BOOL, is_flag=False, flag_value=True, default=False,
              help="Print what the file is, its configuration and its card, and stop.")
def convert(source, dest, form, overwrite, names, info):
    """Converts networks.

    \b
      convert.py --source network.pkl --info
      convert.py --source network.pkl --dest network.safetensors
      convert.py --source network.safetensors --dest network.pt
      convert.py --source network.safetensors --dest names.safetensors --format plain
      convert.py --source model.safetensors --dest model.onnx

    Files of torch and .safetensors are read back and held against the original, ONNX graphs are run in
    onnxruntime, before they appear. What a form has no place for is said on stderr.

    Exit code 0: written, or printed. 2: not (a line on stderr says why; nothing was written).
    """
    if names or info:
        from voice2style.writers import listing

        lines = [*(listing.info(source) if info else []), *(listing.listing(source) if names else [])]
        say("\n".join(lines))
        return
    if dest is None:
        raise click.UsageError("say where to write with --dest, or look at the file with --list or --info.")
    from voice2style import writers

    done = writers.convert(source, dest, form=form, overwrite=overwrite)
    for note in done.notes:
        warn(f"note: {note}")
    for path in done.paths:
        say(f"{path}: {writers.WRITERS[done.form].title}, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    convert()
