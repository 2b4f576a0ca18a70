"""Layouts: each stand-in corpus is recognised, all of it is found or set aside with its reason, zip or folder."""

import dataclasses
import io
import zipfile

import pytest
from corpora import FACES, WRITERS, face_bytes, name_of, voice_bytes, write_corpus

from training.datasets.identity_tables import read_identity_table
from training.datasets.items import Item
from training.datasets.layout_archive import list_archive
from training.datasets.layout_text import open_lines, read_table
from training.datasets.layouts import LAYOUTS, Findings, choose, items, open_tree, recognise
from training.datasets.plan import make_plan

PEOPLE = 6


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """layout -> (truth of the folder, truth of the zip), written once."""
    root, made = tmp_path_factory.mktemp("corpora"), {}

    def get(layout):
        if layout not in made:
            made[layout] = [write_corpus(layout, root / f"{layout}{end}", people=PEOPLE) for end in ("", ".zip")]
        return made[layout]

    return get


def plan_alone(truth, **options):
    """The plan of a corpus by itself: whatever it holds, nobody need have both voices and faces."""
    roots = {f"{kind}s": truth.root if kind in truth.kinds else [] for kind in ("face", "voice")}
    return make_plan(**{"voices": [], "faces": [], **roots, "unpaired": "keep", **options})


@pytest.mark.parametrize("end", [0, 1], ids=["folder", "zip"])
@pytest.mark.parametrize("layout", WRITERS)
def test_everything_is_found_or_set_aside(corpora, layout, end):
    truth = corpora(layout)[end]
    plan = plan_alone(truth)
    found = {item.path: item.kind for item in plan.items}
    assert found == {path: kind for path, (kind, _) in truth.items.items()}
    assert {rejection.path for rejection in plan.rejections} == set(truth.rejected)
    for rejection in plan.rejections:
        assert truth.rejected[rejection.path] in rejection.reason, rejection
    prefix = f"{truth.root}/"
    assert {path.removeprefix(prefix) for path in plan.tables} == truth.tables
    assert len(plan.items) + len(plan.rejections) + len(plan.tables) == len(truth.paths)


@pytest.mark.parametrize("layout", WRITERS)
def test_a_zip_reads_as_its_folder(corpora, layout):
    plans = [plan_alone(truth) for truth in corpora(layout)]
    folder, archive = ([dataclasses.replace(item, root="") for item in plan.items] for plan in plans)
    assert folder == archive
    assert plans[0].people == plans[1].people


@pytest.mark.parametrize("layout", WRITERS)
def test_people_are_those_of_the_corpus(corpora, layout):
    truth = corpora(layout)[0]
    raw = {kind: {} for kind in truth.kinds}
    for kind in truth.kinds:
        tree = open_tree(truth.root)
        for item in items(tree, kind, Findings(truth.root, frozenset(truth.kinds))):
            raw[kind][item.path] = item.person
    assert {path: (kind, person) for kind in raw for path, person in raw[kind].items()} == truth.items


@pytest.mark.parametrize("layout", WRITERS)
def test_layouts_are_recognised_by_themselves(corpora, layout):
    truth = corpora(layout)[0]
    wanted = layout.removesuffix("_old")
    for kind in truth.kinds:
        assert list(recognise(truth.root, kind)) == [wanted]
        told, evidence = choose(open_tree(truth.root), kind, wanted)
        assert told is LAYOUTS[wanted] and evidence == "as told"
    assert any(f"of the layout {wanted} (" in note for note in plan_alone(truth).notes)


def test_plans_repeat(corpora):
    truth = corpora("plain")[0]
    assert plan_alone(truth) == plan_alone(truth)


