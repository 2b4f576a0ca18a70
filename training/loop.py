"""The loop of every run: iterations, ticks, snapshots, states; it goes on exactly where the last state was written."""

import contextlib
import dataclasses
import functools
import math
import signal
import time
from collections.abc import Callable

import torch

from torch_utils.distributed import barrier, is_first, value_of_first, world_size
from torch_utils.running_stats import RunningStats, single
from training.compilation import compile_main_phases
from training.early_warnings import EarlyWarnings
from training.feed import Feed
from training.phase_runner import PhaseRunner
from training.run_folder import gpu_memory_gb, memory_gb, tick_line
from training.snapshot_names import number
from training.viewing import Viewing

_STATE_EVERY_S = 900  # between snapshots, a state at the first tick after so long


@dataclasses.dataclass(frozen=True)
class Task:
    """What the loop needs to know of a run: a step, where its samples come from, how long, and what a snapshot is.

    `last` iterations in all, `per_tick` in a tick, a snapshot every `snapshot_ticks`. `write_snapshot(path, kimg)`
    writes the model, `draw_pictures(number)` its pictures (a string for their names; None: the untrained model's),
    `measure(path)` -> jsonl lines of metrics by name. `group`: samples in a group of batch statistics.
    """

    step: object
    source: object
    seed: int
    batch: int
    last: int
    per_tick: int
    snapshot_ticks: int
    write_snapshot: Callable
    draw_pictures: Callable
    measure: Callable = lambda path: {}
    first: int = 0
    group: int = 1


