#!/usr/bin/env python3
"""Makes a film: faces that move from one seed, stored code or voice to the next, in a closed loop."""

import pathlib

import click

from dnnlib.command_line import BOOL, Door, GridSize, SeedRange
from voice2style.command_line import Psi


@click.command(cls=Door)
@click.argument("more", nargs=-1, metavar="[FILE|FOLDER]...")
@click.option("--network", metavar="FILE|URL", help="Checkpoint, or any network file that can be read here.  "
                                                    "[default: the demo model]")
@click.option("--seeds", type=SeedRange(), help="Seeds such as 0,3,5-9.")
@click.option("--wav", multiple=True, metavar="FILE|FOLDER",
              help="Recordings: the face moves from one speaker to the next. Repeat it, or list more names after it.")
@click.option("--projected-w", metavar="NPZ", help="Stored codes, key w [N, L, D].")
@click.option("--shuffle-seed", type=click.IntRange(0, 2**32 - 1), help="Shuffle the order by this seed.")
@click.option("--grid", type=GridSize(), default="1x1", show_default=True, help="Cells side by side, such as 4x2.")
@click.option("--num-keyframes", type=click.IntRange(1),
              help="Keyframes of each cell.  [default: as many as there are faces for it]")
@click.option("--w-frames", type=click.IntRange(1), default=120, show_default=True,
              help="Frames from one keyframe to the next.")
@click.option("--kind", type=click.Choice(["cubic", "linear"]), default="cubic", show_default=True,
              help="Interpolation between keyframes.")
@click.option("--trunc", "psi", type=Psi(), help="Truncation psi.  [default: 0.7 for voices, 1 for seeds]")
@click.option("--output", required=True, metavar="FILE.mp4|DIR",
              help="The film; a name without .mp4 is a folder for PNG frames.")
@click.option("--fps", type=click.FloatRange(1, 240), default=60, show_default=True, help="Frames a second.")
@click.option("--noise-mode", type=click.Choice(["const", "random", "none"]), default="const", show_default=True,
              help="Noise inputs of the generator; random flickers.")
@click.option("--vad", type=click.Choice(["own", "silero", "none"]), default="own", show_default=True,
              help="What finds the speech in a recording.")
@click.option("--class", "label", type=click.IntRange(0), help="Class of a conditional network.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--force-fp32", type=BOOL, default=False, help="Compute half-precision layers in float32.")
def gen_video(wav, more, seeds, projected_w, output, **wishes):
    """Makes a film of faces in a closed loop.

    \b
      gen_video.py --seeds 0-7 --grid 2x2 --network network.pkl --output lerp.mp4
      gen_video.py --wav anna.wav bert.wav carla.wav --output speakers.mp4
      gen_video.py --projected-w projected_w.npz --w-frames 60 --output frames

    mp4 needs imageio-ffmpeg; without it NAME.mp4 becomes the folder NAME-frames with one PNG for each frame.
    """
    voices = (*wav, *more)
    if (bool(voices), seeds is not None, projected_w is not None).count(True) != 1:
        raise click.UsageError("say what the film is of: --seeds 0-7, --wav FILES, or --projected-w FILE.npz; "
                               "one of them.")
    from torch_utils.process import prepare_process

    prepare_process()
    from voice2style.video import VideoWishes, make_video

    make_video(VideoWishes(pathlib.Path(output), seeds=seeds, voices=voices, projected_w=projected_w, **wishes))


if __name__ == "__main__":
    gen_video()
