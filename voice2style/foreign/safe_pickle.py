"""Reads a pickle without running it: an own small stack machine that can only build inert objects."""

import struct

from voice2style.foreign.calls import call_for
from voice2style.foreign.inert import ArrayRef, Module, Name, NumpyType, Thing
from voice2style.foreign.opcodes import ENDED, OPCODES
from voice2style.foreign.windows import LAZY_BYTES, MAX_NESTING, Blob, Refusal, Text

MAX_NAME = 1024
KEY_TYPES = (str, int, float, bool, bytes, type(None), Name, Thing)


class Machine:
    """One run over one pickle. Python's own unpickler is not used, so no class is ever looked up and no call is made:
    a global is a pair of strings, and the calls of `calls.CALLS` are descriptions that we fill in ourselves."""

    def __init__(self, file, end, allowance, persistent=None, blobs=None):
        """`file`: open binary file at the first opcode; `end`: where its bytes stop; `persistent`: function(pid) for
        torch's storages; `blobs`: a second handle of the same bytes for values that are read later."""
        self.file, self.end, self.allowance, self.persistent = file, end, allowance, persistent
        self.blobs = blobs or file
        self.stack, self.marks, self.memo = [], [], {}
        self.names = {}  # every global the pickle named, in order
        self.inert = {}  # those among them that were called without being understood

    def run(self):
        """The root object."""
        read, step_of = self.file.read, OPCODES.get
        try:
            num_steps = 0
            while num_steps <= self.allowance.num_opcodes_left:
                num_steps += 1
                code = read(1)
                step = step_of(code)
                if step is None:
                    raise Refusal(
                        f"byte {code!r} at {self.file.tell() - 1} is no pickle instruction" if code else ENDED
                    )
                if step(self):
                    break
            self.allowance.take_opcodes(num_steps)  # refuses when the loop ran out
        except Refusal:
            raise
        except (IndexError, KeyError, struct.error, TypeError, OverflowError, ValueError) as error:
            raise Refusal(
                f"the pickle is damaged before byte {self.file.tell()} ({type(error).__name__}: {error})"
            ) from error
        check_nesting(root := self.stack[-1])
        return root

    # ---- reading arguments ----

    def take(self, num):
        data = self.file.read(num)
        if len(data) != num:
            raise Refusal(ENDED)
        return data

    def number(self, form):
        return form.unpack(self.take(form.size))[0]

    def line(self, limit=MAX_NAME):
        line = self.file.readline(limit + 1)
        if not line.endswith(b"\n"):
            raise Refusal(ENDED if len(line) <= limit else f"a line of more than {limit} bytes in a pickle")
        return line[:-1]

    def region(self, length):
        """bytes, or for a long run a Blob that stays in the file."""
        start = self.file.tell()
        if length > self.end - start:
            raise Refusal(f"truncated: the pickle declares {length} bytes at {start} and {self.end - start} are left")
        if length <= LAZY_BYTES:
            return self.take(length)
        self.file.seek(start + length)
        return Blob(self.blobs, start, length)

    def text(self, length, encoding="utf-8"):
        data = self.region(length)
        return Text(data, encoding) if isinstance(data, Blob) else data.decode(encoding, "surrogatepass")

    # ---- building ----

    def push(self, value):
        self.stack.append(value)

    def pop_mark(self):
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def key(self, value):
        """`value` if it may be a key: plain or a flat tuple, so that no hash walks deep or collides by design."""
        if type(value) is tuple and len(value) <= 8 and all(isinstance(v, KEY_TYPES) for v in value):
            return value
        if not isinstance(value, KEY_TYPES) or (type(value) is int and abs(value) >= 1 << 60):
            raise Refusal(f"a dictionary key of kind {type(value).__name__}")
        return value

    def name(self, module, name):
        if not isinstance(module, str) or not isinstance(name, str) or len(module) + len(name) > MAX_NAME:
            raise Refusal("a global whose name is not two short strings")
        found = Name(module, name)
        if found.runs_code():
            raise Refusal(
                f"it asks to run code: it names {found.full}, which no file of weights needs; nothing was run,"
                " do not open this file with other programs"
            )
        return self.names.setdefault(found.full, found)

    def make(self, maker, args):
        if not isinstance(maker, (Name, Thing)):
            raise Refusal(f"the pickle calls a {type(maker).__name__}")
        if not isinstance(args, tuple):
            raise Refusal("the pickle makes a call whose arguments are not a tuple")
        call = call_for(maker) if isinstance(maker, Name) else None
        if call:
            return call(self, args)
        made = Thing(maker, args)
        self.inert.setdefault(made.full, made)
        return made

    def build(self):
        """State for the object below it, where we know what it means; attributes are never set on anything."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Thing):
            target.state = state
        elif isinstance(target, NumpyType):
            if not isinstance(state, tuple) or len(state) < 5 or state[3] is not None or state[4] is not None:
                raise Refusal("a numpy type with fields: only plain numbers are read")
            order = state[1] if state[1] in ("<", ">") else ""
            target.text = f"{order}{target.text}" if order and str(target.text)[:1] not in "<>=|" else target.text
        elif isinstance(target, ArrayRef):
            if not isinstance(state, tuple) or len(state) != 5:
                raise Refusal("a numpy array with a state that is not its five values")
            target.fill(state[1], state[2], state[4], state[3])
        elif isinstance(target, dict):
            if not isinstance(state, dict) or set(state) - {"_metadata"}:
                raise Refusal("attributes are set on a plain dictionary (a known trick to smuggle methods in)")
        elif isinstance(target, Module) and isinstance(state, dict):
            target.state = {**target.state, **state}
            self.allowance.take_opcodes(len(target.state))
        else:
            raise Refusal(f"the pickle sets the state of a {type(target).__name__}")

    def set_items(self, pairs):
        target = self.stack[-1]
        target = target.items if isinstance(target, Thing) else target
        if not isinstance(target, dict) or len(pairs) % 2:
            raise Refusal("dictionary entries for something that is no dictionary")
        for key, value in zip(pairs[::2], pairs[1::2]):
            target[self.key(key)] = value

    def extend(self, values):
        target = self.stack[-1]
        target = target.entries if isinstance(target, Thing) else target
        if not isinstance(target, list):
            raise Refusal("list entries for something that is no list")
        target.extend(values)

    def put(self, index):
        if not 0 <= index <= self.allowance.num_opcodes:
            raise Refusal(f"memo number {index} is beyond anything a file of this length can hold")
        self.memo[index] = self.stack[-1]


def check_nesting(root):
    """Walks the finished object level by level; a chain deeper than MAX_NESTING is refused."""
    seen, level, depth = set(), [root], 0
    while level:
        depth += 1
        if depth > MAX_NESTING:
            raise Refusal(f"objects nested more than {MAX_NESTING} deep")
        below = []
        for value in level:
            if isinstance(value, dict):
                children = value.values()
            elif isinstance(value, (list, tuple)):
                children = value
            elif isinstance(value, Thing):
                children = value.children()
            elif isinstance(value, Module):
                children = (value.state,)
            else:
                continue
            if id(value) not in seen:
                seen.add(id(value))
                below.extend(children)
        level = below
