"""What the generate command does: recordings, seeds or stored codes in; pictures, codes and one line each out."""

import dataclasses
import pathlib
import tempfile

from dnnlib.console import say, warn
from dnnlib.files import sha256_file
from dnnlib.interrupts import ctrl_c_ends_at_once
from torch_utils.images import PNG_CHANNELS

VOICE_PSI, SEED_PSI = 0.7, 1.0  # the defaults of --trunc: for a voice, and (as StyleGAN2 has it) for seeds


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What the command line asked for, apart from what to draw."""

    outdir: pathlib.Path
    network: str | None = None
    device: str = "auto"
    psi: float | None = None
    seed: int = 1
    noise_mode: str = "const"
    vad: str = "own"
    num_faces: int = 1
    num_coarse: int | None = None
    label: int | None = None
    force_fp32: bool = False
    precision: str = "auto"
    backend: str = "torch"
    grid: bool | tuple = False  # True, or (columns, rows)


def draw_voices(given, wishes):
    """Draws faces for recordings and folders of them; returns True when every one of them could be done.

    Writes <name>.png and <name>.npz (key w, [1, L, D]) for each, or <name>-0 … for several faces, and prints
    a line for each. A recording that cannot be used costs one line on stderr; the others are still done.
    """
    from voice2style.naming import find_recordings, unique_names

    paths, faults = find_recordings(given)
    for fault in faults:
        warn(f"Error: {fault}")
    if not paths:
        return False
    prepare_folder(wishes.outdir)
    studio = Studio.open(wishes)
    studio.need_voice_path()
    names = unique_names(paths, reserved=("grid",) if wishes.grid else ())
    num_failed = len(faults)
    for path, name in zip(paths, names):
        try:
            studio.draw_voice(path, name)
        except BrokenPipeError:
            raise  # nobody reads our lines any more
        except (ValueError, OSError) as error:
            num_failed += 1
            warn(f"Error: {_about(path, error)}")
    studio.write_sheet()
    if num_failed and len(paths) + len(faults) > 1:
        warn(f"{num_failed} of {len(paths) + len(faults)} failed.")
    return not num_failed


def draw_seeds(seeds, wishes):
    """Draws a face for each seed, z = RandomState(seed).randn(1, z_dim), as seed%04d.png."""
    prepare_folder(wishes.outdir)
    studio = Studio.open(wishes)
    for seed in dict.fromkeys(seeds):
        studio.draw_seed(seed)
    studio.write_sheet()


def draw_projected(path, wishes):
    """Draws the codes stored in an .npz file (key w, [N, L, D]) as proj%02d.png."""
    from voice2style.latents import fitted, read_codes

    codes = read_codes(path)
    if wishes.psi is not None:
        warn("note: --trunc is ignored with --projected-w, stored codes are drawn as they are.")
    prepare_folder(wishes.outdir)
    studio = Studio.open(wishes)
    codes = fitted(codes, studio.model.num_ws, studio.model.w_dim, where=f'"{path}"')
    for index, code in enumerate(codes):
        studio.draw_codes(code, index)
    studio.write_sheet()


class Studio:
    """A loaded model, the wishes, and what was drawn so far."""

    def __init__(self, model, name, sha256, wishes):
        self.model, self.model_name, self.model_sha256, self.wishes = model, name, sha256, wishes
        self.pixels, self.hashes, self.seeds = [], [], []  # for the contact sheet
        self.kind = None

    @classmethod
    def open(cls, wishes):
        """Returns a studio with the network of the wishes; ValueError when they do not fit it."""
        with ctrl_c_ends_at_once():
            from voice2style.pipeline import check_channels, load, network_file

        path = network_file(wishes.network)
        model = load(path, device=wishes.device)
        check_channels(model, PNG_CHANNELS, name=path)
        for note in model.card.source.get("notes", []):
            warn(f"note: {path.name}: {note}")
        studio = cls(model, path.name if wishes.network else "voice2style demo model", sha256_file(path), wishes)
        studio._check_label()
        model.accelerate(precision="fp32" if wishes.force_fp32 else wishes.precision, backend=wishes.backend)
        return studio

    def need_voice_path(self):
        """Raises ValueError when the model cannot hear, or cannot give as many faces as are wanted."""
        from voice2style.faces import checked_num_coarse

        self.model.sample_rate_hz  # noqa: B018 - raises when there is no voice path
        if self.wishes.num_faces > 1:
            checked_num_coarse(self.model, self.wishes.num_coarse)

    def draw_voice(self, path, name):
        """Draws the faces of one recording, writes them and their codes, and prints the line about it."""
        import torch

        from voice2style.faces import draw, face_codes
        from voice2style.listening import listen, progress_bar

        wishes, psi = self.wishes, self._psi(VOICE_PSI)
        with torch.inference_mode():
            with progress_bar(path) as progress:
                heard = listen(self.model, path, vad=wishes.vad, progress=progress)
            audio = sha256_file(path)
            for index in range(wishes.num_faces):
                ws = face_codes(self.model, heard.codes, psi=psi, seed=wishes.seed, index=index,
                                num_coarse=wishes.num_coarse, label=wishes.label)
                image = draw(self.model, ws, noise_mode=wishes.noise_mode, force_fp32=wishes.force_fp32,
                             noise_seed=(wishes.seed, "noise", index))
                stem = name if wishes.num_faces == 1 else f"{name}-{index}"
                options = {"from": "voice", "psi": psi, "vad": wishes.vad, "face": index, "mean_face": heard.is_mean}
                self._keep(image, stem, wishes.seed, options, audio)
                self._write_codes(stem, ws)
        say(_line(path, heard, self.wishes, name))

    def draw_seed(self, seed):
        """Draws one seed and writes seed%04d.png."""
        import torch

        from voice2style.faces import draw, seed_codes

        psi = self._psi(SEED_PSI)
        with torch.inference_mode():
            ws = seed_codes(self.model, seed, psi=psi, label=self.wishes.label)
            image = draw(self.model, ws, noise_mode=self.wishes.noise_mode, noise_seed=(seed, "noise"),
                         force_fp32=self.wishes.force_fp32)
        path = self._keep(image, f"seed{seed:04d}", seed, {"from": "seed", "psi": psi})
        say(f"seed {seed} -> {path}")

    def draw_codes(self, code, index):
        """Draws one stored code [L, D] and writes proj%02d.png."""
        import torch

        from voice2style.faces import draw

        with torch.inference_mode():
            ws = torch.from_numpy(code)[None].to(self.model.device, self.model.dtype)
            image = draw(self.model, ws, noise_mode=self.wishes.noise_mode, force_fp32=self.wishes.force_fp32,
                         noise_seed=(self.wishes.seed, "noise", index))
        path = self._keep(image, f"proj{index:02d}", self.wishes.seed, {"from": "codes", "index": index})
        say(f"code {index} -> {path}")

    def write_sheet(self):
        """Writes grid.png with everything that was drawn, when that was wished."""
        wishes = self.wishes
        if not wishes.grid or not self.pixels:
            return
        import torch

        from torch_utils.images import default_columns, grid, to_hwc

        num_images = len(self.pixels)
        columns, rows = wishes.grid if isinstance(wishes.grid, tuple) else (default_columns(num_images), 1)
        if isinstance(wishes.grid, tuple) and num_images > columns * rows:
            warn(f"note: {num_images} pictures do not fit {columns}x{rows}; the contact sheet gets more rows.")
        sheet = to_hwc(grid(torch.stack(self.pixels), columns, min_rows=rows))
        options = {"from": self.kind, "contact_sheet": num_images, "columns": columns}
        seeds = ",".join(map(str, dict.fromkeys(self.seeds)))
        path = self._write("grid", sheet, seeds, options, tuple(dict.fromkeys(self.hashes)))
        say(f"contact sheet of {num_images} -> {path}")

    def _keep(self, image, stem, seed, options, audio=None):
        """Writes a picture [1, C, H, W], remembers it for the contact sheet when one is wished; returns the path."""
        from torch_utils.images import to_hwc, to_uint8

        pixels = to_uint8(image)[0].cpu()
        path = self._write(stem, to_hwc(pixels), seed, options, (audio,) if audio else ())
        self.kind = options["from"]
        if self.wishes.grid:
            self.pixels.append(pixels)
            self.seeds.append(seed)
            self.hashes += [audio] if audio else []
        return path

    def _write(self, stem, pixels, seed, options, hashes):
        from voice2style.provenance import SENTENCES, Provenance, write_picture

        wishes = self.wishes
        shared = {"noise_mode": wishes.noise_mode, "num_faces": wishes.num_faces, "class": wishes.label,
                  "num_coarse": wishes.num_coarse, "force_fp32": wishes.force_fp32,
                  "precision": wishes.precision, "backend": wishes.backend}
        path = wishes.outdir / f"{stem}.png"
        write_picture(path, pixels, Provenance(
            model=self.model_name, model_sha256=self.model_sha256, seed=str(seed), options={**shared, **options},
            audio_sha256=hashes, sentence=SENTENCES[options["from"]]))
        return path

    def _write_codes(self, stem, ws):
        from voice2style.latents import write_codes

        write_codes(self.wishes.outdir / f"{stem}.npz", ws)

    def _psi(self, default):
        return default if self.wishes.psi is None else self.wishes.psi

    def _check_label(self):
        """Warns about a class that has no meaning; one that is missing or wrong is refused where it is needed."""
        if self.wishes.label is not None and not self.model.generator.c_dim:
            warn("note: --class is ignored, this network is not conditional.")


def prepare_folder(folder):
    """Makes the output folder and tries to write into it; ValueError when that does not work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f'--outdir "{folder}" is not a folder: a file of that name is in the way.') from error
    except OSError as error:
        raise ValueError(f'cannot write into --outdir "{folder}": {error.strerror or error}.') from error


def _line(path, heard, wishes, name):
    """Returns the line about a recording: what was heard, what was drawn, and everything worth knowing."""
    shown = f"{name}.png" if wishes.num_faces == 1 else f"{name}-0.png .. {name}-{wishes.num_faces - 1}.png"
    line = f"{path} -> {wishes.outdir / shown}: {heard.speech_s:.1f} s of speech in {heard.recording_s:.1f} s"
    return "; ".join([line, *heard.notes])


def _about(path, error):
    """Returns an error as a sentence that names the recording."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
    if isinstance(error, OSError) and error.filename and str(error.filename) != str(path):
        text += f' ("{error.filename}")'
    return text if str(path) in text else f"{path}: {text}"
