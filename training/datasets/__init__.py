"""Writers and readers of datasets, all in the one layout of docs/dataset.md."""