def test_boxes_and_landmarks_come_along(corpora):
    vggface = {item.path: item for item in plan_alone(corpora("vggface")[0]).items}
    first = vggface["images/Freya_K._Lund/00000001.jpg"]
    assert first.box == (2.5, 3.0, 46.0, 45.0) and first.extra == {"pose": 2.0, "score": 3.97, "curation": 1.0}
    assert vggface["images/Freya_K._Lund/00000090.jpg"].box is None
    assert vggface["images/Ham Conrad Jr./00000002.jpg"].box == (3.5, 3.0, 46.0, 45.0)
    face = next(item for item in plan_alone(corpora("vggface2")[0]).items if item.path == "train/n000001/0002_01.jpg")
    assert face.box == (5.0, 6.0, 35.0, 37.0)
    assert face.landmarks == ((15.5, 20.0), (32.0, 20.25), (24.0, 28.0), (17.0, 35.0), (31.0, 35.0))
    assert face.extra == {"subset": "train"} and face.person == name_of(0)
    row = next(item for item in plan_alone(corpora("rows")[0]).items if item.path == "b/0.jpg")
    assert row.landmarks == ((15, 20), (33, 20), (24, 28), (17, 36), (31, 36)) and row.extra["light"] == "dim"


def test_what_needs_another_reader_says_so(corpora):
    av = {item.path: item.extra.get("needs_av", False) for item in plan_alone(corpora("voxceleb2")[0]).items}
    assert all(needed == path.endswith(".m4a") for path, needed in av.items()) and set(av.values()) == {True, False}
    plan = plan_alone(corpora("voice2face")[0])
    assert {item.extra.get("features") for item in plan.items if item.kind == "voice"} == {"logmel64"}
    assert any("log-mel features" in note for note in plan.notes)


def test_hq_voxceleb_has_features(corpora):
    plan = plan_alone(corpora("hq_voxceleb")[0])
    assert {item.extra.get("features") for item in plan.items if item.kind == "voice"} == {"logmel40"}
    assert any("log-mel features of 40 bands, not sound" in note for note in plan.notes)


def test_whole_videos_become_segments(tmp_path):
    video = "abcdefghijk"
    (tmp_path / "avspeech_test.csv").write_text(f"{video},1.0,4.5,0.5,0.4\n{video},9,12,0.6,0.4\nzzzzzzzzzzz,0,3,0,0\n")
    (tmp_path / f"{video}.mp4").write_bytes(b"a film")
    found = list(items(tmp_path, "voice", Findings(str(tmp_path), frozenset(["voice"]))))
    assert [(item.start_s, item.end_s) for item in found] == [(1.0, 4.5), (9.0, 12.0)]
    assert found[0].extra == {"video": video, "needs_av": True, "face_centre": (0.5, 0.4)}


def test_one_root_may_hold_two_corpora(tmp_path):
    for layout in ("voxceleb1", "voxceleb1_faces"):
        write_corpus(layout, tmp_path / "all" / layout, people=3, accidents=False)
    plan = make_plan(voices=tmp_path / "all", faces=tmp_path / "all")
    assert plan.layout == "voxceleb1_faces, voxceleb1"
    assert [person.person for person in plan.people] == sorted((name_of(i) for i in range(3)), key=str.casefold)
    assert [item.kind for item in plan.items if item.person == name_of(0)] == ["face"] * FACES + ["voice"] * 2


def test_a_root_is_read_for_what_was_asked(tmp_path):
    write_corpus("plain", tmp_path / "c", people=2, accidents=False)
    plan = make_plan(voices=tmp_path / "c", faces=[], unpaired="keep")
    assert {item.kind for item in plan.items} == {"voice"}
    assert {rejection.reason for rejection in plan.rejections} == {"a picture, and this root was given for voices only"}


@pytest.mark.parametrize("paths, people", [
    (["Ann/1.jpg", "Bob/1.jpg"], ["Ann", "Bob"]),
    (["images/Ann/1.jpg", "images/Bob/x/1.jpg"], ["Ann", "Bob"]),
    (["train/Ann/1.jpg", "test/Bob/1.jpg"], ["Ann", "Bob"]),
    (["lfw/Ann/1.jpg", "lfw/Bob/1.jpg"], ["Ann", "Bob"]),
    (["Ann/clip1/1.jpg", "Bob/clip2/1.jpg"], ["Ann", "Bob"]),
    (["Ann/1.jpg"], ["Ann"]),
])
def test_whose_folder_it_is(tmp_path, paths, people):
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"x")
    assert sorted(i.person for i in items(tmp_path, "face", Findings("", frozenset(["face"])))) == people


