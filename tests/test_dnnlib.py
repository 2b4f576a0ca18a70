"""The ground without torch: settings, files, ranges, durations, exit codes."""

import dataclasses
import errno
import functools
import hashlib
import http.server
import socket
import threading

import click
import pytest
from click.testing import CliRunner

from dnnlib.command_line import Door, Folder, GridSize, NumRange, SeedRange, parse_range, public_command
from dnnlib.console import format_time, table
from dnnlib.files import _claimed, atomic_path, check_writable, fetch, sha256_file
from dnnlib.settings import from_dict, to_dict


@dataclasses.dataclass(frozen=True)
class Inner:
    sizes: tuple = (1, 2)


@dataclasses.dataclass(frozen=True)
class Outer:
    rate: float
    name: str = "a"
    limit: int | None = None
    inner: Inner = Inner()


def test_settings_survive_json():
    settings = Outer(rate=1.0, limit=3, inner=Inner((4, 5)))
    assert from_dict(Outer, to_dict(settings)) == settings


@pytest.mark.parametrize("values, message", [
    ({"rate": 1, "nam": "x"}, 'unknown setting "nam". Did you mean "name"'),
    ({}, "missing setting rate"),
    ({"rate": "fast"}, "expected float, got 'fast'"),
    ({"rate": 1, "limit": True}, "expected int or NoneType, got True"),
    ([1], "expected a table of settings, got list"),
])
def test_settings_errors_say_what_to_do(values, message):
    with pytest.raises(ValueError, match=message):
        from_dict(Outer, values)


def test_a_full_disk_is_told_with_the_name_of_what_was_written(tmp_path):
    for given, named in ((None, str(tmp_path / "x.png")), ("other", "other")):
        with pytest.raises(OSError) as told, atomic_path(tmp_path / "x.png"):
            raise OSError(errno.ENOSPC, "No space left on device", given)
        assert told.value.filename == named and list(tmp_path.iterdir()) == []


def test_atomic_path_leaves_nothing_behind_on_error(tmp_path):
    dest = tmp_path / "a" / "file.txt"
    with pytest.raises(RuntimeError), atomic_path(dest) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(dest.parent.iterdir()) == []
    with atomic_path(dest) as temporary:
        assert temporary.suffix == ".txt"
        temporary.write_text("whole")
    assert dest.read_text() == "whole" and len(list(dest.parent.iterdir())) == 1


