"""A numpy array of Python objects, as TensorFlow variables."""

import foreign_files as ff
import numpy as np

MESSAGE = r"numpy array of (type|Python objects)"


def build(folder, marker):
    bad = ff.tf_network("Gs", 4, {}, {"x": np.array([{}, 1], dtype=object)})
    return ff.write_pickle(folder / "a.pkl", (bad, bad, bad))
