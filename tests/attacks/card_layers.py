"""A card that describes ten million mapping layers: every one would cost time and memory."""

import json

import foreign_files as ff

MESSAGE = r"would have 10000000 mapping layers|mapping_layers 10000000"


def build(folder, marker):
    options = {"img_resolution": 8, "channels": [1, 1], "mapping_layers": 10**7, "layer_features": 1}
    card = json.dumps({"format": "voice2style/1", "generator": {"kind": "stylegan2", "options": options}})
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    return ff.write_safetensors(folder / "a.safetensors", {"__metadata__": {"voice2style": card}, "G_ema.a": entry},
                                bytes(4))
