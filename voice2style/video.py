"""What the gen_video command does: a film of faces that move from one seed, code or voice to the next, in a loop."""

import contextlib
import dataclasses
import pathlib
import sys

from dnnlib.console import say, warn
from dnnlib.files import check_writable, sha256_file

_SENTENCES = {
    "voice": "AI-generated; faces compatible with these voices and what lies between them; not evidence of identity",
    "seed": "AI-generated; random faces and what lies between them, drawn without a voice; not evidence of identity",
    "codes": "AI-generated; faces from stored codes and what lies between them; not evidence of identity",
}


@dataclasses.dataclass(frozen=True)
class VideoWishes:
    """What the command line asked for. One of seeds, voices and projected_w is given."""

    output: pathlib.Path
    network: str | None = None
    seeds: tuple | None = None
    voices: tuple = ()
    projected_w: str | None = None
    shuffle_seed: int | None = None
    grid: tuple = (1, 1)  # columns, rows
    num_keyframes: int | None = None
    w_frames: int = 120
    kind: str = "cubic"
    psi: float | None = None
    fps: float = 60.0
    noise_mode: str = "const"
    vad: str = "own"
    label: int | None = None
    device: str = "auto"
    force_fp32: bool = False

    @property
    def source(self):
        """What the faces are drawn from: voice, codes or seed."""
        return "voice" if self.voices else "codes" if self.projected_w is not None else "seed"


def keyframe_order(num_codes, num_cells, *, num_keyframes=None, shuffle_seed=None):  # -> int array [cells, keyframes]
    """Returns which code stands at which keyframe of which cell of the grid; codes are used again when they run out.

    Without `num_keyframes` the codes are shared out among the cells; ValueError when that does not come out even.
    """
    import numpy as np

    if num_keyframes is None:
        if num_codes % num_cells:
            raise ValueError(f"{num_codes} faces do not fill a grid of {num_cells} cells evenly; give a multiple of "
                             f"{num_cells}, or --num-keyframes.")
        num_keyframes = num_codes // num_cells
    order = np.arange(num_cells * num_keyframes) % num_codes
    if shuffle_seed is not None:
        np.random.RandomState(shuffle_seed).shuffle(order)
    return order.reshape(num_cells, num_keyframes)


def closed_path(keyframes, *, kind="cubic"):  # array [K, ...] -> function of t
    """Returns the curve through keyframes at t = 0, 1, .. K-1 that comes back to the first at t = K, and so on.

    kind: cubic, a periodic spline, smooth to the second derivative also where it closes; or linear.
    """
    import numpy as np

    if kind not in ("cubic", "linear"):
        raise ValueError(f'the kind of interpolation is "{kind}"; allowed: cubic, linear.')
    keyframes = np.asarray(keyframes, np.float64)
    num_keyframes = len(keyframes)
    if num_keyframes == 1:
        return lambda t: keyframes[0]
    closed = np.concatenate([keyframes, keyframes[:1]])
    if kind == "linear":
        def line(t):
            index, rest = divmod(t % num_keyframes, 1)
            return closed[int(index)] * (1 - rest) + closed[int(index) + 1] * rest

        return line
    from scipy.interpolate import CubicSpline

    spline = CubicSpline(np.arange(num_keyframes + 1), closed, bc_type="periodic")
    return lambda t: spline(t % num_keyframes)


def make_video(wishes):
    """Draws the film and prints a line about it."""
    from voice2style.film import film_path
    from voice2style.naming import find_recordings
    from voice2style.signing import checked_label, open_network

    path = film_path(wishes.output)
    check_writable(path.parent, option="--output", folder=True)
    voices, faults = find_recordings(wishes.voices)
    if faults:
        raise ValueError(faults[0])
    signed = open_network(wishes.network, device=wishes.device, force_fp32=wishes.force_fp32)
    import torch  # open_network has imported it, with the manners that this takes

    if wishes.seeds is not None:
        wishes = dataclasses.replace(wishes, label=checked_label(signed.model, wishes.label))
    with torch.inference_mode():
        codes = _codes(signed.model, wishes, voices)  # [N, L, D]
        columns, rows = wishes.grid
        order = keyframe_order(len(codes), columns * rows, num_keyframes=wishes.num_keyframes,
                               shuffle_seed=wishes.shuffle_seed)
        paths = [closed_path(codes[cell].numpy(), kind=wishes.kind) for cell in order]
        film = Film(signed, wishes, paths, hashes=tuple(dict.fromkeys(sha256_file(voice) for voice in voices)))
        num_frames = order.shape[1] * wishes.w_frames
        film.write(path, num_frames)
    say(f"{len(codes)} faces, {order.shape[1]} keyframes in {columns}x{rows} cells -> {path}: {num_frames} frames, "
        f"{num_frames / wishes.fps:.1f} s, a closed loop")


