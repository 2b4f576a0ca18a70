"""Bounded random access into a file: lazy bytes and text, and the allowance that limits what a file may cost."""

import codecs
import io

MAX_OPCODES = 2_000_000  # for the longest files; short ones get less, see Allowance
MAX_NESTING = 400  # marks open at once, and links from the root to the deepest object
LAZY_BYTES = 1 << 16  # longer strings and byte runs stay in the file until somebody needs them
BYTES_PER_FILE_BYTE = 4  # a half-precision file doubles on reading; tied tensors double again


class Refusal(ValueError):
    """A file that is not read, with the reason as one sentence for the user."""


class Allowance:
    """What one file may cost us: pickle opcodes and bytes of memory, both bounded by the file's own length."""

    def __init__(self, length):
        self.num_opcodes_left = self.num_opcodes = min(100_000 + length // 64, MAX_OPCODES)
        self.checked_stream_head = b""
        self.num_bytes_left = self.num_bytes = BYTES_PER_FILE_BYTE * length + (1 << 20)

    def take_opcodes(self, num):
        self.num_opcodes_left -= num
        if self.num_opcodes_left < 0:
            raise Refusal(
                f"the pickle asks for more than {self.num_opcodes} steps, far more than a file of its length needs"
            )

    def take_bytes(self, num, what):
        self.num_bytes_left -= num
        if self.num_bytes_left < 0:
            raise Refusal(
                f"{what} asks for {num} bytes, and the file may make us hold {self.num_bytes} in all"
                f" ({BYTES_PER_FILE_BYTE} times its own length): it declares more data than it has"
            )


class Blob:
    """Bytes inside an open binary file, not read yet."""

    __slots__ = ("file", "start", "length")

    def __init__(self, file, start, length):
        self.file, self.start, self.length = file, start, length

    def read(self, start=0, length=None):
        """At most `length` bytes from `start` on."""
        room = max(self.length - start, 0)
        self.file.seek(self.start + start)
        return self.file.read(room if length is None else min(length, room))

    def read_into(self, start, target):
        """Fills the writable memoryview `target` with the bytes from `start` on."""
        if start + len(target) > self.length:
            raise Refusal(f"truncated: {len(target)} bytes are declared where {max(self.length - start, 0)} are left")
        self.file.seek(self.start + start)
        while len(target):
            num = self.file.readinto(target)
            if not num:
                raise Refusal("truncated: the file ends inside the values of a tensor")
            target = target[num:]

    def slice(self, start, length):
        return Blob(self.file, self.start + start, min(length, max(self.length - start, 0)))


def memory_blob(data):
    """A Blob over bytes already in memory."""
    return Blob(io.BytesIO(data), 0, len(data))


class Text:
    """A long string inside a pickle, not read yet (source texts, or bytes that protocol 2 wrote as latin-1 text)."""

    __slots__ = ("blob", "encoding")

    def __init__(self, blob, encoding):
        self.blob, self.encoding = blob, encoding

    def pieces(self, num_bytes):
        """Decoded strings, `num_bytes` of the file at a time."""
        if self.encoding != "utf-8":  # escapes of protocol 0 must not be cut
            yield self.blob.read().decode(self.encoding)
            return
        decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
        for start in range(0, self.blob.length, num_bytes):
            yield decoder.decode(self.blob.read(start, num_bytes))
        yield decoder.decode(b"", final=True)


class Latin1Blob:
    """The bytes that `_codecs.encode(text, 'latin1')` stands for, decoded piece by piece when needed."""

    __slots__ = ("text", "length")

    def __init__(self, text):
        self.text = text
        self.length = text.blob.length  # an upper bound: every byte takes one or two in the file

    def _pieces(self, num_bytes):
        for piece in self.text.pieces(num_bytes):
            yield piece.encode("latin-1")

    def read(self, start=0, length=None):
        stop = self.length if length is None else start + length
        kept, position = [], 0
        for piece in self._pieces(min(1 << 20, max(2 * stop, 1))):
            kept.append(piece[max(start - position, 0) : max(stop - position, 0)])
            position += len(piece)
            if position >= stop:
                break
        return b"".join(kept)

    def read_into(self, start, target):
        position, filled, stop = 0, 0, start + len(target)
        for piece in self._pieces(1 << 20):
            part = piece[max(start - position, 0) : max(stop - position, 0)]
            target[filled : filled + len(part)] = part
            filled += len(part)
            position += len(piece)
            if position >= stop:
                break
        if filled < len(target):
            raise Refusal(f"truncated: {len(target)} bytes are declared where {filled} are left")
