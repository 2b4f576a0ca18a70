"""Manners of every door: `_` for `-` in options, one line and exit code 2 for bad input, number ranges."""

import math
import os
import shlex

import click

BOOL = click.BOOL  # booleans take a value: --mirror=1
HIGHEST_SEED = 2**32 - 1  # what numpy takes
_MOST_NUMBERS = 10_000_000  # in one list; more is a slip of the finger


def _dashes(name):
    return name.replace("_", "-")


class BadInput(click.ClickException):
    """Bad input found after the options were read: one line on stderr."""

    exit_code = 2


class _Manners:
    """Mixin for click commands: accepts underscores in option names and ends bad input in one line."""

    def make_context(self, info_name, args, parent=None, **extra):
        extra.setdefault("token_normalize_func", _dashes)
        extra.setdefault("help_option_names", ["-h", "--help"])
        return super().make_context(info_name, args, parent=parent, **extra)

    def parse_args(self, ctx, args):
        left = super().parse_args(ctx, args)
        for param in self.params:
            value = ctx.params.get(param.name)
            if isinstance(param.type, type(click.FLOAT)) and isinstance(value, float) and math.isnan(value):
                raise click.BadParameter("nan is not a number.", ctx, param)
        return left

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except (ValueError, OSError) as error:
            if os.environ.get("V2S_TRACEBACK"):
                raise
            raise BadInput(_sentence(error)) from error
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(130)


class Door(_Manners, click.Command):
    """A command of this toolkit. ValueError and OSError become one line on stderr and exit code 2."""


class DoorGroup(_Manners, click.Group):
    """A command with sub-commands, with the manners of `Door`."""

    command_class = Door


def _sentence(error):
    if isinstance(error, OSError) and error.strerror:
        return f'{error.strerror}: "{error.filename}"' if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def parse_range(text):
    """Returns the whole numbers of '0,3,5-9' as a list, in the order given; ValueError when it is not one."""
    numbers = []
    for part in str(text).split(","):
        first, dash, last = part.strip().partition("-")
        try:
            first, last = int(first), int(last if dash else first)
        except ValueError:
            raise ValueError(f'"{text}" is not a list of whole numbers such as 0,3,5-9.') from None
        if last < first:
            raise ValueError(f'"{part}" runs backwards; write {last}-{first}.')
        if len(numbers) + last - first >= _MOST_NUMBERS:
            raise ValueError(f'"{text}" names more than {_MOST_NUMBERS} numbers.')
        numbers.extend(range(first, last + 1))
    return numbers


def public_command(program, words):
    """Returns a command line for a card: of absolute paths only the name, for a home folder is nobody's concern."""
    def shortened(word):
        option, equals, value = word.partition("=")
        if equals and os.path.isabs(value):
            return f"{option}={os.path.basename(value)}"
        return os.path.basename(word) if os.path.isabs(word) else word

    return shlex.join(["python", program, *map(shortened, words)])


class NumRange(click.ParamType):
    """A list of whole numbers that mixes values and ranges: 0,3,5-9."""

    name = "numbers"

    def convert(self, value, param, ctx):
        if isinstance(value, (list, tuple)):
            return list(value)
        try:
            return parse_range(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class SeedRange(NumRange):
    """A NumRange of random seeds, 0 to 2**32 - 1."""

    def convert(self, value, param, ctx):
        seeds = super().convert(value, param, ctx)
        if max(seeds, default=0) > HIGHEST_SEED:
            self.fail(f"{max(seeds)} is no seed; allowed: 0 to 2**32 - 1.", param, ctx)
        return seeds


class Folder(click.ParamType):
    """The name of a folder; an empty one, as an unset variable of a script gives, is none."""

    name = "DIR"

    def convert(self, value, param, ctx):
        if not str(value):
            raise BadInput(f'{param.opts[0]} is empty; name a folder ("." is this one).')
        return value


class GridSize(click.ParamType):
    """A width and a height: 4x2 or 4,2."""

    name = "WxH"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        parts = str(value).lower().replace("x", ",").split(",")
        if len(parts) != 2 or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
            self.fail(f'"{value}" is not a size such as 4x2.', param, ctx)
        return int(parts[0]), int(parts[1])
