"""The report: a table with n, seed and judge, plots that are pictures, curves of a run."""

import json

import numpy as np
from PIL import Image

from metrics.report import curves, histogram, interval_plot, results_table, write_report
from metrics.result import Result

RESULTS = [Result("fid", 12.5, 11.0, 14.0, 500, 3, "drawn"), Result("is50k_std", 0.2, None, None, 500, 3, "drawn")]


def test_a_number_is_never_without_n_seed_and_judge():
    assert str(RESULTS[0]) == "fid 12.5 [11, 14] (n 500, seed 3, judge drawn)"
    assert str(RESULTS[1]) == "is50k_std 0.2 (n 500, seed 3, judge drawn)"
    row = results_table(RESULTS).splitlines()[2]
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["fid", "12.5", "11 … 14", "500", "3", "drawn"]


def test_plots_are_pictures_with_ink():
    for pixels in (interval_plot(RESULTS), histogram(np.arange(100.0), title="t", label="x")):
        assert pixels.dtype == np.uint8 and pixels.shape[2] == 3 and pixels.std() > 5


def test_curves_need_two_snapshots():
    lines = [{"results": {"fid": value}, "snapshot_pkl": f"network-snapshot-{kimg:06d}.pkl"}
             for kimg, value in ((200, 20.0), (0, 90.0), (200, 19.0))]
    assert curves(lines) == {"fid": ([0, 200], [90.0, 19.0])}
    mixed = [{"results": {"fid": 1.0}, "snapshot_pkl": f"network-snapshot-{kimg}.safetensors"}
             for kimg in ("000012.345", "000008", "000012")]
    assert curves(mixed)["fid"][0] == [8, 12, 12.345]
    judged = [{**line, "metric": "fid", "protocol": {"judge_sha256": judge}} for line, judge in zip(lines, "aba")]
    assert curves(judged) == {}  # one snapshot of the judge of the newest line
    assert curves([*judged, {**judged[1], "protocol": judged[0]["protocol"]}]) == {"fid": ([0, 200], [90.0, 19.0])}
    assert curves(lines[:1]) == {} and curves([{"results": {"a": 1.0}}, {}]) == {}


def test_a_report_is_a_page_with_its_pictures(tmp_path):
    history = [{"results": {"fid": value}, "snapshot_pkl": f"s-{value:.0f}.pkl"} for value in (1.0, 2.0)]
    sections = [{"metric": "fid", "results": RESULTS, "protocol": {"n": 500, "cautions": ["n is small"]},
                 "table": "| a |", "pictures": {"sheet.png": lambda: np.zeros([4, 5, 3], np.uint8)}}]
    page = write_report(tmp_path / "report", sections, title="Metrics of x", history=history).read_text()
    assert "# Metrics of x" in page and "* n is small" in page and "| a |" in page and '"n": 500' in page
    for name in ("results.png", "history-fid.png", "sheet.png"):
        assert f"({name})" in page and Image.open(tmp_path / "report" / name).size[0] > 4
    block = page.split("```json")[1].split("```")[0]
    assert json.loads(block)["n"] == 500
