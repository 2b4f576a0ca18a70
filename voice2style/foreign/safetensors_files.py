"""Reads a .safetensors header by itself: every lie in it gets its own sentence, the numbers stay in place."""

import json
import math

import torch

from voice2style.foreign.inert import MAX_DIMENSIONS, Storage, TensorRef
from voice2style.foreign.structure import Contents
from voice2style.foreign.windows import Blob, Refusal

MAX_HEADER = 16 << 20
DTYPES = {
    "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def read_file(file, end):
    """Contents of a .safetensors file; raises Refusal for any header that does not describe the bytes that follow."""
    head = Blob(file, 0, end).read(0, 8)
    length = int.from_bytes(head, "little")
    if len(head) < 8 or length > MAX_HEADER:
        raise Refusal(f"a .safetensors header of {length} bytes, at most {MAX_HEADER} are read")
    if 8 + length > end:
        raise Refusal(f"truncated: its .safetensors header declares {length} bytes and {end - 8} are there")
    header = _parse(Blob(file, 8, length).read())
    data = Blob(file, 8 + length, end - 8 - length)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise Refusal("the metadata of its .safetensors header is not a table of text")
    contents = Contents("safetensors", {}, metadata=metadata)
    spans = []
    for name, entry in header.items():
        dtype, shape, start, stop = _checked(name, entry)
        spans.append((start, stop, name))
        if stop > data.length:
            raise Refusal(
                f"truncated: tensor {name} is declared up to byte {stop} and {data.length} bytes of values are there"
            )
        if dtype is not None:
            strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
            storage = Storage(dtype, math.prod(shape), data.slice(start, stop - start))
            contents.tensors[name] = TensorRef(storage, 0, shape, strides)
    _check_spans(sorted(spans), data.length)
    return contents


def _parse(text):
    def no_doubles(pairs):
        table = dict(pairs)
        if len(table) != len(pairs):
            raise Refusal("its .safetensors header names the same thing twice")
        return table

    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=no_doubles)
    except Refusal:
        raise
    except (ValueError, RecursionError) as error:
        raise Refusal("its .safetensors header is not JSON") from error
    if not isinstance(header, dict):
        raise Refusal("its .safetensors header is not a table")
    return header


def _whole(value):
    return type(value) is int and 0 <= value < 1 << 48


def _checked(name, entry):
    """(dtype or None for kinds no network needs, shape, start, stop) of one header entry."""
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= set(entry):
        raise Refusal(f"tensor {name} of its .safetensors header lacks dtype, shape or data_offsets")
    shape, offsets, dtype = entry["shape"], entry["data_offsets"], entry["dtype"]
    if not isinstance(shape, list) or not all(map(_whole, shape)) or len(shape) > MAX_DIMENSIONS:
        raise Refusal(f"tensor {name} has the impossible shape {shape!r}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_whole, offsets)) or offsets[0] > offsets[1]:
        raise Refusal(f"tensor {name} has the impossible data_offsets {offsets!r}")
    if not isinstance(dtype, str):
        raise Refusal(f"tensor {name} has no dtype")
    known = DTYPES.get(dtype)
    if known is not None and math.prod(shape) * known.itemsize != offsets[1] - offsets[0]:
        raise Refusal(
            f"tensor {name} of shape {shape} and type {dtype} is declared over {offsets[1] - offsets[0]} bytes,"
            f" {math.prod(shape) * known.itemsize} are needed"
        )
    return known, shape, *offsets


def _check_spans(spans, length):
    last = 0
    for start, stop, name in spans:
        if start < last:
            raise Refusal(f"tensor {name} overlaps another one in its .safetensors header")
        if start > last:
            raise Refusal(f"{start - last} bytes before tensor {name} belong to no tensor of its .safetensors header")
        last = stop
    if last != length:
        raise Refusal(f"{length - last} bytes after the last tensor belong to no tensor of its .safetensors header")
