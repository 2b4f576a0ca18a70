"""The METRICS table: one row a metric; its key is the name on the command line."""

from training.image_metrics import IMAGE_METRICS
from training.pair_metrics import PAIR_METRICS
from training.path_metrics import PATH_METRICS
from training.voice_metrics import VOICE_METRICS

METRICS = {**IMAGE_METRICS, **PATH_METRICS, **PAIR_METRICS, **VOICE_METRICS}  # name -> Metric
