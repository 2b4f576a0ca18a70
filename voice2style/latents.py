"""The one file form of latent codes: an .npz with the key w, [N, num_ws, w_dim]; read, fitted to a network, written."""

from dnnlib.files import atomic_path


def read_codes(path):  # -> float32 array [N, L, D], [N, 1, D] or [N, D]
    """Returns the codes of an .npz file (key w) as they lie there; `fitted` brings them to a network's form.

    ValueError when there is no such file, when it is none of that form, or holds anything but finite numbers.
    """
    import zipfile

    import numpy as np

    try:
        stored = np.load(path, allow_pickle=False)
        if not hasattr(stored, "files"):
            raise ValueError(f'"{path}" is not an .npz file: it holds one array without a name.')
        with stored:
            if "w" not in stored.files:
                keys = ", ".join(stored.files) or "none"
                raise ValueError(f'"{path}" has no codes under the key w (keys there: {keys}).')
            codes = stored["w"]
    except FileNotFoundError as error:
        raise ValueError(f'no such file: "{path}".') from error
    except (zipfile.BadZipFile, EOFError, KeyError, TypeError) as error:
        raise ValueError(f'"{path}" is not an .npz file, or it is damaged ({error}).') from error
    except MemoryError as error:
        raise ValueError(f'"{path}" declares more codes than fit into memory; it is damaged.') from error
    except ValueError as error:
        if str(path) in str(error):
            raise
        if "pickled" in str(error):  # numpy's own words would advise to run what is in the file
            error = "it holds Python objects, or is no file of numpy's"
        raise ValueError(f'"{path}" is not an .npz file of codes ({error}).') from None
    if codes.ndim not in (2, 3) or codes.dtype.kind != "f" or not codes.size:
        raise ValueError(f'"{path}": w must be floats [N, L, D], got {codes.dtype} {list(codes.shape)}.')
    with np.errstate(over="ignore"):
        codes = codes.astype(np.float32)
    if not np.isfinite(codes).all():
        raise ValueError(f'"{path}": w must be finite floats [N, L, D]; it holds NaN, infinite or too large numbers.')
    return codes


def fitted(codes, num_ws, w_dim, *, where="the codes"):  # [N, L, D], [N, 1, D] or [N, D] -> [N, L, D]
    """Returns codes for a network of L = num_ws layers; one w [N, 1, D] or [N, D] goes into every layer.

    [L, D] is refused: it could be one picture's W+ code as well as L codes in W.
    """
    import numpy as np

    shape = list(codes.shape)
    wanted = f"this network takes [N, {num_ws}, {w_dim}], or [N, 1, {w_dim}] for one w in every layer"
    if shape[-1] != w_dim or (codes.ndim == 3 and shape[1] not in (1, num_ws)):
        raise ValueError(f"{where} holds codes {shape}; {wanted}.")
    if codes.ndim == 2 and shape[0] == num_ws:
        raise ValueError(f"{where} holds codes {shape}, which can mean one picture or {num_ws}; {wanted}.")
    if codes.ndim == 2:
        codes = codes[:, None]
    return np.array(np.broadcast_to(codes, (shape[0], num_ws, w_dim)))


def load_codes(path, model):  # -> tensor [N, L, D]
    """Returns the codes of a file for a model, on its device and in its number type."""
    import torch

    codes = fitted(read_codes(path), model.num_ws, model.w_dim, where=f'"{path}"')
    return torch.from_numpy(codes).to(model.device, model.dtype)


def write_codes(path, ws):  # [N, L, D]
    """Writes codes as float32 under the key w; the file appears whole or not at all."""
    import numpy as np

    codes = ws.detach().float().cpu().numpy() if hasattr(ws, "detach") else np.asarray(ws, np.float32)
    if codes.ndim != 3 or not codes.size or not np.isfinite(codes).all():
        raise ValueError(f"codes to be stored are finite floats [N, L, D], got {list(codes.shape)}.")
    with atomic_path(path) as temporary:
        np.savez(temporary, w=codes)
