"""Lays the objects of a file out flat: dotted names of tensors, and the attributes of the modules they came from."""

import dataclasses

from voice2style.foreign.inert import Module, TensorRef, Thing
from voice2style.foreign.windows import Refusal

MAX_DEPTH = 40
MAX_NAMES = 100_000


@dataclasses.dataclass
class Contents:
    """What a file holds, by dotted path. Nothing is read yet: the tensors are references into the file."""

    container: str  # "pickle", "torch.save archive", "torch.save stream" or "safetensors"
    root: object
    tensors: dict = dataclasses.field(default_factory=dict)  # "G_ema.mapping.w_avg" -> TensorRef
    modules: dict = dataclasses.field(default_factory=dict)  # "G_ema.mapping" -> (class name, attributes)
    values: dict = dataclasses.field(default_factory=dict)  # "opts" -> any other object at the outer levels
    inert: list = dataclasses.field(default_factory=list)  # names of globals that were left inert
    metadata: dict = dataclasses.field(default_factory=dict)  # of a .safetensors header
    room: int = 0  # bytes that the file may make us hold

    def attributes(self, path):
        """Attributes of the module at `path`, {} where the file has plain tensors only."""
        return self.modules.get(path, ("", {}))[1]

    def top_keys(self):
        """The keys of the outermost dictionary, as text."""
        return [str(key) for key in self.root] if isinstance(self.root, dict) else []


def module_of(value):
    """(class name, attributes) of a network module, however it was stored, or None."""
    if isinstance(value, Module):
        return value.class_name, value.state
    if isinstance(value, Thing) and isinstance(value.state, dict) and isinstance(value.state.get("_modules"), dict):
        return value.full.rsplit(".", 1)[-1], value.state
    return None


def lay_out(container, root, inert=()):
    """Contents of a root object; names joined with dots whatever mixture of dictionaries and modules holds them."""
    contents = Contents(container, root, inert=list(inert))
    _place(contents, root, "", 0)
    return contents


def _join(path, name):
    return f"{path}.{name}" if path else str(name)


def _place(contents, value, path, depth):
    if depth > MAX_DEPTH:
        raise Refusal(f"networks nested more than {MAX_DEPTH} deep")
    if len(contents.tensors) + len(contents.modules) + len(contents.values) > MAX_NAMES:
        raise Refusal(f"more than {MAX_NAMES} names: the same objects are named again and again (billion laughs)")
    module = module_of(value)
    if isinstance(value, TensorRef):
        contents.tensors[path] = value
    elif module is not None:
        contents.modules[path] = module
        for part in ("_parameters", "_buffers", "_modules"):
            for name, child in _entries(module[1].get(part)):
                if child is not None:
                    _place(contents, child, _join(path, name), depth + 1)
    elif isinstance(value, dict) or (isinstance(value, Thing) and value.items):
        contents.values[path] = value
        for name, child in _entries(value if isinstance(value, dict) else value.items):
            _place(contents, child, _join(path, name), depth + 1)
    elif depth <= 2:
        contents.values[path] = value


def _entries(table):
    if isinstance(table, Thing):
        table = table.items
    return [(k, v) for k, v in table.items() if isinstance(k, (str, int))] if isinstance(table, dict) else []


def plain(value):
    """True for an inert value that is only a number, text or None."""
    return value is None or isinstance(value, (bool, int, float, str))


def shapes_under(contents, prefix):
    """name without the prefix -> shape, for the tensors under it."""
    return {name[len(prefix) :]: t.shape for name, t in contents.tensors.items() if name.startswith(prefix)}
