#!/usr/bin/env python3
"""Projects a picture into W or W+: finds the code that draws it best."""

import pathlib

import click

from dnnlib.command_line import BOOL, Door, Folder


@click.command(cls=Door)
@click.option("--network", metavar="FILE|URL", help="Checkpoint, or any network file that can be read here.  "
                                                    "[default: the demo model]")
@click.option("--target", required=True, metavar="FILE", help="Picture to project.")
@click.option("--num-steps", type=click.IntRange(1), default=1000, show_default=True, help="Steps of optimisation.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=303, show_default=True, help="Random seed.")
@click.option("--space", type=click.Choice(["w", "w+"], case_sensitive=False), default="w", show_default=True,
              help="w: one code for all layers, stays a face; w+: one for each layer, comes nearer.")
@click.option("--loss", type=click.Choice(["auto", "lpips", "pixels"]), default="auto", show_default=True,
              help="Distance to the target; auto is lpips where its weights are, else pixels, and says so.")
@click.option("--vgg", metavar="FILE", help="VGG16 weights vgg16-397923af.pth.  [default: looked for in "
                                            "$V2S_METRIC_WEIGHTS and $TORCH_HOME/hub/checkpoints]")
@click.option("--lpips-weights", metavar="FILE", help="LPIPS heads.  [default: those of the lpips package]")
@click.option("--save-video", type=BOOL, default=True, show_default=True,
              help="Also write proj.mp4 (proj-frames/ without imageio-ffmpeg).")
@click.option("--class", "label", type=click.IntRange(0), help="Class of a conditional network.")
@click.option("--outdir", type=Folder(), required=True, metavar="DIR", help="Where the results go.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--force-fp32", type=BOOL, default=False,
              help="Draw the result with half-precision layers in float32; the optimisation always does.")
def projector(outdir, **wishes):
    """Finds the code of a picture.

    \b
      projector.py --target face.png --network network.pkl --outdir out
      projector.py --target face.png --space w+ --vgg vgg16-397923af.pth --outdir out

    Writes target.png (cropped and resized to the network), proj.png, projected_w.npz (key w), proj.mp4.
    generate.py --projected-w projected_w.npz draws proj.png again, style_mixing.py and gen_video.py take it too.
    The target should be framed as the network's training pictures were.
    """
    from torch_utils.process import prepare_process

    prepare_process()
    from voice2style.projecting import ProjectorWishes, project_file

    project_file(ProjectorWishes(outdir=pathlib.Path(outdir), **wishes))


if __name__ == "__main__":
    projector()
