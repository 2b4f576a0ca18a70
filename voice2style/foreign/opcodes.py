"""The instructions of pickle protocols 0 to 5, as steps of `safe_pickle.Machine`; nothing here calls anything."""

import codecs
import struct

from voice2style.foreign.inert import Name, Thing
from voice2style.foreign.windows import LAZY_BYTES, MAX_NESTING, Blob, Refusal, Text

ENDED = "truncated: the pickle ends in the middle"
SHORT, INT4, UINT4, UINT8, DOUBLE = (struct.Struct(form) for form in ("<H", "<i", "<I", "<Q", ">d"))
OPCODES = {}


def opcode(code):
    def register(step):
        OPCODES[code] = step
        return step

    return register


for _code, _make in {
    b"N": lambda: None, b"\x88": lambda: True, b"\x89": lambda: False,
    b"}": dict, b"]": list, b")": tuple, b"\x8f": set,
}.items():  # fmt: skip
    OPCODES[_code] = (lambda make: lambda m: m.stack.append(make()))(_make)

for _code, _read in {
    b"J": lambda m: m.number(INT4),
    b"K": lambda m: m.file.read(1)[0],
    b"M": lambda m: m.number(SHORT),
    b"G": lambda m: m.number(DOUBLE),
    b"F": lambda m: float(m.line()),
    b"\x8a": lambda m: int.from_bytes(m.take(m.file.read(1)[0]), "little", signed=True),
    b"U": lambda m: m.text(m.file.read(1)[0], "latin-1"),
    b"T": lambda m: m.text(m.number(UINT4), "latin-1"),
    b"\x8c": lambda m: m.text(m.file.read(1)[0]),
    b"X": lambda m: m.text(m.number(UINT4)),
    b"\x8d": lambda m: m.text(m.number(UINT8)),
    b"C": lambda m: m.region(m.file.read(1)[0]),
    b"B": lambda m: m.region(m.number(UINT4)),
    b"\x8e": lambda m: m.region(m.number(UINT8)),
    b"\x96": lambda m: m.region(m.number(UINT8)),
    b"h": lambda m: m.memo[m.file.read(1)[0]],
    b"j": lambda m: m.memo[m.number(UINT4)],
    b"g": lambda m: m.memo[int(m.line())],
    b"t": lambda m: tuple(m.pop_mark()),
    b"l": lambda m: m.pop_mark(),
    b"2": lambda m: m.stack[-1],
    b"c": lambda m: m.name(m.line().decode(), m.line().decode()),
}.items():
    # the mark must be popped before the push looks at the stack
    OPCODES[_code] = (lambda read: lambda m: m.push(read(m)))(_read)


@opcode(b"I")
def _int_line(m):
    line = m.line()
    m.push({b"00": False, b"01": True}.get(line) if line in (b"00", b"01") else int(line))


@opcode(b"L")
def _long_line(m):
    m.push(int(m.line().rstrip(b"L")))


@opcode(b"\x8b")
def _long4(m):
    length = m.number(INT4)
    if not 0 <= length <= 255:
        raise Refusal(f"an integer of {length} bytes in a pickle of weights")
    m.push(int.from_bytes(m.take(length), "little", signed=True))


@opcode(b"S")
def _string_line(m):
    line = m.line(max(m.end - m.file.tell(), 1))
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in b"'\"":
        raise Refusal("a string of protocol 0 without quotes")
    m.push(codecs.escape_decode(line[1:-1])[0].decode("latin-1"))


@opcode(b"V")
def _unicode_line(m):
    start = m.file.tell()
    line = m.line(max(m.end - start, 1))
    if len(line) > LAZY_BYTES:
        m.push(Text(Blob(m.blobs, start, len(line)), "raw-unicode-escape"))
    else:
        m.push(line.decode("raw-unicode-escape"))


@opcode(b"(")
def _mark(m):
    if len(m.marks) >= MAX_NESTING:
        raise Refusal(f"objects nested more than {MAX_NESTING} deep")
    m.marks.append(m.stack)
    m.stack = []


@opcode(b"0")
def _pop(m):
    if m.stack:
        m.stack.pop()
    else:
        m.pop_mark()


@opcode(b"1")
def _pop_to_mark(m):
    m.pop_mark()


