"""Known W+ codes of faces, by the path of the face or by person: one .safetensors file, or .npz files in a folder."""

import json
import pathlib

import numpy as np

from torch_utils.checkpoint import read_header, write_tensors

FORMAT = "voice2style-codes/1"
_KEY = "voice2style_codes"


class KnownCodes:
    """`codes[face path]` -> float32 [L, D]; `face path in codes`. Reads on demand; can be copied to worker processes.

    A name counts with and without the suffix of the picture. Iterating gives the names as they are stored.
    """

    def __init__(self, path, places, shape, info):
        self.path, self.num_ws, self.w_dim, self.info = pathlib.Path(path), *shape, info
        self._places = places  # name -> what `_read` takes: a name in the .safetensors file, or an .npz file
        self._file = None

    def __len__(self):
        return len(self._places)

    def __contains__(self, name):
        return self._name_of(name) is not None

    def __getitem__(self, name):
        found = self._name_of(name)
        if found is None:
            raise KeyError(f'"{self.path}" has no codes of "{name}"')
        codes = self._read(self._places[found])
        if codes.shape != (self.num_ws, self.w_dim) or not np.isfinite(codes).all():
            raise ValueError(f'"{self.path}": the codes of "{found}" are {list(codes.shape)}, or hold NaN; expected '
                             f"finite numbers [{self.num_ws}, {self.w_dim}].")
        return codes

    def __getstate__(self):
        return {**self.__dict__, "_file": None}

    def __iter__(self):
        return iter(self._places)

    def of_faces(self, rows):
        """Returns the codes by face path for manifest rows {path, person}: a face's own, else its person's.

        ValueError when there is none for any of them.
        """
        places = {}
        for row in rows:
            found = self._name_of(row["path"]) or self._name_of(row["person"])
            if found is not None:
                places[row["path"]] = self._places[found]
        if not places:
            raise ValueError(f'"{self.path}" has codes of {len(self)} faces or people, but of none of the {len(rows)} '
                             f'that are wanted ("{rows[0]["path"]}" of "{rows[0]["person"]}" is the first).')
        return KnownCodes(self.path, places, (self.num_ws, self.w_dim), self.info)

    def fit(self, num_ws, w_dim):
        """Returns these codes; ValueError when a generator takes codes of another shape."""
        if (num_ws, w_dim) != (self.num_ws, self.w_dim):
            raise ValueError(f'"{self.path}" holds codes [{self.num_ws}, {self.w_dim}], the generator takes '
                             f"[{num_ws}, {w_dim}]; project the faces with this generator.")
        return self

    def _name_of(self, name):
        stem = str(pathlib.PurePosixPath(name).with_suffix("")) if name else name
        return next((form for form in (name, stem) if form in self._places), None)

    def _read(self, place):
        if isinstance(place, pathlib.Path):
            return read_npz(place)
        import safetensors

        try:
            if self._file is None:
                self._file = safetensors.safe_open(self.path, framework="numpy")
            return self._file.get_tensor(place).astype(np.float32)
        except safetensors.SafetensorError as error:
            raise ValueError(f'"{self.path}" is damaged ({error}); make it again.') from error


def load_codes(path):
    """Returns the KnownCodes of a .safetensors file, or of a folder of .npz files (key w), as projector.py writes them.

    In a folder a file stands for the face that its path names: `a/b.npz` for `a/b.png`, and `a/b/projected_w.npz` too.
    ValueError when there are none, or they are something else.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        return _from_folder(path)
    if not path.is_file():
        raise ValueError(f'no such file: "{path}"; known codes are a .safetensors file, or a folder of .npz files.')
    if path.suffix == ".npz":
        raise ValueError(f'"{path}" holds codes without the names of their faces; give the folder that it lies in.')
    header = read_header(path)
    info = (header.pop("__metadata__", None) or {}).get(_KEY)
    try:
        info = json.loads(info) if info else None
    except ValueError:
        info = None
    shapes = {tuple(entry["shape"]) for entry in header.values()}
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise ValueError(f'"{path}" is no file of known codes (format "{FORMAT}"); make one with '
                         "python -m training.project_faces.")
    if len(shapes) != 1 or len(shape := next(iter(shapes))) != 2:
        raise ValueError(f'"{path}" must hold codes of one shape [L, D], it holds {sorted(shapes) or "none"}.')
    return KnownCodes(path, {name: name for name in header}, shape, info)


def _from_folder(folder):
    places = {}
    for file in sorted(folder.rglob("*.npz")):
        name = file.relative_to(folder).with_suffix("")
        places[(name.parent if name.name == "projected_w" else name).as_posix()] = file
    if not places:
        raise ValueError(f'the folder "{folder}" has no .npz files with known codes.')
    return KnownCodes(folder, places, read_npz(next(iter(places.values()))).shape, {"format": "npz"})


def read_npz(path):  # -> float32 [L, D]
    """Returns the one code in an .npz file (key w, [1, L, D]); ValueError when it holds another number of them."""
    from voice2style.latents import read_codes

    codes = read_codes(path)
    if codes.ndim != 3 or len(codes) != 1:
        raise ValueError(f'"{path}" holds codes {list(codes.shape)}; the known code of one face is [1, L, D].')
    return codes[0]


def save_codes(path, codes, *, info=None):  # {name: [L, D]}
    """Writes known codes by name to one .safetensors file; it appears whole or not at all."""
    import torch

    from dnnlib.files import atomic_path

    tensors = {name: torch.as_tensor(np.asarray(code, np.float32)) for name, code in codes.items()}
    if len({tuple(code.shape) for code in tensors.values()}) != 1:
        raise ValueError("known codes that are stored together are all of one shape [L, D], and there is at least one.")
    with atomic_path(path) as temporary:
        text = json.dumps({"format": FORMAT, **(info or {})}, sort_keys=True)
        write_tensors(temporary, tensors, metadata={_KEY: text})
