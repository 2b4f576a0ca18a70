"""What calc_metrics.py does with its wishes: ranks, lines of JSON, the run's folder, the report, the sheet."""

import json
import os
import pathlib

from dnnlib.console import say, warn
from dnnlib.files import check_writable
from torch_utils import distributed
from torch_utils.devices import pick_device
from training.configure import check_gpus
from training.launch import launch
from training.measuring import measured
from training.model_card import read_card_text
from training.run_folder import append_whole


def run(names, settings, *, device, gpus, **given):
    """Measures, and prints one line of JSON a metric; files as asked for. The first of several ranks speaks.

    `gpus` ranks are started here, unless torchrun started them. `given`: network, fakes, data, report, picture.
    """
    there, device = distributed.launched_ranks(), str(pick_device(device))
    if there is not None and gpus not in (None, there):
        raise ValueError(f"--gpus {gpus}, but torchrun started {there} ranks; leave --gpus out.")
    if there is None:
        check_gpus(gpus or 1, device)
    if (there or gpus or 1) > 1:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # ranks on one processor would fight for its cores
    _check_places(settings.options.get("update_card"), report=given["report"], picture=given["picture"])
    launch({"names": names, "settings": settings, "device": device, **given}, gpus=there or gpus or 1,
           function=carry_out)


def _check_places(card, *, report, picture):
    """Raises ValueError for files that could not be written once everything is measured."""
    if card:
        read_card_text(card)
    for place, option in ((card, "--update-card"), (report, "--report"), (picture, "--picture")):
        if place:
            check_writable(place, option=option, folder=option == "--report")


def carry_out(request):
    """Does in one rank what `run` was asked for."""
    _measure_and_tell(**request)


def _measure_and_tell(names, settings, *, device, network, fakes, data, report, picture):
    device = distributed.start(device)
    try:
        found = []
        for measurement in measured(names, network=network, fakes=fakes, data=data, settings=settings, device=device):
            found.append(measurement)
            if distributed.is_first():
                _tell(measurement, run_folder(network))
        if distributed.is_first() and found:
            _write_files(found, report=report, picture=picture, network=network, fakes=fakes)
    finally:
        distributed.stop()


def run_folder(network):
    """Returns the folder of a training run when a snapshot lies in one, else None."""
    if network is None or "://" in str(network):
        return None
    folder = pathlib.Path(network).resolve().parent
    return folder if (folder / "training_options.json").exists() else None


def append_line(folder, measurement):
    """Appends the line of a measurement to metric-<name>.jsonl of a run's folder."""
    append_whole(folder / f"metric-{measurement.metric}.jsonl", (json.dumps(measurement.line()) + "\n").encode())


def _tell(measurement, folder):
    if measurement.table:
        say(measurement.table)
    say(json.dumps(measurement.line()))
    if folder is not None:
        try:
            append_line(folder, measurement)
        except OSError as error:
            warn(f"Warning: metric-{measurement.metric}.jsonl beside the network cannot be written ({error.strerror}); "
                 "the line above is the only one.")


def _write_files(found, *, report, picture, network, fakes):
    if picture:
        from torch_utils.images import write_png

        sheets = {name: sheet for measurement in found for name, sheet in measurement.pictures.items()}
        sheet = sheets["world_traits.png"]
        text = "people of the drawn world; below each, the AI-generated face drawn from their synthetic speech"
        write_png(picture, sheet(), text={"Description": text})
    if report:
        from metrics.report import write_report

        what = pathlib.PurePath(str(network or fakes)).name
        sections = [{"metric": m.metric, "results": list(m.results), "protocol": m.protocol, "table": m.table,
                     "pictures": m.pictures} for m in found]
        say(f"Written to {write_report(report, sections, title=f'Metrics of {what}', history=_history(network))}")


def _history(network):
    """Returns the metric lines of the run that a snapshot lies in, where there is one."""
    folder = run_folder(network)
    lines = []
    for path in sorted(folder.glob("metric-*.jsonl")) if folder else []:
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                continue  # a line that a stopped run left half written
    return lines
