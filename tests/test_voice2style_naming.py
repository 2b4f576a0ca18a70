"""Which recordings a command line means, and names that never collide."""

import pathlib

import pytest

from voice2style.naming import find_recordings, unique_names


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def test_folders_are_searched_through_all_levels_and_sorted(tmp_path):
    make(tmp_path, "b.wav", "a/z.FLAC", "a/c/d.mp3", "notes.txt", ".hidden.wav")
    paths, faults = find_recordings([str(tmp_path)])
    assert [str(path.relative_to(tmp_path)) for path in paths] == ["a/c/d.mp3", "a/z.FLAC", "b.wav"] and not faults


def test_a_file_given_twice_counts_once(tmp_path):
    make(tmp_path, "a.wav", "b.wav")
    paths, _ = find_recordings([tmp_path / "b.wav", tmp_path, tmp_path / "." / "a.wav"])
    assert [path.name for path in paths] == ["b.wav", "a.wav"]


def test_a_file_that_is_named_is_taken_whatever_its_suffix(tmp_path):
    make(tmp_path, "voice.xyz")
    assert find_recordings([tmp_path / "voice.xyz"]) == ([tmp_path / "voice.xyz"], [])


def test_faults_are_told_and_the_rest_is_found(tmp_path):
    make(tmp_path, "a.wav", "empty/readme.txt")
    paths, faults = find_recordings([tmp_path / "nowhere.wav", tmp_path / "empty", "", tmp_path / "a.wav"])
    assert paths == [tmp_path / "a.wav"]
    assert "no such file or folder" in faults[0] and "nowhere.wav" in faults[0]
    assert "no audio files in the folder" in faults[1] and "no such file" in faults[2]


@pytest.mark.parametrize("paths, names", [
    (["x/a.wav", "x/b.wav"], ["a", "b"]),
    (["x/a.wav", "x/a.flac"], ["a_wav", "a_flac"]),
    (["x/a.wav", "y/a.wav"], ["x_a", "y_a"]),
    (["x/a.wav", "y/A.wav"], ["x_a", "y_A"]),
    (["p/x/a.wav", "q/x/a.wav"], ["p_x_a", "q_x_a"]),
    (["x/a.tar.wav", "x/noext"], ["a.tar", "noext"]),
])
def test_names(paths, names):
    roots = [pathlib.Path("/data") / path for path in paths]
    assert unique_names(roots) == names


def test_names_do_not_depend_on_the_order():
    paths = [pathlib.Path("/d", name) for name in ("x/a.wav", "x/a.flac", "y/a.wav", "y/x_a.wav", "b.wav", "a_wav.ogg")]
    there = dict(zip(paths, unique_names(paths)))
    assert len(set(there.values())) == len(paths)
    back = dict(zip(reversed(paths), unique_names(list(reversed(paths)))))
    assert there == back


def test_reserved_names_are_given_to_none():
    assert unique_names([pathlib.Path("/d/Grid.wav")], reserved=("grid",)) == ["Grid_wav"]


def test_hostile_names_end(tmp_path):
    paths = [pathlib.Path(name) for name in ("/a/b.wav", "/a_b.wav", "/A/b.wav", "/a_b_wav", "/x/b.wav", "/x/b.flac",
                                             "/x/b_wav.wav", "/x/b_wav_wav.wav")]
    assert len({name.casefold() for name in unique_names(paths)}) == len(paths)