@opcode(b"\x91")
def _frozen_set(m):
    values = m.pop_mark()
    m.push(frozenset(m.key(v) for v in values))


@opcode(b"d")
def _dict(m):
    pairs = m.pop_mark()
    m.push({})
    m.set_items(pairs)


@opcode(b"s")
def _set_item(m):
    entry, key = m.stack.pop(), m.stack.pop()
    m.set_items([key, entry])


@opcode(b"u")
def _set_items(m):
    m.set_items(m.pop_mark())


@opcode(b"a")
def _append(m):
    m.extend([m.stack.pop()])


@opcode(b"e")
def _extend(m):
    m.extend(m.pop_mark())


@opcode(b"\x90")
def _add_items(m):
    values = m.pop_mark()
    target = m.stack[-1]
    if isinstance(target, Thing):
        target.entries.extend(values)
    elif isinstance(target, set):
        target.update(m.key(v) for v in values)
    else:
        raise Refusal("set entries for something that is no set")


@opcode(b"R")
def _reduce(m):
    args, maker = m.stack.pop(), m.stack.pop()
    m.push(m.make(maker, args))


OPCODES[b"\x81"] = _reduce  # NEWOBJ: class and arguments, the same recipe


@opcode(b"\x92")
def _new_object_with_keywords(m):
    keywords, args, maker = m.stack.pop(), m.stack.pop(), m.stack.pop()
    if not isinstance(maker, (Name, Thing)) or not isinstance(args, tuple):
        raise Refusal("an object is made from something that is no class")
    made = Thing(maker, args + (keywords,))
    m.inert.setdefault(made.full, made)
    m.push(made)


@opcode(b"i")
def _instance_line(m):
    maker = m.name(m.line().decode(), m.line().decode())
    args = tuple(m.pop_mark())
    m.push(m.make(maker, args))


@opcode(b"o")
def _instance(m):
    maker, *args = m.pop_mark()
    m.push(m.make(maker, tuple(args)))


@opcode(b"\x93")
def _stack_global(m):
    name, module = m.stack.pop(), m.stack.pop()
    m.push(m.name(module, name))


@opcode(b"b")
def _build(m):
    m.build()


for _num in (1, 2, 3):

    def _tuple(m, num=_num):
        if len(m.stack) < num:
            raise Refusal("a tuple of more values than there are")
        m.stack[-num:] = [tuple(m.stack[-num:])]

    OPCODES[bytes([0x84 + _num])] = _tuple


@opcode(b"p")
def _put_line(m):
    m.put(int(m.line()))


@opcode(b"q")
def _put(m):
    m.put(m.file.read(1)[0])


@opcode(b"r")
def _put_long(m):
    m.put(m.number(UINT4))


@opcode(b"\x94")
def _memoize(m):
    m.memo[len(m.memo)] = m.stack[-1]


@opcode(b"\x80")
def _protocol(m):
    if (version := m.file.read(1)[0]) > 5:
        raise Refusal(f"pickle protocol {version}: 0 to 5 are known")


@opcode(b"\x95")
def _frame(m):
    if (length := m.number(UINT8)) > m.end - m.file.tell():
        raise Refusal(f"truncated: a frame of {length} bytes is declared and {m.end - m.file.tell()} are left")


@opcode(b"\x98")
def _read_only(m):
    return None


def _no_buffer(m):
    raise Refusal("the pickle keeps its data outside the file (out-of-band buffers)")


def _no_extension(m):
    raise Refusal("the pickle uses the extension registry, which no file of weights needs")


OPCODES[b"\x97"] = _no_buffer
OPCODES[b"\x82"] = OPCODES[b"\x83"] = OPCODES[b"\x84"] = _no_extension


@opcode(b"Q")
def _persistent(m):
    if m.persistent is None:
        raise Refusal("the pickle refers to objects outside itself (persistent ids)")
    m.push(m.persistent(m.stack.pop()))


@opcode(b"P")
def _persistent_line(m):
    raise Refusal("the pickle refers to objects outside itself (persistent ids)")


@opcode(b".")
def _stop(m):
    if m.marks or not m.stack:
        raise Refusal("the pickle stops with unfinished objects")
    return True
