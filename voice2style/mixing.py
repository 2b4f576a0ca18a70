"""Style mixing: pictures that take some style layers from one code and the others from another."""

import dataclasses
import pathlib

from dnnlib.console import say, warn

DEFAULT_STYLES = tuple(range(7))  # 0-6: up to 32x32, pose and shape
_SENTENCES = {
    "seed": "AI-generated; a mix of random faces, drawn without a voice; not evidence of identity",
    "codes": "AI-generated; a mix of faces from stored codes; not evidence of identity",
}


@dataclasses.dataclass(frozen=True)
class MixingWishes:
    """What the command line asked for. Rows and columns are seeds, or the codes of a file."""

    outdir: pathlib.Path
    network: str | None = None
    rows: tuple | None = None
    cols: tuple | None = None
    row_codes: str | None = None
    col_codes: str | None = None
    styles: tuple | None = None
    psi: float | None = None
    noise_mode: str = "const"
    label: int | None = None
    device: str = "auto"
    force_fp32: bool = False


@dataclasses.dataclass(frozen=True)
class Source:
    """One row or column: its name in file names, its code [1, L, D], and the stream its random noise comes from."""

    name: str
    ws: object
    noise_seed: tuple


def mix(row, col, styles):  # [N, L, D], [N, L, D] -> [N, L, D]
    """Returns the row's codes with the layers `styles` taken from the column's."""
    mixed = row.clone()
    mixed[:, list(styles)] = col[:, list(styles)]
    return mixed


def checked_styles(styles, num_ws):
    """Returns the layers that are taken from the columns; ValueError when the network has not got one of them.

    None is the usual 0-6; a network with too few layers for that takes the first half of them, and says so.
    """
    if styles is None:
        if num_ws >= len(DEFAULT_STYLES):
            return DEFAULT_STYLES
        warn(f"note: this network has {num_ws} style layers; --styles is 0-{num_ws // 2 - 1} here instead of 0-6."
             if num_ws > 1 else "note: this network has one style layer, which --styles takes from the columns.")
        return tuple(range(max(1, num_ws // 2)))
    wrong = [style for style in styles if not 0 <= style < num_ws]
    if wrong or not styles:
        raise ValueError(f"--styles has {', '.join(map(str, wrong)) or 'no layer'}; this network has {num_ws} style "
                         f"layers, allowed: 0-{num_ws - 1}.")
    return tuple(dict.fromkeys(styles))


def mix_styles(wishes):
    """Draws every row, every column and their mixes: <row>-<col>.png, and grid.png with all of them.

    A row by itself is <row>-<row>.png; grid.png has the columns above, the rows to the left.
    """
    from voice2style.rendering import prepare_folder
    from voice2style.signing import checked_label, open_network

    prepare_folder(wishes.outdir)
    signed = open_network(wishes.network, device=wishes.device, force_fp32=wishes.force_fp32)
    import torch  # open_network has imported it, with the manners that this takes

    styles = checked_styles(wishes.styles, signed.model.num_ws)
    with torch.inference_mode():
        if wishes.rows is not None or wishes.cols is not None:
            wishes = dataclasses.replace(wishes, label=checked_label(signed.model, wishes.label))
        rows = _sources(signed.model, wishes, wishes.rows, wishes.row_codes, "row")
        cols = _sources(signed.model, wishes, wishes.cols, wishes.col_codes, "col")
        drawn = _Drawn(signed, wishes, styles)
        for source in {source.name: source for source in (*rows, *cols)}.values():
            drawn.add(source, source)
        for row in rows:
            for col in cols:
                drawn.add(row, col)
        drawn.write_grid(rows, cols)
    say(f"{len(drawn.pixels)} pictures and grid.png ({len(rows)} rows, {len(cols)} columns, styles "
        f"{','.join(map(str, styles))} of {signed.model.num_ws}) -> {wishes.outdir}")


def _sources(model, wishes, seeds, path, what):
    """Returns the rows or columns, once each, from seeds or from a file of codes."""
    from voice2style.faces import seed_codes
    from voice2style.latents import load_codes

    if seeds is not None:
        psi = 1.0 if wishes.psi is None else wishes.psi
        return [Source(str(seed), seed_codes(model, seed, psi=psi, label=wishes.label), (seed, "noise"))
                for seed in dict.fromkeys(seeds)]
    codes = load_codes(path, model)  # named row0, col0: two files may hold different codes under one number
    return [Source(f"{what}{index}", code[None], (1, "noise", index)) for index, code in enumerate(codes)]


class _Drawn:
    """The pictures drawn so far, by the names of their row and column; each is written as it is drawn."""

    def __init__(self, signed, wishes, styles):
        self.signed, self.wishes, self.styles = signed, wishes, styles
        self.pixels = {}

    def add(self, row, col):
        """Draws one picture, unless it is there: the row's, with the styles of the column when that is another one."""
        from torch_utils.images import to_hwc, to_uint8
        from voice2style.faces import draw

        if (row.name, col.name) in self.pixels:
            return
        ws = row.ws if row is col else mix(row.ws, col.ws, self.styles)
        image = draw(self.signed.model, ws, noise_mode=self.wishes.noise_mode, noise_seed=row.noise_seed,
                     force_fp32=self.wishes.force_fp32)
        self.pixels[row.name, col.name] = to_uint8(image)[0].cpu()
        self._write(f"{row.name}-{col.name}", to_hwc(self.pixels[row.name, col.name]), f"{row.name},{col.name}")

    def write_grid(self, rows, cols):
        """Writes grid.png: the columns' own pictures above, the rows' to the left, the corner black."""
        import torch

        from torch_utils.images import grid, to_hwc

        black = torch.zeros_like(next(iter(self.pixels.values())))
        cells = [black, *(self.pixels[col.name, col.name] for col in cols)]
        for row in rows:
            cells += [self.pixels[row.name, name] for name in (row.name, *(col.name for col in cols))]
        self._write("grid", to_hwc(grid(torch.stack(cells), len(cols) + 1)),
                    ",".join(source.name for source in (*rows, *cols)))

    def _write(self, stem, pixels, seed):
        wishes = self.wishes
        kind = "seed" if wishes.rows is not None and wishes.cols is not None else "codes"
        options = {"from": "mixing", "styles": list(self.styles), "psi": 1.0 if wishes.psi is None else wishes.psi,
                   "noise_mode": wishes.noise_mode, "class": wishes.label, "force_fp32": wishes.force_fp32}
        self.signed.write(wishes.outdir / f"{stem}.png", pixels, seed=seed, sentence=_SENTENCES[kind], options=options)
