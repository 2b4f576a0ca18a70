"""Files that appear whole or not at all, content hashes, the cache folder, and resumable downloads."""

import contextlib
import errno
import hashlib
import http.client
import os
import pathlib
import re
import tempfile
import urllib.error
import urllib.parse
import urllib.request

_BLOCK_BYTES = 1 << 20
_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|!--|html|head|body|\?xml)", re.IGNORECASE)  # no network begins so


@contextlib.contextmanager
def atomic_path(dest):
    """Yields a temporary path beside `dest`; moves it into place on success, removes it on any error.

    Makes the parent folders. The suffix of `dest` is kept, for libraries that choose a format by it.
    """
    dest = pathlib.Path(dest)
    dest.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{dest.stem[:40]}.", suffix=f".part{dest.suffix}", dir=dest.parent)
    os.close(handle)
    temporary = pathlib.Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes private files; a result is an ordinary file
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, dest)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) and not error.filename:
            error.filename = str(dest)  # of what was written the system does not tell
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def check_writable(dest, *, option, folder=False):
    """Raises ValueError when a file, or with `folder` a folder of files, cannot be written to `dest`; makes nothing.

    For what is written after hours of work: `option` is what the user called it. Missing folders will be made.
    """
    dest = pathlib.Path(dest)
    try:
        if dest.is_dir() and not folder:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        place = dest if folder else dest.parent
        while not place.exists():
            place = place.parent
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise ValueError(f'{option} "{dest}" cannot be written ({error.strerror}); give another place.') from error


def sha256_file(path):
    """Returns the hex sha256 of a file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file):  # Python 3.10 has no hashlib.file_digest
    digest = hashlib.sha256()
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def cache_dir(*parts):
    """Returns a folder under $DNNLIB_CACHE_DIR, or under ~/.cache/dnnlib; it need not exist yet."""
    root = os.environ.get("DNNLIB_CACHE_DIR") or pathlib.Path.home() / ".cache" / "dnnlib"
    return pathlib.Path(root, *parts)


def builds_dir():
    """Returns the folder of compiled ops, in $TORCH_EXTENSIONS_DIR or the cache folder; it need not exist yet."""
    root = os.environ.get("TORCH_EXTENSIONS_DIR")
    return pathlib.Path(root, "voice2style") if root else cache_dir("native_ops")


def fetch(source, *, sha256=None):
    """Returns the local path of a path, file:// or http(s):// source; downloads are cached by the URL's md5.

    An interrupted download goes on where it stopped. ValueError when there is no such file, the server
    does not answer or sends a web page, or the content does not have the wanted `sha256` (the file is then removed).
    """
    source = str(source)
    scheme = urllib.parse.urlsplit(source).scheme.lower()
    if scheme in ("http", "https"):
        path = _downloaded(source, sha256)
    elif scheme == "file":
        path = pathlib.Path(urllib.request.url2pathname(urllib.parse.urlsplit(source).path))
    elif len(scheme) > 1 and "://" in source:
        raise ValueError(f'cannot fetch "{source}": {scheme}:// is not supported; give a path, file:// or http(s)://.')
    else:
        path = pathlib.Path(source)
    if not path.exists():
        raise ValueError(f'no such file: "{path}".')
    if path.is_dir():
        raise ValueError(f'"{path}" is a folder; a file is needed here.')
    if sha256 is not None and (found := sha256_file(path)) != sha256:
        if scheme in ("http", "https"):
            path.unlink()
        raise ValueError(f'"{path}" has sha256 {found}, expected {sha256}; it is damaged or another file.')
    return path


def _downloaded(url, sha256):
    folder = cache_dir("downloads")
    key = hashlib.md5(url.encode(), usedforsecurity=False).hexdigest()
    hits = [path for path in folder.glob(f"{key}_*") if not path.name.endswith(".part")]
    if len(hits) == 1:
        with open(hits[0], "rb") as file:
            page = _PAGE.match(file.read(512))
        if not page:
            return hits[0]
        hits[0].unlink()  # other programs, which keep pages, share this folder
    name = re.sub(r"[^0-9A-Za-z._-]", "_", pathlib.PurePosixPath(urllib.parse.urlsplit(url).path).name)[-80:] or "file"
    folder.mkdir(parents=True, exist_ok=True)
    dest, part = folder / f"{key}_{name}", folder / f"{key}_{name}.part"
    with _claimed(part) as part:
        _transfer(url, part)
        if sha256 is not None and (found := sha256_file(part)) != sha256:
            part.unlink()
            raise ValueError(f'"{url}" gave a file with sha256 {found}, expected {sha256}; nothing was kept.')
        os.replace(part, dest)
    return dest


@contextlib.contextmanager
def _claimed(part):
    """Yields `part`, locked where the system can, or, while another process downloads into it, a part of our own."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield part
        return
    with open(part, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            spare = None
        except BlockingIOError:
            part = spare = part.with_name(f"{part.name}.{os.getpid()}.part")
        except OSError:
            spare = None  # a network disk without locks
        try:
            yield part
        finally:
            if spare or (part.exists() and not part.stat().st_size):
                part.unlink(missing_ok=True)


def _refuse_page(content, url):
    """Raises ValueError for the first bytes of a web page, which servers send with "200 OK" in place of a file."""
    if _PAGE.match(content):
        title = re.search(rb"<title[^>]*>([^<]*)", content, re.IGNORECASE)
        words = " ".join(title[1].decode("utf-8", "replace").split()) if title else ""
        called = f' called "{"".join(filter(str.isprintable, words))[:80]}"' if words else ""
        raise ValueError(f'"{url}" gave a web page{called} instead of the file (a login, an error, a question); '
                         "nothing was kept. Open it in a browser, download the file by hand and give its path.")


def _transfer(url, part):
    """Downloads `url` into `part`, going on after the bytes that are already there."""
    done = part.stat().st_size if part.exists() else 0
    escaped = urllib.parse.quote(url, safe="%/:=&?#~+!$,;'@()*[]")  # spaces and accents, as people paste them
    request = urllib.request.Request(escaped, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            resumed = answer.status == 206
            length = answer.headers.get("Content-Length") or ""
            expected = int(length) if length.isdecimal() else -1
            block = answer.read(_BLOCK_BYTES)
            if not resumed:
                _refuse_page(block, url)  # and keep what there is of the file
            received = 0
            with open(part, "ab" if resumed else "wb") as file:
                while block:
                    received += file.write(block)
                    block = answer.read(_BLOCK_BYTES)
    except urllib.error.HTTPError as error:
        if error.code == 416 and done:  # nothing is left to send: the part is whole
            return
        raise ValueError(f'cannot download "{url}": the server answered {error.code} {error.reason}.') from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
        raise ValueError(f'cannot download "{url}": {reason}. Download it by hand and give its path.') from error
    if 0 <= expected != received:
        raise ValueError(f'the download of "{url}" broke off after {received} of {expected} bytes; '
                         "the same command again goes on from there.")
