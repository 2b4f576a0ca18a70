"""Wishes of the voice metrics (--option NAME=VALUE, --judge FILE), as values of the right kind."""

from dnnlib.settings import did_you_mean

TRIALS = 10000
WISHES = ("recogniser", "speaker", "pair_list", "clips_per", "allow_training_judge")
_OF_OPTIONS = ("probe", "class", "update_card")  # --judge, --class and --update-card say them
_FALSE, _TRUE = ("0", "false", "no", "off"), ("1", "true", "yes", "on")


def check_wishes(options):
    """Raises ValueError for a name of --option that no metric knows."""
    for name in options:
        if name not in WISHES + _OF_OPTIONS:
            known = [wish.replace("_", "-") for wish in WISHES]
            raise ValueError(f'no metric has the option "{name.replace("_", "-")}".'
                             f"{did_you_mean(name.replace('_', '-'), known)} Known: {', '.join(known)}.")


def judge_file(settings):
    """Returns the path of the recogniser: --option recogniser=FILE, or --judge FILE (which is kept as "probe")."""
    return settings.options.get("recogniser") or settings.options.get("probe")


def training_judge_allowed(settings):
    """Returns True with --option allow-training-judge=1."""
    value = str(settings.options.get("allow_training_judge", "0")).lower()
    if value not in _FALSE + _TRUE:
        raise ValueError(f'allow-training-judge is "{value}"; 0 and 1 are allowed.')
    return value in _TRUE


def num_trials(settings):
    """Returns the number of trials of a matching or verification: --num, or 10 000 as the public lists have."""
    return settings.num or TRIALS


def clips_per_person(settings):
    """Returns how many clips a person are heard (--option clips-per=N), None for all."""
    value = settings.options.get("clips_per")
    if value is None:
        return None
    try:
        count = int(value)
    except (TypeError, ValueError):
        count = 0
    if count < 1:
        raise ValueError(f'clips-per is "{value}"; a whole number of 1 or more is needed.')
    return count
