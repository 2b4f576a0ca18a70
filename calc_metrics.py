"""Judges a model: numbers that carry their n, seed, judge and protocol."""

import click

from dnnlib.command_line import BOOL, Door

_WITHOUT = ("none", "")


@click.command(cls=Door)
@click.option("--network", metavar="FILE|URL", help="What is judged: any checkpoint that can be read here.  [default: "
                                                    "the demo model, unless --fakes is given]")
@click.option("--fakes", metavar="DIR|ZIP", help="Pictures to judge instead of a network: folder or zip, any depth.")
@click.option("--data", metavar="DIR|ZIP", help="The real side: a dataset of dataset_tool.py, or a folder or zip of "
                                                "pictures.")
@click.option("--metrics", default=None, help="Comma-separated names; --list shows them.  [default: fid50k_full, or "
                                              "world_traits where --judge names a probe]")
@click.option("--list", "show_list", is_flag=True, help="List the metrics and stop.")
@click.option("--judge", "judges", multiple=True, metavar="inception|drawn|PATH",
              help="Who looks at pictures: inception (and VGG16), by file; drawn, a small network that comes with this "
                   "program; for the voice metrics the path of a face recogniser (.safetensors of train.py --task "
                   "recogniser, or .onnx) or of a trait probe. Repeatable.  [default: inception]")
@click.option("--num", type=click.IntRange(min=1), help="So many generated pictures, pairs or steps instead of the "
                                                        "number that the metric's name stands for.")
@click.option("--faces-from", type=click.Choice(["seeds", "voice"]), default="seeds", show_default=True,
              help="Of a voice model: faces of random seeds, or of the dataset's voices.")
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Part of the dataset.  [default: all; test "
                                                                           "for world_traits]")
@click.option("--mirror", type=BOOL, default=False, help="fid50k: real pictures flipped, too (0 or 1).")
@click.option("--trunc", type=click.FloatRange(0, 2), default=1.0, show_default=True, help="Truncation psi.")
@click.option("--class", "label", type=click.IntRange(min=0), help="Class of a conditional network; without it labels "
                                                                   "are drawn from the data.")
@click.option("--limit", type=click.IntRange(min=2), help="Judge at most so many people or pairs.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--intervals", type=BOOL, default=True, show_default=True, help="95 % intervals (0 saves their time).")
@click.option("--inception", metavar="FILE", help="Weights of Inception, by file.")
@click.option("--vgg", metavar="FILE", help="Weights of VGG16, by file.")
@click.option("--lpips-weights", metavar="FILE", help="Heads of LPIPS.  [default: those of the lpips package]")
@click.option("--download", is_flag=True, help="Download weights that are missing, and check their sha256.")
@click.option("--trust-weights", is_flag=True, help="Load weight files whose sha256 is not the published one.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="A wish of one metric, as its page in "
                                                                               "docs/ names it. Repeatable.")
@click.option("--update-card", metavar="FILE", help="fairness: write the report into this model card, between markers.")
@click.option("--report", metavar="DIR", help="Also write report.md with plots there.")
@click.option("--picture", metavar="PNG", help="Also write the sheet of world_traits there: people, and below each the "
                                               "face from the voice.")
@click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True, help="Pictures at a time.")
@click.option("--workers", type=click.IntRange(min=1), help="Threads that read and resize.  [default: one a core]")
@click.option("--work-dir", metavar="DIR", help="Where a stopped run keeps what it has.  [default: the cache folder]")
@click.option("--no-cache", is_flag=True, help="Look at the real pictures anew, and keep nothing of them.")
@click.option("--gpus", type=click.IntRange(min=1), help="Ranks on this machine; under torchrun: its ranks.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--verbose", type=BOOL, default=True, show_default=True, help="Progress bars; warnings always come.")
def main(**options):
    """Measure a network, or pictures in its place: image quality, latent space, and whether the voice mattered.

    \b
      calc_metrics.py --network net.safetensors --data faces.zip --metrics fid50k_full,pr50k3_full --inception FILE
      calc_metrics.py --fakes drawn/ --data real/ --metrics fid_clean --judge drawn
      calc_metrics.py --data world.zip --metrics world_traits --judge probe.safetensors

    Every number comes as a line of JSON with "results" and "protocol"; it goes to metric-NAME.jsonl beside a snapshot
    of a run, too. docs/metrics.md says what each metric is, and which numbers compare.
    """
    from torch_utils.process import prepare_process

    prepare_process()
    from training.metrics_table import METRICS

    if options["show_list"]:
        from dnnlib.console import say, table

        say(table([(name, row.what, ", ".join(row.needs)) for name, row in METRICS.items()],
                  ["metric", "what", "needs"]))
        return
    names, settings, network = _wishes(options)
    from training.measuring_door import run

    run(names, settings, network=network, fakes=options["fakes"], data=options["data"], device=options["device"],
        gpus=options["gpus"], report=options["report"], picture=options["picture"])


def _wishes(options):  # -> (names, MeasureSettings, network)
    """Returns what the options ask for; usage errors where they contradict each other."""
    from training.measuring import MeasureSettings, rows_of

    probes = [judge for judge in options["judges"] if judge not in ("inception", "drawn")]
    judges = [judge for judge in options["judges"] if judge in ("inception", "drawn")]
    if len(set(judges)) > 1 or len(probes) > 1:
        raise click.UsageError("--judge twice of one sort: one of inception and drawn, and one path of a recogniser or "
                               "probe.")
    wanted = options["metrics"] or ("world_traits" if probes else "fid50k_full")
    names = [] if wanted.lower() in _WITHOUT else [name.strip() for name in wanted.split(",") if name.strip()]
    rows_of(names)
    extra = dict(_named(text) for text in options["options"])
    if probes:
        extra["probe"] = probes[0]
    if options["update_card"]:
        if "fairness" not in names:
            raise click.UsageError("--update-card writes the report of the metric fairness, which is not among the "
                                   "metrics; give --metrics fairness.")
        extra["update_card"] = options["update_card"]
    if options["picture"] and "world_traits" not in names:
        raise click.UsageError("--picture is the sheet of world_traits, which is not among the metrics; --report DIR "
                               "writes pictures of the others.")
    if options["label"] is not None:
        if options["fakes"] is not None:
            raise click.UsageError("--class is for a network; --fakes are judged as they are.")
        extra["class"] = options["label"]
    network = options["network"]
    if network is None and options["fakes"] is None:
        from voice2style.pipeline import network_file

        network = str(network_file())
    settings = MeasureSettings(
        num=options["num"], seed=options["seed"], judge=judges[0] if judges else "inception",
        faces_from=options["faces_from"], split=options["split"], limit=options["limit"],
        truncation_psi=options["trunc"], mirror=options["mirror"], inception=options["inception"], vgg=options["vgg"],
        lpips_weights=options["lpips_weights"], download=options["download"], trust_weights=options["trust_weights"],
        batch=options["batch"], workers=options["workers"], rounds=200 if options["intervals"] else 0,
        work_dir=options["work_dir"], cache=not options["no_cache"], verbose=options["verbose"], options=extra)
    return names, settings, network


def _named(text):
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.UsageError(f'--option "{text}" is not NAME=VALUE.')
    return name.strip().replace("-", "_"), value


if __name__ == "__main__":
    main()
