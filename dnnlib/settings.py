"""Frozen dataclasses to plain JSON and back, with an error that names the key that was meant."""

import dataclasses
import difflib
import types
import typing


def did_you_mean(word, allowed):
    """Returns ' Did you mean "x"?' for the closest of `allowed`, or '' when nothing is close."""
    close = difflib.get_close_matches(str(word), [str(item) for item in allowed], n=1)
    return f' Did you mean "{close[0]}"?' if close else ""


def to_dict(settings):
    """Returns the fields of a dataclass instance as plain JSON values (tuples become lists)."""
    return {field.name: _plain(getattr(settings, field.name)) for field in dataclasses.fields(settings)}


def from_dict(cls, values, *, where=None):
    """Returns `cls(**values)`; ValueError for an unknown or missing key or a value of the wrong kind.

    `where` names the place the values came from in the error ("the card of model.safetensors").
    """
    where = where or cls.__name__
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected a table of settings, got {type(values).__name__}.")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in values:
        if key not in fields:
            raise ValueError(f'{where}: unknown setting "{key}".{did_you_mean(key, fields)} '
                             f"Allowed: {', '.join(fields)}.")
    missing = [name for name, field in fields.items() if name not in values
               and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING]
    if missing:
        raise ValueError(f"{where}: missing setting {', '.join(missing)}.")
    hints = typing.get_type_hints(cls)
    return cls(**{key: _converted(hints.get(key), value, f"{where}: {key}") for key, value in values.items()})


def _plain(value):
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{value!r} has no plain JSON form")


def _converted(hint, value, where):
    """Returns `value` in the annotated kind: lists to tuples, ints to floats, tables to dataclasses."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if value is None and (type(None) in options or hint is None):
        return None
    for option in options:
        base = typing.get_origin(option) or option
        if dataclasses.is_dataclass(base) and isinstance(value, dict):
            return from_dict(base, value, where=where)
        if base is tuple and isinstance(value, (list, tuple)):
            return tuple(tuple(item) if isinstance(item, list) else item for item in value)
        if base is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if base is int and isinstance(value, bool):
            continue
        if isinstance(base, type) and isinstance(value, base):
            return value
    if hint is None or hint is typing.Any:
        return value
    kinds = " or ".join(getattr(option, "__name__", str(option)) for option in options)
    raise ValueError(f"{where}: expected {kinds}, got {value!r}.")
