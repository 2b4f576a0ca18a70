"""Judges a model: numbers that carry their n, seed and judge."""

import json
import time

import click

from dnnlib.command_line import Door


@click.command(cls=Door)
@click.option("--network", help="Voice model; default: the demo model.")
@click.option("--data", required=True, help="Paired dataset: folder or zip made by dataset_tool.py.")
@click.option("--metrics", default="world_traits", show_default=True, help="Comma-separated names.")
@click.option("--judge", required=True, help="Trait probe, trained by train.py --task probe on other people and seed.")
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True)
@click.option("--trunc", type=click.FloatRange(0, 2), default=1.0, show_default=True)
@click.option("--limit", type=click.IntRange(min=2), help="Judge at most so many people.")
@click.option("--picture", help="Also write a sheet to this PNG: people, and below each the face from the voice.")
@click.option("--seed", type=int, default=0, show_default=True)
def main(network, data, metrics, judge, split, trunc, limit, picture, seed):
    """Measure on the drawn world how much of what a voice tells reaches the face."""
    wanted = [name.strip() for name in metrics.split(",") if name.strip()]
    if unknown := [name for name in wanted if name != "world_traits"]:
        raise click.UsageError(f"unknown metric {', '.join(unknown)}; this version has world_traits.")
    from dnnlib.files import sha256_file
    from training.evaluate import judge_world
    from voice2style.pipeline import load, network_file

    begin = time.time()
    report = judge_world(load(network, device="cpu"), data=data, judge_path=judge, split=split, psi=trunc, most=limit,
                         seed=seed, network_sha256=sha256_file(network_file(network)))
    if picture:
        from torch_utils.images import write_png

        text = "people of the drawn world; below each, the AI-generated face drawn from their synthetic speech"
        write_png(picture, report.sheet(), text={"Description": text})
    click.echo(report.table())
    click.echo(json.dumps({"results": report.results(), "metric": "world_traits", "total_time": time.time() - begin,
                           "protocol": report.protocol, "timestamp": time.time()}))


if __name__ == "__main__":
    main()