def write(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_refusals_in_one_sentence(tmp_path):
    with pytest.raises(ValueError, match='there is no ".*nowhere"'):
        open_tree(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="neither a folder nor a zip"):
        open_tree(write(tmp_path / "a.bin"))
    with pytest.raises(ValueError, match="is a dataset already"):
        write(tmp_path / "d" / "card.json")
        write(tmp_path / "d" / "manifest.jsonl")
        open_tree(tmp_path / "d")
    write(tmp_path / "odd" / "a.wav")
    with pytest.raises(ValueError, match="no known layout of recordings .*1 files, 1 of them.*voxceleb1: id.*plain: "):
        choose(open_tree(tmp_path / "odd"), "voice")
    with pytest.raises(ValueError, match='no layout "voxceleb9"; there are auto, voxceleb1'):
        choose(open_tree(tmp_path / "odd"), "voice", "voxceleb9")
    with pytest.raises(ValueError, match="the layout vggface has no recordings"):
        choose(open_tree(tmp_path / "odd"), "voice", "vggface")
    for name in ("Ann/1.6/abcdefghijk/0000001.jpg", "n000001/0001_01.jpg"):
        write(tmp_path / "both" / name)
    with pytest.raises(ValueError, match=r"more than one layout: voxceleb1_faces \(.*\); vggface2 \(.*Choose one"):
        choose(open_tree(tmp_path / "both"), "face")
    assert choose(open_tree(tmp_path / "both"), "face", "vggface2,voxceleb1")[0].name == "vggface2"


def test_a_wrong_layout_says_what_it_did_not_find(tmp_path):
    corpus = write_corpus("plain", tmp_path / "c", people=2, accidents=False)
    with pytest.raises(ValueError, match="0 people with voices and 2 with faces; .*; 4 files were set aside, 4 of them "
                                         "because: not named idNNNNN/<11 characters>/NNNNN or"):
        make_plan(voices=corpus.root, faces=corpus.root, layout="voxceleb1,vggface", split="wen")


def test_numbers_of_any_length_are_names_at_most(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("files/Ann.txt", f"1 u 1 2 3 4 2 3 1\n{'9' * 5000} u 1 2 3 4 2 3 1\nno row\n")
        for name in ("1", "9" * 5000):
            archive.writestr(f"Ann/{name}.jpg", b"x")
    plan = make_plan(voices=[], faces=tmp_path / "a.zip", unpaired="keep")
    assert [item.box for item in plan.items] == [(1, 2, 3, 4), None]
    assert any("2 lines are no rows of VGGFace" in note for note in plan.notes)


def test_rows_say_what_is_wrong_with_them(tmp_path):
    write(tmp_path / "1.wav"), write(tmp_path / "2.png"), write(tmp_path / "3.npy")
    listed = write(tmp_path / "list.tsv", b"file\tspeaker\tbox\n1.wav\tAnn\t\n2.png\tAnn\t9 9 3 3\n3.npy\tAnn\t\n"
                   b"\tAnn\t\n2.png\t\t\n2.png\tAnn\t1,2,3\nlist.tsv\tAnn\t\n2.png\tBob\t1 2 3 4\n")
    plan = make_plan(voices=listed, faces=listed, unpaired="keep")
    assert [(item.path, item.person, item.box) for item in plan.items] == [("1.wav", "Ann", None),
                                                                           ("2.png", "Bob", (1, 2, 3, 4))]
    reasons = [(rejection.path, rejection.reason) for rejection in plan.rejections]
    assert len(reasons) == 6
    for (path, said), (wanted_path, reason) in zip(sorted(reasons), sorted([
            ("2.png", "a row without a person (line 6"), ("2.png", "box, start_s or end_s cannot be read: not enough"),
            ("2.png", "the box [9.0, 9.0, 3.0, 3.0] is empty"), ("3.npy", "features, not sound"),
            ("list.tsv", "a row without a path (line 5"), ("list.tsv", "nor the suffix of the path says face or")],
            key=lambda pair: (pair[0], sorted(reasons).index(next(r for r in sorted(reasons) if pair[1] in r[1]))))):
        assert path == wanted_path and reason in said
    with pytest.raises(ValueError, match='"bad.csv" .*has no column person: it was read as utf-8, semicolon'):
        make_plan(voices=write(tmp_path / "bad.csv", b"path;who\n1.wav;Ann\n"), faces=[], unpaired="keep")
    with pytest.raises(ValueError, match="line 2 of .*is not JSON"):
        write(tmp_path / "bad.jsonl", b'{"path": "1.wav", "person": "A"}\n{')
        make_plan(voices=tmp_path / "bad.jsonl", faces=[], unpaired="keep")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_in_any_usual_form(encoding, delimiter, end):
    rows = [["VoxCeleb1 ID", "VGGFace1 ID", "Gender"], ["id10001", "Zoë_Märker", "f"],
            ["id10002", "B. O'Øst, Jr.", "m"]]
    text = end.join(delimiter.join(f'"{c}"' if delimiter in c else c for c in row) for row in rows) + end
    table = read_table(io.BytesIO(text.encode(encoding)), "t.csv")
    assert table.header == ["voxceleb1_id", "vggface1_id", "gender"]
    assert [cells for _, cells in table.rows] == rows[1:]
    people = read_identity_table(io.BytesIO(text.encode(encoding)), "t.csv").rows
    assert [(p.ids, p.name, p.gender, p.index) for p in people] == [(("id10001",), "Zoë_Märker", "f", 0),
                                                                   (("id10002",), "B. O'Øst, Jr.", "m", 1)]


def test_tables_of_padded_columns():
    text = b"VoxCeleb2 ID   VGGFace2 ID   Gender   Set \nid00012        n000001       m        dev \n"
    row, = read_identity_table(io.BytesIO(text), "vox2_meta.csv").rows
    assert (row.ids, row.gender, row.subset) == (("id00012", "n000001"), "m", "dev")


def test_tables_that_are_none():
    with pytest.raises(ValueError, match="is not text"):
        read_table(io.BytesIO(bytes(range(256)) * 9), "t.csv")
    with pytest.raises(ValueError, match="is empty"):
        read_table(io.BytesIO(b"\n \n"), "t.csv")
    with pytest.raises(ValueError, match="names a column twice"):
        read_table(io.BytesIO(b"id,id\n1,2\n"), "t.csv")
    with pytest.raises(ValueError, match="line 3 of .*has 3 cells, its header 2; it was read as utf-8, comma"):
        list(read_table(io.BytesIO(b"id,name\na,b\na,b,c\n"), "t.csv").dicts())
    with pytest.raises(ValueError, match="no column of ids or names: .*colour, size"):
        read_identity_table(io.BytesIO(b"colour,size\nred,2\n"), "t.csv")


def test_long_lists_are_read_in_pieces(monkeypatch):
    monkeypatch.setattr("training.datasets.layout_text._WHOLE_BYTES", 1000)
    text = "".join(f"Ünü{number}\r\n" for number in range(1000))
    assert list(open_lines(io.BytesIO(text.encode()), "long")[0]) == text.split("\r\n")[:-1]
    broken = text.encode() + b"\xff\n"
    with pytest.raises(ValueError, match="begins as utf-8 and goes on otherwise"):
        list(open_lines(io.BytesIO(broken), "long")[0])


def test_zips_of_strangers(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("Ann/link.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        for name in ("Ann/1.jpg", "C:/x.jpg", "a\\b.jpg", "Ann/../../x.jpg", "Ann//x.jpg", "__MACOSX/Ann/1.jpg", "Bob/",
                     "Ann/" * 40 + "x.jpg"):
            archive.writestr(name, b"1")
    refused = {}
    assert list_archive(path, refused.__setitem__) == ["Ann/1.jpg"]
    assert {name.replace("Ann/" * 40, ""): reason.split(",")[0] for name, reason in refused.items()} == {
        "Ann/link.jpg": "a link in a zip", "C:/x.jpg": "a name that leads out of the zip",
        "a\\b.jpg": "a name that leads out of the zip", "Ann/../../x.jpg": "a name that leads out of the zip",
        "Ann//x.jpg": "a name that leads out of the zip", "__MACOSX/": "a hidden file", "Bob/": "an empty folder",
        "x.jpg": "nested deeper than 32 folders"}


def test_zips_whose_files_share_bytes(tmp_path):
    """The quoted overlap of zip bombs: a second directory entry that points at the first one's bytes."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Ann/1.jpg", b"1" * 100)
        archive.writestr("Ann/2.jpg", b"2" * 100)
        archive.writestr("Ann/3.jpg", b"3" * 100)
        archive.infolist()[1].header_offset = archive.infolist()[0].header_offset + 10
    refused = {}
    assert list_archive(path, refused.__setitem__) == ["Ann/3.jpg"]
    assert set(refused) == {"Ann/1.jpg", "Ann/2.jpg"}
    assert all("shares its bytes" in reason for reason in refused.values())


def test_names_in_zips_without_the_mark(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Zo\u00eb/1.jpg", b"1")
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # clear the bit that says that names are UTF-8
        data[data.index(mark) + at + 1] &= ~8
    path.write_bytes(data)
    assert [item.person for item in items(path, "face", Findings("", frozenset(["face"])))] == ["Zoë"]


def test_links_within_a_corpus(tmp_path):
    write(tmp_path / "c" / "Ann" / "1.jpg")
    write(tmp_path / "c2" / "Eve" / "1.jpg")
    (tmp_path / "c" / "Ann" / "2.jpg").symlink_to(tmp_path / "c" / "Ann" / "1.jpg")
    (tmp_path / "c" / "Ann" / "3.jpg").symlink_to(tmp_path / "gone")
    (tmp_path / "c" / "Bob").symlink_to(tmp_path / "c" / "Ann")
    (tmp_path / "c" / "Eve").symlink_to(tmp_path / "c2" / "Eve")  # "c2" begins like "c", and is not in it
    (tmp_path / "c" / "loop").symlink_to(tmp_path / "c")
    tree = open_tree(tmp_path / "c")
    assert tree.files == ["Ann/1.jpg", "Ann/2.jpg"]
    assert {problem.path: problem.reason.split(",")[0] for problem in tree.problems} == {
        "Ann/3.jpg": "a link to nothing", "Bob": "a link to a folder of the corpus", "Eve": "a link out of the corpus",
        "loop": "a link out of the corpus"}


def test_names_that_are_no_text(tmp_path):
    write(tmp_path / "Ann" / "1.jpg")
    with open(bytes(tmp_path) + b"/Ann/\xff.jpg", "wb"), open(tmp_path / "Ann" / "a\nb.jpg", "wb"):
        pass
    tree = open_tree(tmp_path)
    assert tree.files == ["Ann/1.jpg"]
    assert [problem.reason for problem in tree.problems] == ["its name holds a control character; rename it",
                                                             "its name is not UTF-8; rename it"]
    assert [problem.path.encode() for problem in tree.problems]


def test_stand_ins_repeat(tmp_path):
    assert face_bytes(0, 1, 0) != face_bytes(0, 2, 0) and len(voice_bytes(0, 1, 0)) == 2 * 16000 + 44
    first, second = (write_corpus("plain", tmp_path / name, people=2) for name in ("a", "b"))
    assert first.items == second.items
    for path in first.items:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_items_are_plain():
    item = Item("face", "a.jpg", "r", "Ann")
    assert dataclasses.asdict(item)["extra"] == {} and dataclasses.replace(item, split="val").split == "val"
