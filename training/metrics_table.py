"""The METRICS table: one row a metric; its key is the name on the command line."""

from training.voice_metrics import VOICE_METRICS

METRICS = {**VOICE_METRICS}  # name -> training.metric_rows.Metric