def test_what_cannot_be_written_in_the_end_is_said_at_the_start(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    for good in ("new.json", "file", "a/b/new.json"):
        check_writable(tmp_path / good, option="--out")
    for good in ("folder", "new", "a/b"):
        check_writable(tmp_path / good, option="--report", folder=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]  # nothing was made
    for wrong, folder in (("folder", False), ("file/x.json", False), ("file/a/b/x", False), ("file", True)):
        with pytest.raises(ValueError, match=r'--out ".*" cannot be written \(.*directory\); give another place'):
            check_writable(tmp_path / wrong, option="--out", folder=folder)

    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("dnnlib.files.tempfile.TemporaryFile", refuse)
    with pytest.raises(ValueError, match=r"cannot be written \(Permission denied\)"):
        check_writable(tmp_path / "new.json", option="--out")


class _Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; answers Range requests, which the standard handler does not."""

    def do_GET(self):
        content = open(self.translate_path(self.path), "rb").read()
        start = int(self.headers.get("Range", "bytes=0-")[6:-1]) if self.server.resumes else 0
        self.server.starts.append(start)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:])

    def log_message(self, *_):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Server, directory=str(folder)))
    server.starts, server.resumes = [], True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, server, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_download_is_cached_resumed_and_checked(served, tmp_path):
    folder, server, url = served
    content = bytes(range(256)) * 40
    (folder / "net.bin").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    key = hashlib.md5(f"{url}/net.bin".encode(), usedforsecurity=False).hexdigest()
    part = tmp_path / "cache" / "downloads" / f"{key}_net.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(content[:1000])
    path = fetch(f"{url}/net.bin", sha256=digest)
    assert path.name == f"{key}_net.bin" and sha256_file(path) == digest and not part.exists()
    assert fetch(f"{url}/net.bin") == path and server.starts == [1000]
    with pytest.raises(ValueError, match="expected 0000"):
        fetch(f"{url}/net.bin", sha256="0" * 64)


def test_two_downloads_of_one_address_do_not_write_into_each_other(served, tmp_path):
    pytest.importorskip("fcntl")
    folder, _, url = served
    (folder / "net.bin").write_bytes(b"whole")
    key = hashlib.md5(f"{url}/net.bin".encode(), usedforsecurity=False).hexdigest()
    part = tmp_path / "cache" / "downloads" / f"{key}_net.bin.part"
    part.parent.mkdir(parents=True)
    with _claimed(part):  # another process is in the middle of it
        part.write_bytes(b"half of an")
        assert fetch(f"{url}/net.bin").read_bytes() == b"whole" and part.read_bytes() == b"half of an"
    assert sorted(path.name[33:] for path in part.parent.iterdir()) == ["net.bin", "net.bin.part"]


@pytest.mark.parametrize("page, called", [
    (b"<!DOCTYPE html><html><head><title>Google Drive -\n Virus scan warning</title>", "Google Drive - Virus scan war"),
    (b"\xef\xbb\xbf\n <HTML lang=en><body>Sign in", ""), (b"<!-- p -->\n<html>", ""), (b"<?xml version='1'?><E/>", "")])
def test_a_web_page_in_place_of_a_file_is_refused_and_not_kept(served, tmp_path, page, called):
    """The good half of a stopped download stays; a page that another program left in the cache is fetched anew."""
    folder, server, url = served
    downloads = tmp_path / "cache" / "downloads"
    (folder / "net.bin").write_bytes(page)
    with pytest.raises(ValueError, match=rf'net.bin" gave a web page.*{called}.* instead of the file.*give its path'):
        fetch(f"{url}/net.bin", sha256="0" * 64)
    assert list(downloads.iterdir()) == []
    kept = downloads / (hashlib.md5(f"{url}/net.bin".encode(), usedforsecurity=False).hexdigest() + "_net.bin")
    kept.write_bytes(page)
    part = kept.with_name(kept.name + ".part")
    part.write_bytes(b"half")
    server.resumes = False
    with pytest.raises(ValueError, match="gave a web page"):
        fetch(f"{url}/net.bin")
    assert part.read_bytes() == b"half" and not kept.exists()
    header = b"<!\0\0\0\0\0\0{}"  # of safetensors: a number that looks like a tag
    (folder / "net.bin").write_bytes(header)
    assert fetch(f"{url}/net.bin").read_bytes() == header


def test_an_address_with_spaces_and_accents_is_fetched(served):
    folder, server, url = served
    (folder / "n\u00e9 t.bin").write_bytes(b"whole")
    path = fetch(f"{url}/n\u00e9 t.bin")
    assert path.read_bytes() == b"whole" and path.name.endswith("_n__t.bin") and fetch(f"{url}/n\u00e9 t.bin") == path


@pytest.mark.parametrize("answer, told", [
    (b"no http\r\n\r\n", "no http"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n10\r\nab", "IncompleteRead"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70000 + b"\r\n\r\n", "header line")])
def test_a_server_that_talks_nonsense_is_one_sentence(tmp_path, monkeypatch, answer, told):
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path))

    def serve(listener):
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=[listener], daemon=True).start()
        with pytest.raises(ValueError, match=rf"cannot download .*{told}.* Download it by hand"):
            fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/net.bin")


@pytest.mark.parametrize("source, message", [
    ("nowhere.bin", "no such file"), ("ftp://host/x", "ftp:// is not supported"), (".", "is a folder")])
def test_fetch_errors(source, message):
    with pytest.raises(ValueError, match=message):
        fetch(source)


def test_ranges_mix_values_and_spans():
    assert parse_range("85,265,297-300") == [85, 265, 297, 298, 299, 300]
    for wrong in ("a", "5-3", "", "1,,2", "3-", "0-99999999999", "0-9999999,0-9999999"):
        with pytest.raises(ValueError):
            parse_range(wrong)


@pytest.mark.parametrize("seconds, text", [
    (59, "59s"), (397, "6m 37s"), (8158, "2h 15m 58s"), (97920, "1d 03h 12m")])
def test_durations(seconds, text):
    assert format_time(seconds) == text


def test_table_lines_up():
    lines = table([["a", 1], ["bbb", 22]], ["name", "n"]).splitlines()
    assert len({len(line) for line in lines}) == 1 and lines[1].startswith("|-")


@click.command(cls=Door)
@click.option("--num-faces", type=int, default=1)
@click.option("--seeds", type=NumRange(), default="0")
@click.option("--grid", type=GridSize(), default="1x1")
@click.option("--fail", default="")
def _door(num_faces, seeds, grid, fail):
    if fail == "value":
        raise ValueError("what came;\nwhat to do")
    if fail == "file":
        open("/no/such/folder/file")
    if fail == "stop":
        raise KeyboardInterrupt
    click.echo(f"{num_faces} {seeds} {grid}")


def test_doors_take_underscores_and_ranges():
    result = CliRunner().invoke(_door, ["--num_faces=3", "--seeds=1,4-5", "--grid", "4,2"])
    assert result.output == "3 [1, 4, 5] (4, 2)\n" and result.exit_code == 0


@pytest.mark.parametrize("fail, code, text", [
    ("value", 2, "Error: what came; what to do\n"), ("file", 2, "No such file or directory"),
    ("stop", 130, "Interrupted")])
def test_doors_end_bad_input_in_one_line(fail, code, text):
    result = CliRunner().invoke(_door, ["--fail", fail])
    assert result.exit_code == code and text in result.output and "Traceback" not in result.output
    assert CliRunner().invoke(_door, ["--nun-faces=3"]).exit_code == 2


@pytest.mark.parametrize("kind, good, wrong, told", [
    (SeedRange(), "0,4294967295", "3,4294967296", "4294967296 is no seed; allowed: 0 to 2**32 - 1"),
    (Folder(), ".", "", '--wish is empty; name a folder ("." is this one)')])
def test_values_that_are_none_are_refused_before_anything_is_done(kind, good, wrong, told):
    command = click.Command("door", params=[click.Option(["--wish"], type=kind)], callback=lambda wish: None)
    assert CliRunner().invoke(command, ["--wish", good]).exit_code == 0
    result = CliRunner().invoke(command, ["--wish", wrong])
    assert result.exit_code == 2 and told in result.output


@pytest.mark.parametrize("kind", [click.FLOAT, click.FloatRange(0, 2), click.FloatRange(min=0)])
def test_no_door_takes_nan_for_a_number(kind):
    @click.command(cls=Door)
    @click.option("--psi", type=kind)
    def door(psi):
        click.echo(psi)

    result = CliRunner().invoke(door, ["--psi=nan"])
    assert result.exit_code == 2 and "'--psi': nan is not a number" in result.output


def test_a_public_command_tells_nothing_of_the_machine():
    words = ["--data=/home/me/a b.zip", "--network", "/tmp/x/net.pkl", "--outdir", "runs/gan", "--kimg=3"]
    wanted = "python train.py '--data=a b.zip' --network net.pkl --outdir runs/gan --kimg=3"
    assert public_command("train.py", words) == wanted
