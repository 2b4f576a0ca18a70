"""Checkpoints: exact round trip, strict load, one sentence for every damaged file; random streams; cards."""

import pytest
import torch

from torch_utils.checkpoint import (
    load_checkpoint,
    load_strictly,
    part_of,
    read_card,
    save_checkpoint,
    write_archive,
    write_tensors,
)
from torch_utils.random_streams import numpy_stream, stream
from voice2style.card import Card, Part


@pytest.fixture
def saved(tmp_path):
    tensors = {"G_ema.a": torch.randn(3, 4).t(), "D.b": torch.tensor(1.5, dtype=torch.float64)}
    card = Card(generator=Part("stylegan2", {"img_resolution": 16}), licence="Apache-2.0")
    save_checkpoint(tmp_path / "model.safetensors", tensors, card.to_dict())
    return tmp_path / "model.safetensors", tensors, card


def test_round_trip_is_exact(saved):
    path, tensors, card = saved
    loaded, found = load_checkpoint(path)
    assert Card.from_dict(found) == card and Card.from_dict(read_card(path)) == card
    assert loaded.keys() == tensors.keys() and all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert list(part_of(loaded, "D")) == ["b"]


def test_every_truncation_is_one_sentence(saved):
    path, _, _ = saved
    content = path.read_bytes()
    for end in (0, 1, 7, 8, 9, 40, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match="empty|truncated|not a .safetensors|damaged"):
            load_checkpoint(path)


def test_foreign_and_lying_headers(saved):
    path, _, _ = saved
    for content in (b"hello world, this is no checkpoint", b"\xff" * 100, (2**40).to_bytes(8, "little") + b"{}",
                    (2).to_bytes(8, "little") + b"{]", (20).to_bytes(8, "little") + b'{"a":{"dtype":"F32"}',
                    (8).to_bytes(8, "little") + b'{"a":[]}'):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a .safetensors|truncated|damaged"):
            load_checkpoint(path)


def test_load_strictly_names_the_fault():
    module = torch.nn.Linear(2, 3)
    good = {"weight": torch.ones(3, 2), "bias": torch.ones(3)}
    load_strictly(module, good, where="the file")
    assert torch.equal(module.weight, good["weight"])
    for change, message in (({"bias": None}, "missing: bias"), ({"more": torch.ones(1)}, "unknown: more"),
                            ({"bias": torch.ones(4)}, r"bias \(4,\), expected \(3,\)")):
        wrong = {name: tensor for name, tensor in {**good, **change}.items() if tensor is not None}
        with pytest.raises(ValueError, match=message):
            load_strictly(module, wrong, where="the file")


def test_card_of_another_version_is_refused():
    with pytest.raises(ValueError, match='format "voice2style/9"'):
        Card.from_dict({"format": "voice2style/9", "generator": {"kind": "x", "options": {}}})


def test_streams_are_named_and_repeatable():
    assert torch.equal(torch.rand(4, generator=stream(1, "noise", 2)), torch.rand(4, generator=stream(1, "noise", 2)))
    assert not torch.equal(torch.rand(4, generator=stream(1, "a")), torch.rand(4, generator=stream(1, "b")))
    assert numpy_stream(3, "z").random() == numpy_stream(3, "z").random() != numpy_stream(4, "z").random()


@pytest.mark.parametrize("write", [
    lambda path: write_tensors(path, {"a": torch.zeros(10)}, metadata={}),
    lambda path: write_archive(path, {"a": torch.zeros(10)})])
def test_a_place_that_takes_no_file_is_an_os_error(tmp_path, write):
    with pytest.raises(OSError, match="cannot be written"):
        write(tmp_path / "no such folder" / "file")
