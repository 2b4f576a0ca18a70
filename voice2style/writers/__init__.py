"""Writes networks in the forms that others read; a new form is a file here and a row of WRITERS.

`convert(source, dest)` reads any readable file, writes it, reads the result back and holds it against the original
before the file appears under its name.
"""

import contextlib
import dataclasses
import importlib
import importlib.util
import pathlib

from dnnlib.files import atomic_path
from dnnlib.settings import did_you_mean


@dataclasses.dataclass(frozen=True)
class Form:
    """A form to write.

    The module has `files(bundle, dest)` -> {what: path} and `write(bundle, paths)` -> notes. `needs` are packages
    beyond the ordinary ones, `extra` brings them. `reads_back`: our reader reads this form, so each write is checked.
    """

    suffix: str
    module: str
    title: str
    needs: tuple = ()
    extra: str = ""
    reads_back: bool = True


WRITERS = {  # the first form of a suffix is the one that --dest alone means
    "voice2style": Form(".safetensors", "voice2style.writers.own", "checkpoint of voice2style, with its card"),
    "plain": Form(".safetensors", "voice2style.writers.plain_names", "state dict with the published names"),
    "rosinality": Form(".pt", "voice2style.writers.rosinality", "g_ema, g, d, latent_avg for stylegan2-pytorch"),
    "onnx": Form(".onnx", "voice2style.writers.onnx_graphs", "graphs of the synthesis and of the voice encoder",
                 needs=("onnx", "onnxruntime", "onnxscript"), extra="onnx", reads_back=False),
}


@dataclasses.dataclass(frozen=True)
class Converted:
    """What was written: the form, the files, and what differs from the original, one sentence each."""

    form: str
    paths: tuple
    notes: tuple


def convert(source, dest, *, form=None, overwrite=False):
    """Writes the networks of `source` (path or URL of any readable file) to `dest` and returns Converted.

    `form` is a row of WRITERS (None: by the suffix of `dest`). ValueError, and no file, when the source is not
    readable, the form cannot hold it, `dest` is there and `overwrite` is not set, or the result is not as it should be.
    """
    dest = pathlib.Path(dest)
    _check_place(dest, overwrite)
    name = choose_form(dest, form)
    row = WRITERS[name]
    _check_packages(name, row)
    from voice2style.writers.bundle import open_bundle

    writer = importlib.import_module(row.module)
    bundle = open_bundle(source)
    files = writer.files(bundle, dest)
    for path in files.values():
        _check_place(path, overwrite)
    with contextlib.ExitStack() as stack:
        temporary = {what: stack.enter_context(atomic_path(path)) for what, path in files.items()}
        notes = [*bundle.notes, *writer.write(bundle, temporary)]
        if row.reads_back:
            from voice2style.writers.proof import prove

            notes += prove(bundle, temporary["networks"], name)
    return Converted(name, tuple(files.values()), tuple(notes))


def choose_form(dest, form=None):
    """Returns the name of the form: `form`, or the first one with the suffix of `dest`; ValueError if none fits."""
    suffix = pathlib.Path(dest).suffix.lower()
    if form is not None:
        if form not in WRITERS:
            raise ValueError(f'format "{form}" is not known.{did_you_mean(form, WRITERS)} Known: {", ".join(WRITERS)}.')
        if suffix != WRITERS[form].suffix:
            raise ValueError(f'format "{form}" is written to a file that ends in {WRITERS[form].suffix}, '
                             f'"{dest}" ends in "{suffix}"; change --dest or --format.')
        return form
    for name, row in WRITERS.items():
        if row.suffix == suffix:
            return name
    allowed = ", ".join(f"{row.suffix} ({name})" for name, row in WRITERS.items())
    raise ValueError(f'"{dest}" ends in "{suffix}", from which no form follows; allowed: {allowed}.')


def _check_place(path, overwrite):
    if path.is_dir():
        raise ValueError(f'"{path}" is a folder; --dest is the name of a file.')
    if path.exists() and not overwrite:
        raise ValueError(f'"{path}" is there already; give --overwrite=1 to replace it, or another name.')


def _check_packages(name, row):
    if missing := [package for package in row.needs if importlib.util.find_spec(package) is None]:
        raise ValueError(f'format "{name}" needs {", ".join(missing)}, which {"is" if len(missing) == 1 else "are"} '
                         f"not installed: pip install 'voice2style[{row.extra}]'.")