def _codes(model, wishes, voices):  # -> [N, L, D] on the CPU
    """Returns the codes of all seeds, voices or stored codes, in the order given."""
    import torch

    from voice2style.faces import seed_codes
    from voice2style.latents import load_codes
    from voice2style.rendering import SEED_PSI, VOICE_PSI

    if wishes.projected_w is not None:
        if wishes.psi is not None:
            warn("note: --trunc is ignored with --projected-w, stored codes are drawn as they are.")
        return load_codes(wishes.projected_w, model).cpu()
    if wishes.seeds is not None:
        psi = SEED_PSI if wishes.psi is None else wishes.psi
        return torch.cat([seed_codes(model, seed, psi=psi, label=wishes.label) for seed in wishes.seeds]).cpu()
    model.sample_rate_hz  # noqa: B018 - raises when there is no voice path
    psi = VOICE_PSI if wishes.psi is None else wishes.psi
    return torch.cat([_voice_codes(model, voice, psi, wishes.vad) for voice in voices]).cpu()


def _voice_codes(model, path, psi, vad):  # -> [1, L, D]
    """Returns the codes of a recording, and says what was heard."""
    from voice2style.listening import listen, progress_bar

    try:
        with progress_bar(path) as progress:
            heard = listen(model, path, vad=vad, progress=progress)
    except ValueError as error:
        raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    said = f"{heard.speech_s:.1f} s of speech in {heard.recording_s:.1f} s"
    say("; ".join([f"{path}: {said}", *heard.notes]))
    return model.truncate(heard.codes, psi)


class Film:
    """Draws one frame after the other: a grid of cells, each on its own path through the codes."""

    def __init__(self, signed, wishes, paths, *, hashes=()):
        self.signed, self.wishes, self.paths, self.hashes = signed, wishes, paths, hashes
        self.seeds = ",".join(map(str, wishes.seeds or ()))
        self.options = {"from": wishes.source, "psi": wishes.psi, "kind": wishes.kind, "w_frames": wishes.w_frames,
                        "grid": list(wishes.grid), "shuffle_seed": wishes.shuffle_seed, "class": wishes.label,
                        "noise_mode": wishes.noise_mode, "force_fp32": wishes.force_fp32}

    def frame(self, index):  # -> uint8 [rows*H, columns*W, C]
        """Returns frame `index`; the first one comes again after the last."""
        import torch

        from torch_utils.images import grid, to_hwc, to_uint8
        from voice2style.faces import draw

        wishes, model = self.wishes, self.signed.model
        cells = []
        for cell, path in enumerate(self.paths):
            ws = torch.from_numpy(path(index / wishes.w_frames))[None].to(model.device, model.dtype)
            image = draw(model, ws, noise_mode=wishes.noise_mode, noise_seed=(1, "noise", index, cell),
                         force_fp32=wishes.force_fp32)
            cells.append(to_uint8(image)[0].cpu())
        return to_hwc(grid(torch.stack(cells), wishes.grid[0]))

    def write(self, path, num_frames):
        """Writes frames 0 to num_frames - 1; one at a time is held in memory."""
        from voice2style.film import open_film

        comment = self.signed.signature(seed=self.seeds, sentence=self._sentence, options=self.options)
        with open_film(path, fps=self.wishes.fps, comment=comment, write_frame=self._write_frame) as add, \
                _bar(num_frames) as tell:
            for index in range(num_frames):
                add(self.frame(index))
                tell()

    @property
    def _sentence(self):
        return _SENTENCES[self.wishes.source]

    def _write_frame(self, path, pixels):
        self.signed.write(path, pixels, seed=self.seeds, sentence=self._sentence, options=self.options,
                          audio_sha256=self.hashes)


@contextlib.contextmanager
def _bar(num_frames):
    """Yields a function that moves the progress bar by a frame; there is none when nobody is looking."""
    import tqdm

    with tqdm.tqdm(total=num_frames, desc="drawing", unit="frame", disable=None, leave=False, file=sys.stderr) as bar:
        yield bar.update