class Loop:
    """Runs a Task in a RunFolder; `run()` returns the path of the last snapshot."""

    def __init__(self, task, folder, run, *, device="cpu"):
        self.task, self.folder, self.run_settings, self.device = task, folder, run, torch.device(device)
        self.stats = RunningStats(self.device)
        self.runner = PhaseRunner(seed=task.seed, batch_gpu=run.batch_gpu, stats=self.stats, device=self.device,
                                  say=folder.say, group=task.group)
        self.viewing = Viewing(folder, run) if is_first() else None
        self.warnings = EarlyWarnings()
        self.stopped = None
        for network in task.step.networks.values():
            network.requires_grad_(False)
        if run.compile:
            compile_main_phases(task.step, folder.say)

    def run(self):
        """Trains to the end; ValueError or OSError in one sentence when it cannot go on."""
        task, folder = self.task, self.folder
        state = folder.states.newest(lambda line: folder.say(f"Warning: {line}"))
        first = task.first if state is None else self._restore(state)
        folder.note_options()
        path = self._snapshot_path(task.last)
        if state is None:
            self._guarded("the first pictures", lambda: task.draw_pictures(None))
        else:
            folder.say(f"Going on at {first * task.batch / 1000:.1f} kimg (iteration {first}) in {folder.path}")
        if first >= task.last:
            if is_first() and not path.exists():
                self._guarded(f"the snapshot {path.name}", lambda: task.write_snapshot(
                    path, task.last * task.batch / 1000), fatal=True)
            return path
        self._measure_what_is_missing(first)
        folder.say(f"Training for {task.last * task.batch / 1000:g} kimg...\n")
        feed = Feed(task.source, size=task.batch, first=first, last=task.last, run=self.run_settings,
                    device=self.device, say=folder.say)
        with self._stoppable():
            path = self._iterations(feed, first, state)
        if self.viewing is not None:
            self.viewing.close()
        return path

    def _iterations(self, feed, first, state):
        task, path = self.task, None
        before = state["seconds"] if state else 0.0
        begin = tick_begin = state_begin = time.time()
        done, maintenance = first, 0.0
        resumed = is_first() and (self.folder.path / "stats.jsonl").exists()  # also when the state was lost
        for index, batch in zip(range(first, task.last), feed):
            self.runner.run(task.step, batch, index)
            if self.stopped is not None and (index + 1) % task.per_tick and index + 1 < task.last:
                self._stop(index + 1, before + time.time() - begin)
            if (index + 1) % task.per_tick and index + 1 < task.last:
                continue
            stats, phase_seconds = self.stats.take(), self.runner.take_seconds()
            now, kimg = time.time(), (index + 1) * task.batch / 1000
            tick, tick_kimg = -(-(index + 1) // task.per_tick), (index + 1 - done) * task.batch / 1000
            rate = tick_kimg * 1000 / max(now - tick_begin, 1e-9)
            waited, feed.waited_s = feed.waited_s, 0.0
            times = {"total": before + now - begin, "tick": now - tick_begin, "maintenance": maintenance,
                     "waited": waited}
            self._report(stats, phase_seconds, times, tick=tick, kimg=kimg, tick_kimg=tick_kimg, resumed=resumed,
                         rate=rate, left=(task.last - index - 1) * task.batch)
            maintenance_begin, done, resumed = time.time(), index + 1, False
            end = index + 1 == task.last
            snapshot = tick % task.snapshot_ticks == 0 or end
            images = self.run_settings.image_ticks
            if snapshot:
                path = self._snapshot(index + 1, times["total"], last=end)
                state_begin = time.time()
            elif value_of_first(time.time() - state_begin > _STATE_EVERY_S):
                self._save_state(index + 1, times["total"])
                state_begin = time.time()
            if images is not None and not snapshot and tick % images == 0:
                self._guarded("the pictures", functools.partial(task.draw_pictures, self._number(index + 1, images)))
            if self.stopped is not None and not end:
                self._stop(index + 1, times["total"])
            maintenance, tick_begin = time.time() - maintenance_begin, time.time()
        return path

    def _report(self, stats, phase_seconds, times, *, tick, kimg, tick_kimg, rate, left, resumed):
        """Prints the tick line and appends the statistics; names as in the published run folders."""
        if not is_first():
            return
        augment = getattr(self.task.step, "augment", None)
        p = augment.p if augment is not None else 0.0
        peak, reserved = gpu_memory_gb()
        line = tick_line(tick=tick, kimg=kimg, total_s=times["total"], tick_s=times["tick"], tick_kimg=tick_kimg,
                         maintenance_s=times["maintenance"], eta_s=left / rate, images_per_s=rate, augment=p,
                         gpu_gb=peak)
        terms = [f"{name.split('/', 2)[2]} {stat['mean']:.3f}" for name, stat in stats.items()
                 if name.startswith(("Loss/voice/", "Loss/term/"))]
        terms += [f"{name[5:]} {stat['mean']:.3f}" for name, stat in stats.items() if name.startswith("Loss/accuracy/")]
        self.folder.say("  ".join([line, *terms]))
        tick_s, total_s = times["tick"], times["total"]
        numbers = {
            "Progress/tick": tick, "Progress/kimg": kimg, "Progress/augment": p, "Timing/total_sec": total_s,
            "Timing/sec_per_tick": tick_s, "Timing/sec_per_kimg": tick_s / max(tick_kimg, 1e-9),
            "Timing/maintenance_sec": times["maintenance"], "Timing/total_hours": total_s / 3600,
            "Timing/total_days": total_s / 86400, **{f"Timing/{name}": s for name, s in phase_seconds.items()},
            "Timing/data_wait": times["waited"] / max(tick_s, 1e-9), "Timing/img_per_sec": rate,
            "Resources/cpu_mem_gb": memory_gb(), "Resources/peak_gpu_mem_gb": peak,
            "Resources/peak_gpu_mem_reserved_gb": reserved}
        if resumed:  # earlier lines beyond this point belong to work that was lost
            numbers["Progress/resumed"] = kimg - tick_kimg
        stats = {**stats, **{name: single(value) for name, value in numbers.items()}}
        self.folder.append_stats(stats)
        self.viewing.tick(stats, kimg)
        for warning in self.warnings.look(stats, at_bound=augment is not None and augment.at_bound):
            self.folder.say(f"Warning: {warning}")

    def _snapshot_path(self, iterations):
        return self.folder.path / f"network-snapshot-{self._number(iterations)}.safetensors"

    def _number(self, iterations, *more_ticks):
        """Returns the number in the names of files that are written at snapshots, and each so many ticks more."""
        task, ticks = self.task, math.gcd(self.task.snapshot_ticks, *more_ticks)
        return number(iterations * task.batch, every=ticks * task.per_tick * task.batch, last=task.last * task.batch)

    def _snapshot(self, iterations, seconds, *, last):
        """Writes snapshot, pictures and state, then measures; a full disk is a warning, except at the very end."""
        task, path, kimg = self.task, self._snapshot_path(iterations), iterations * self.task.batch / 1000
        written = self._guarded(f"the snapshot {path.name}", lambda: task.write_snapshot(path, kimg), fatal=last)
        images = self.run_settings.image_ticks
        shown = self._number(iterations, *(() if images is None else (images,)))
        self._guarded("the pictures", lambda: task.draw_pictures(shown))
        self._save_state(iterations, seconds)
        if value_of_first(written):
            self._measure(path)
        if is_first():
            self._guarded("the curves", self.viewing.curves)
        barrier()
        return path

    def _measure(self, path):
        if not self.run_settings.metrics:
            return
        try:
            lines = self.task.measure(path)  # all ranks share the work
        except (ValueError, OSError) as error:
            self.folder.warn_once(f"measure {error}", f"not measured: {error}")
            return
        if not is_first():
            return
        for name, line in lines.items():
            self.folder.append(f"metric-{name}.jsonl", line)
        self.viewing.measured(lines, path)

    def _measure_what_is_missing(self, first):
        """A run that was killed while it measured its last snapshot measures it now."""
        path = self._snapshot_path(first)
        due = first % (self.task.per_tick * self.task.snapshot_ticks) == 0 and first > self.task.first
        if value_of_first(is_first() and due and path.exists() and self.viewing.unmeasured(path)):
            self._measure(path)

    def _guarded(self, what, write, *, fatal=False):
        """Calls `write` on the first rank; returns whether it worked. A full disk does not end a run."""
        if not is_first():
            return True
        try:
            write()
        except OSError as error:
            reason = error.strerror or str(error)
            if fatal:
                kept = "the last state stays, the same command writes it when there is room" \
                    if self.folder.states.paths() else "no state was written before, the same command starts anew"
                raise OSError(f"{what} could not be written ({reason}); {kept}.") from error
            self.folder.say(f"Warning: {what} could not be written ({reason}); the run goes on, what was written "
                            "before stays.")
            return False
        return True

    def _save_state(self, iterations, seconds):
        """Writes a state; returns whether it worked."""
        step = self.task.step
        return self._guarded("the state", lambda: self.folder.states.save({
            "options": self.folder.options, "next": iterations, "seconds": seconds,
            "kimg": iterations * self.task.batch / 1000, "tick": iterations // self.task.per_tick,
            "networks": {name: network.state_dict() for name, network in step.networks.items()},
            "optimisers": {name: optimiser.state_dict() for name, optimiser in step.optimisers.items()},
            "step": step.state(), "stats": self.stats.state(),
            "warnings": self.warnings.state()}, iterations))

    def _restore(self, state):
        step = self.task.step
        self.folder.check_state(state)
        for kind in ("networks", "optimisers"):
            if state[kind].keys() != getattr(step, kind).keys():
                raise ValueError(f'the state in "{self.folder.path}" is of another configuration: it has the {kind} '
                                 f"{', '.join(state[kind])}, this command {', '.join(getattr(step, kind))}.")
            for name, held in getattr(step, kind).items():
                try:
                    held.load_state_dict(state[kind][name])
                except (RuntimeError, ValueError) as error:
                    raise ValueError(f'the state in "{self.folder.path}" is of another configuration: {name} does not '
                                     f"fit ({' '.join(str(error).split())[:150]}).") from error
        step.restore(state["step"])
        self.stats.restore(state["stats"])
        self.warnings.restore(state["warnings"])
        return state["next"]

    @contextlib.contextmanager
    def _stoppable(self):
        """Inside it, the first Ctrl-C or SIGTERM lets the iteration end and writes a state; a second ends at once."""
        def wish(number, _):
            if self.stopped is not None:
                raise KeyboardInterrupt
            self.stopped = number
            self.folder.say("\nStopping after this iteration; once more to stop at once.")

        kept = {}
        try:
            if world_size() == 1:  # several ranks would have to agree on the iteration: they go back to the last state
                kept = {number: signal.signal(number, wish) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:
            pass  # not the main thread
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)

    def _stop(self, iterations, seconds):
        kimg, goes_on = iterations * self.task.batch / 1000, "goes on from there"
        if not self._save_state(iterations, seconds):
            goes_on = "goes on from the last state" if self.folder.states.paths() else "starts anew"
        self.folder.say(f"Stopped at {kimg:.1f} kimg; the same command {goes_on}.")
        if self.stopped == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt


def iterations_of(kimg, batch):
    """Returns how many batches make so many thousand images, at least one."""
    return max(math.ceil(round(kimg * 1000, 6) / batch), 1)
