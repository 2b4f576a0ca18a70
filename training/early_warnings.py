"""Early warnings in plain words, from the statistics of a tick: what goes wrong, and what is usually done about it."""

import math

_D_SIGN = 0.95  # mean sign of D on real and on generated pictures beyond which it no longer teaches
_TIMES = 20.0  # so many times its usual value is a spike
_PATH_TIMES = 10.0
_TICKS = 3  # in a row, before somebody is told
_SEEN = 3  # ticks that make a usual value


class EarlyWarnings:
    """`look(stats)` returns the warnings of a tick; each is given once, and again only after it was over."""

    def __init__(self):
        self._usual, self._rows, self._active = {}, {}, set()

    def look(self, stats, *, at_bound=False):
        """Returns sentences for {name: {"num", "mean", "std"}}; `at_bound`: p stands at its bound."""
        found = {**_not_finite(stats), **self._overpowering(stats), **self._spikes(stats), **self._path_length(stats)}
        if self._row("p at its bound", at_bound):
            found["p at its bound"] = (
                "the augmentation's p has stood at its bound: D still learns the real faces by heart. More faces, a "
                "higher --gamma, --mirror=1 or a smaller network help; the best snapshot is probably behind you.")
        new = [sentence for key, sentence in found.items() if key not in self._active]
        self._active = set(found)
        return new

    def _overpowering(self, stats):
        real, fake = (_mean(stats, f"Loss/signs/{kind}") for kind in ("real", "fake"))
        if fake is None:
            fake = _mean(stats, "Loss/scores/fake")
            fake = None if fake is None else math.copysign(1, fake)
        wins = real is not None and fake is not None and real > _D_SIGN and fake < -_D_SIGN
        if not self._row("D wins", wins):
            return {}
        return {"D wins": f"D tells real from generated faces nearly always (signs {real:+.2f} and {fake:+.2f} for "
                          f"{_TICKS} ticks): G learns little now. --aug=ada, a higher --gamma or more faces help."}

    def _spikes(self, stats):
        found = {}
        for name in stats:
            if name.startswith("Gradients/"):
                now, usual = _mean(stats, name), self._usual_value(name, _mean(stats, name))
                if usual and now > _TIMES * usual:
                    found[name] = (f"the gradient of {name.partition('/')[2]} is {now / usual:.0f} times its usual "
                                   f"size ({now:.3g} beside {usual:.3g}): a lower learning rate (--glr, --dlr) helps "
                                   "if it comes again.")
        return found

    def _path_length(self, stats):
        name = "Loss/pl_length"
        now = _mean(stats, name)
        if now is None:
            return {}
        usual = self._usual_value(name, now)
        if usual and now > _PATH_TIMES * usual:
            return {name: f"the path length runs away: {now:.3g}, usually {usual:.3g}. G's pictures jump with the "
                          "latent; a snapshot from before is better, and a lower --glr."}
        return {}

    def _usual_value(self, name, now):
        """Returns the moving average of the ticks before, None in the first few; a spike moves it little."""
        seen, usual = self._usual.get(name, (0, 0.0))
        if now is not None and math.isfinite(now):
            step = now if seen == 0 else min(now, usual * 2)
            self._usual[name] = (seen + 1, usual + (step - usual) / min(seen + 1, 10))
        return usual if seen >= _SEEN else None

    def _row(self, key, holds):
        self._rows[key] = self._rows.get(key, 0) + 1 if holds else 0
        return self._rows[key] >= _TICKS

    def state(self):
        """Returns what a resumed run needs to warn as it would have."""
        return {"usual": dict(self._usual), "rows": dict(self._rows), "active": sorted(self._active)}

    def restore(self, state):
        """Takes back what `state()` returned."""
        self._usual = {name: tuple(value) for name, value in state["usual"].items()}
        self._rows, self._active = dict(state["rows"]), set(state["active"])


def _mean(stats, name):
    value = stats.get(name)
    return None if value is None or not value["num"] else value["mean"]


def _not_finite(stats):
    names = [name for name, value in stats.items() if value.get("nonfinite") or not math.isfinite(value["mean"])]
    if not names:
        return {}
    return {"not finite": f"NaN or infinite values in {', '.join(sorted(names)[:4])}: the training breaks down. Go "
                          "back to an earlier snapshot (--resume) with a lower learning rate, or --fp32=1."}
