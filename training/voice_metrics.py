"""The metrics that ask whether the voice mattered, as rows of the METRICS table."""

VOICE_METRICS = {}  # name -> training.metric_rows.Metric
