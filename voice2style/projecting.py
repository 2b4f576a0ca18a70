"""What the projector command does: a picture in; its code, the face that the code draws, and a film of the way."""

import contextlib
import dataclasses
import pathlib
import sys

from dnnlib.console import format_time, say, warn
from dnnlib.files import sha256_file
from dnnlib.interrupts import ctrl_c_ends_at_once

FILM_FPS, MOST_FRAMES = 30, 300
_SENTENCE = "AI-generated; the nearest face that a network can draw to a given picture; not evidence of identity"


@dataclasses.dataclass(frozen=True)
class ProjectorWishes:
    """What the command line asked for."""

    target: str
    outdir: pathlib.Path
    network: str | None = None
    num_steps: int = 1000
    space: str = "w"
    seed: int = 303
    save_video: bool = True
    loss: str = "auto"
    vgg: str | None = None
    lpips_weights: str | None = None
    label: int | None = None
    device: str = "auto"
    force_fp32: bool = False


def project_file(wishes):
    """Projects a picture; writes target.png, proj.png, projected_w.npz and, when wished, proj.mp4."""
    import time

    with ctrl_c_ends_at_once():
        from voice2style.projection import ProjectionSettings, project
    from torch_utils.images import write_png
    from voice2style.film import film_path
    from voice2style.latents import write_codes
    from voice2style.rendering import prepare_folder
    from voice2style.signing import checked_label, open_network
    from voice2style.target import read_target

    settings = ProjectionSettings(num_steps=wishes.num_steps, space=wishes.space, seed=wishes.seed)
    target_sha256 = sha256_file(wishes.target)
    prepare_folder(wishes.outdir)
    distance, kind = choose_distance(wishes)
    film = film_path(wishes.outdir / "proj.mp4") if wishes.save_video else None
    signed = open_network(wishes.network, device=wishes.device, force_fp32=wishes.force_fp32, channels=(1, 3))
    model = signed.model
    label = checked_label(model, wishes.label)
    studio = _Studio(signed, wishes, label, kind, target_sha256)
    target = read_target(wishes.target, *studio.size(), channels=model.generator.img_channels)
    distance = distance.to(model.device)
    start = time.monotonic()
    with studio.filming(film, target) as shoot, _bar(wishes.num_steps, kind) as tell:
        def watch(step, apart, ws):
            tell(apart)
            shoot(step, ws)

        found = project(model, target, distance, settings, label=label, watch=watch)
    pixels = studio.draw(found.ws)
    write_png(wishes.outdir / "target.png", target.permute(1, 2, 0))
    studio.write(wishes.outdir / "proj.png", pixels.permute(1, 2, 0))
    write_codes(wishes.outdir / "projected_w.npz", found.ws)
    mean, result = (apart(distance, target, drawn) for drawn in (studio.draw(found.ws_mean), pixels))
    shown = f", {film.name}" if film else ""
    say(f"{wishes.target} -> {wishes.outdir / 'proj.png'}: {kind} distance {result:.4f}, of the mean face {mean:.4f}; "
        f"{wishes.num_steps} steps in {settings.space.upper()}, {format_time(time.monotonic() - start)}; also "
        f"target.png, projected_w.npz{shown}")


def choose_distance(wishes):
    """Returns the distance to project by, and its name; says in one line when LPIPS is replaced for want of weights.

    ValueError when LPIPS, or a file for it, is asked for and not there.
    """
    from voice2style import perceptual

    if wishes.loss == "pixels":
        if wishes.vgg or wishes.lpips_weights:
            raise ValueError("--vgg and --lpips-weights are for --loss lpips, not for --loss pixels.")
        return perceptual.PixelDistance(), "pixel"
    vgg = wishes.vgg or perceptual.find_vgg()
    if vgg is not None:
        return perceptual.load_lpips(vgg, wishes.lpips_weights), "LPIPS"
    if wishes.loss == "lpips" or wishes.lpips_weights:
        raise ValueError(f"LPIPS needs weights that are not there. {perceptual.how_to_get_vgg()}")
    warn("note: the loss is the pixel distance (L1 of pixels and edges over a pyramid) instead of LPIPS, for want of "
         f"weights. {perceptual.how_to_get_vgg()}")
    return perceptual.PixelDistance(), "pixel"


def apart(distance, first, second):  # uint8 [C, H, W] twice
    """Returns the distance of two pictures."""
    import torch

    from torch_utils.images import to_float

    with torch.inference_mode():
        device = next((buffer.device for buffer in distance.buffers()), first.device)
        features = [distance.features(to_float(picture)[None].to(device)) for picture in (first, second)]
        return distance.between(*features).item()


class _Studio:
    """Draws codes with the network's own noise maps, as every other command does, and signs the pictures."""

    def __init__(self, signed, wishes, label, kind, target_sha256):
        self.signed, self.wishes = signed, wishes
        self.options = {"from": "projection", "space": wishes.space, "num_steps": wishes.num_steps, "loss": kind,
                        "class": label, "force_fp32": wishes.force_fp32, "target_sha256": target_sha256}

    def size(self):
        """Returns height and width of what the network draws."""
        return self.draw(self.signed.model.mean_codes()).shape[1:]

    def draw(self, ws):  # [1, L, D] -> uint8 [C, H, W]
        """Returns the pixels of codes."""
        import torch

        from torch_utils.images import to_uint8
        from voice2style.faces import draw

        with torch.inference_mode():
            ws = ws.to(self.signed.model.dtype)
            return to_uint8(draw(self.signed.model, ws, force_fp32=self.wishes.force_fp32))[0].cpu()

    def write(self, path, pixels):  # uint8 [H, W, C]
        """Writes a picture with its provenance; the target is named by its checksum."""
        self.signed.write(path, pixels, seed=self.wishes.seed, sentence=_SENTENCE, options=self.options)

    @contextlib.contextmanager
    def filming(self, path, target):
        """Yields a function of (step, ws) that films target and picture side by side, for ten seconds at most."""
        import torch

        from voice2style.film import open_film

        if path is None:
            yield lambda step, ws: None
            return
        num_steps = self.wishes.num_steps
        every = -(-num_steps // MOST_FRAMES)
        comment = self.signed.signature(seed=self.wishes.seed, sentence=_SENTENCE, options=self.options)
        with open_film(path, fps=FILM_FPS, comment=comment, write_frame=self.write) as add:
            def shoot(step, ws):
                if step % every == 0 or step == num_steps:
                    add(torch.cat([target, self.draw(ws)], dim=2).permute(1, 2, 0))

            yield shoot


@contextlib.contextmanager
def _bar(num_steps, kind):
    """Yields a function of the distance that moves the progress bar; there is none when nobody is looking."""
    import tqdm

    with tqdm.tqdm(total=num_steps, desc="projecting", unit="step", disable=None, leave=False, file=sys.stderr) as bar:
        def tell(apart):
            bar.set_postfix_str(f"{kind} {apart:.4f}", refresh=False)
            bar.update()

        yield tell
