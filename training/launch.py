"""Starts the ranks of a run and carries it out in each; a rank that dies ends the others, with its name."""

import contextlib
import os
import pathlib
import signal
import sys
import tempfile
import time

_BAD_INPUT, _LOST_THE_OTHERS = 2, 75
_LET_THE_CAUSE_BE_SEEN_S = 5  # a rank that lost its peers waits so long, so that the one that died is named


def carry_out(request):
    """Returns the path of the model that a request (plain values: task, settings, run, arguments) makes."""
    import torch

    from torch_utils import distributed

    run, task, arguments = request["run"], request["task"], request["arguments"]
    torch.backends.cudnn.benchmark = not run.nobench
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = run.allow_tf32
    try:
        path = _train(task, request["settings"], run, arguments)
        return path if distributed.is_first() else None
    finally:
        distributed.stop()


def _train(task, settings, run, arguments):
    if task == "gan":
        from training.gan_loop import train_gan

        return train_gan(settings, run=run, **arguments)
    if task == "voice":
        from training.voice_loop import train_voice

        return train_voice(settings, run=run, **arguments)
    if task == "joint":
        from training.joint_loop import train_joint

        return train_joint(settings, run=run, **arguments)
    if task == "probe":
        from training.probe_loop import train_probe

        return train_probe(settings, **arguments)
    from training.recogniser_loop import train_recogniser

    return train_recogniser(settings, **arguments)


def build_operations(device):
    """Builds native operations before the ranks meet, so that none of them waits for another's compiler."""
    from torch_utils.ops.build import prepare

    prepare("simd" if device == "cpu" else device)


def launch(request, *, gpus, function=carry_out, start_method="spawn"):
    """Carries a request out on `gpus` ranks of this machine, or in this process when torchrun started it or gpus is 1.

    Returns the path of the model, None in ranks that are not the first. ValueError names a rank that ended before
    the others, and says why where it can.
    """
    from torch_utils import distributed

    if gpus == 1 or distributed.launched_ranks() is not None:
        return function(request)
    import torch

    with tempfile.TemporaryDirectory(prefix="voice2style-ranks-") as folder:
        context = torch.multiprocessing.start_processes(
            _rank, args=(gpus, folder, function, request), nprocs=gpus, join=False, start_method=start_method)
        try:
            while not context.join(timeout=5):
                pass
        except torch.multiprocessing.ProcessExitedException as error:
            raise ValueError(_reason(error, gpus, pathlib.Path(folder))) from error
        except KeyboardInterrupt:
            for process in context.processes:
                process.terminate()
            raise
        made = pathlib.Path(folder, "path.txt")
        return made.read_text(encoding="utf-8") if made.exists() else None


def _rank(rank, size, folder, function, request):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size),
                      V2S_RENDEZVOUS=pathlib.Path(folder, "rendezvous").as_uri())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and ends its ranks
    try:
        made = function(request)
        if rank == 0 and made is not None:
            pathlib.Path(folder, "path.txt").write_text(str(made), encoding="utf-8")
    except (ValueError, OSError) as error:
        pathlib.Path(folder, f"rank{rank}.txt").write_text(_sentence(error), encoding="utf-8")
        sys.exit(_BAD_INPUT)
    except RuntimeError as error:
        if not _peers_are_gone(error):
            raise
        time.sleep(_LET_THE_CAUSE_BE_SEEN_S)
        sys.exit(_LOST_THE_OTHERS)


def _peers_are_gone(error):
    import torch

    kinds = tuple(getattr(torch.distributed, name) for name in ("DistError",) if hasattr(torch.distributed, name))
    text = str(error)
    return isinstance(error, kinds) or any(words in text for words in (
        "Connection closed by peer", "Connection reset by peer", "NCCL", "Broken pipe", "recvValue failed"))


def _reason(error, size, folder):
    written = folder / f"rank{error.error_index}.txt"
    if written.exists():
        return written.read_text(encoding="utf-8")
    how = f"exit code {error.exit_code}"
    if error.signal_name:
        how = error.signal_name
    elif error.exit_code < 0:
        with contextlib.suppress(ValueError):
            how = signal.Signals(-error.exit_code).name
    return (f"rank {error.error_index} of {size} ended with {how}; the other ranks were stopped. The same command goes "
            "on from the last state.")


def _sentence(error):
    if isinstance(error, OSError) and error.strerror:
        return f'{error.strerror}: "{error.filename}"' if error.filename else error.strerror
    return " ".join(str(error).split())
