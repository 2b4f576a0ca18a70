"""What one sees of a run while it goes on: TensorBoard, Weights & Biases, curves, the best snapshot."""

import contextlib
import json
import os
import shutil

from dnnlib.files import atomic_path
from training.curves import draw_curves, read_metrics
from training.snapshot_names import kimg_of

_HIGHER_IS_BETTER = ("precision", "recall", "is50k_mean", "is10k_mean", "r2", "top", "accuracy", "auc", "r@", "ssim")


class Viewing:
    """Passes statistics on to whatever is installed and wanted; keeps the best and the newest snapshots."""

    def __init__(self, folder, run):
        self.folder, self.run = folder, run
        self._board = self._wandb = None
        self._measured = {}  # metric -> its newest line by this run, the yardstick of all
        if run.tensorboard:
            self._board = _board(folder)
        if run.wandb:
            self._wandb = _wandb(folder)

    def tick(self, stats, kimg):
        """Passes on the statistics of a tick."""
        if self._board is not None:
            for name, value in stats.items():
                self._board.add_scalar(name, value["mean"], global_step=kimg)
            self._board.flush()
        if self._wandb is not None:
            self._wandb.log({name: value["mean"] for name, value in stats.items()})

    def measured(self, lines, path):
        """Prints and passes on metrics of a snapshot, keeps the best snapshot and removes old ones."""
        self._measured |= lines
        for line in lines.values():
            self.folder.say(json.dumps(line))
            if self._board is not None:
                for key, value in line["results"].items():
                    self._board.add_scalar(f"Metrics/{key}", value, global_step=kimg_of(path.name))
            if self._wandb is not None:
                self._wandb.log({f"Metrics/{key}": value for key, value in line["results"].items()})
        self._keep_best()

    def unmeasured(self, path):
        """Returns True when a metric of the run has no line for a snapshot yet."""
        for name in self.run.metrics:
            file = self.folder.path / f"metric-{name}.jsonl"
            if not file.exists() or f'"{path.name}"' not in file.read_text(encoding="utf-8"):
                return True
        return False

    def curves(self):
        """Draws curves.png and removes snapshots that are neither among the newest nor the best."""
        if self.run.curves:
            draw_curves(self.folder.path, self._measured)
        if self.run.keep_snapshots:
            best = self._best()
            snapshots = self._snapshots()
            for kimg in sorted(snapshots)[:-self.run.keep_snapshots]:
                if snapshots[kimg] != best:
                    snapshots[kimg].unlink(missing_ok=True)

    def close(self):
        """Ends what was opened."""
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()

    def _best(self):
        """Returns the best snapshot by the first metric of the run, or None; lines by other judges do not count."""
        snapshots = self._snapshots()
        for metric in self.run.metrics:
            found, others = (read_metrics(self.folder.path, self._measured, metric=metric, others=others)
                             for others in (False, True))
            name = next((key for key in found if key.startswith(metric)), None)
            if name is None:
                continue
            kept = {kimg: value for kimg, value in found[name] if kimg in snapshots}
            if left_out := {kimg for kimg, _ in others.get(name, ()) if kimg in snapshots} - kept.keys():
                self.folder.warn_once("yardstick", f"{len(left_out)} snapshots have {name} by another judge, n or mode "
                                      f"only; network-best.safetensors is the best of the {len(kept)} others.")
            pick = max if is_higher_better(name) else min
            return snapshots[pick(kept, key=kept.get)] if kept else None
        return None

    def _snapshots(self):
        """Returns {kimg: path} of the snapshots that are there."""
        return {kimg_of(path.name): path for path in self.folder.path.glob("network-snapshot-*.safetensors")}

    def _keep_best(self):
        best = self._best()
        if best is not None:
            same_file(best, self.folder.path / "network-best.safetensors")


def is_higher_better(name):
    """Returns True for metrics that grow when a model gets better; distances and path lengths shrink."""
    row = _metric_rows().get(name)
    if row is not None and hasattr(row, "higher_is_better"):
        return bool(row.higher_is_better)
    return any(word in name.lower() for word in _HIGHER_IS_BETTER)


def _metric_rows():
    try:
        from training.metrics_table import METRICS
    except ImportError:
        return {}
    return METRICS


def same_file(source, dest):
    """Makes `dest` the same content as `source` at once: a second name for it where the disk can, else a copy."""
    with atomic_path(dest) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def _board(folder):
    try:
        with contextlib.redirect_stderr(None):
            from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        folder.say("TensorBoard is not installed: no events.out.tfevents file.")
        return None
    return SummaryWriter(str(folder.path))


def _wandb(folder):
    try:
        import wandb
    except ImportError as error:
        raise ValueError("--wandb=1 needs the package wandb: pip install wandb.") from error
    return wandb.init(dir=str(folder.path), name=folder.path.name, config=folder.options, resume="allow",
                      id="".join(filter(str.isalnum, folder.path.name)))
