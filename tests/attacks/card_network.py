"""A card of 200 bytes that describes a network of terabytes."""

import json

import foreign_files as ff

MESSAGE = r"would be a network of more than \d{15} bytes"


def build(folder, marker):
    generator = {"kind": "stylegan2", "options": {"img_resolution": 8, "channels": [1 << 20, 1 << 20]}}
    card = json.dumps({"format": "voice2style/1", "generator": generator})
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    return ff.write_safetensors(folder / "a.safetensors", {"__metadata__": {"voice2style": card}, "G_ema.a": entry},
                                bytes(4))
