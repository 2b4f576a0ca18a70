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
            draw_curves(self.folder.path)
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
        """Returns the best snapshot by the first metric of the run, or None."""
        metrics = read_metrics(self.folder.path)
        name = next((key for wanted in self.run.metrics for key in metrics if key.startswith(wanted)), None)
        if name is None:
            return None
        pick = max if is_higher_better(name) else min
        snapshots = self._snapshots()
        kept = [(kimg, value) for kimg, value in metrics[name] if kimg in snapshots]
        return snapshots[pick(kept, key=lambda pair: pair[1])[0]] if kept else None

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
