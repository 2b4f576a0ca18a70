"""Splits: each divides people, once, by its published rule; lists of test people are kept out of train by name."""

import collections
import io
import json

import pytest
from corpora import name_of, write_corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from training.datasets.counts import PUBLISHED, PUBLISHED_NAMES, Counts, SplitCounts, compare_with_published, count
from training.datasets.identity_tables import read_identity_table
from training.datasets.items import Item, Person, Plan, Rejection
from training.datasets.join import Identities, join, normalise_name
from training.datasets.layouts import open_tree
from training.datasets.plan import make_plan
from training.datasets.splits import hash_share, open_split, place_people, read_split_list
from training.datasets.test_lists import check_leakage, read_test_list

NAMES = ("Ann", "Bo", "Cy", "Ed", "Eve_Z.", "Fay", "Østen", "Zoë")
SETTINGS = settings(max_examples=30, deadline=None)


def people_of(names, identities=None):
    return join([Item("voice", name, "r", name) for name in names], identities or Identities())


def split_of(text, *, tables=(), files=None):
    """The split of a text, where `files` are {name: content} instead of the disk."""
    def find(name):
        return (io.BytesIO(files[name]), name) if files and name in files else None

    return open_split(text, identities=Identities(tables), find=find)


def place(names, split, identities=None):
    return place_people(people_of(names, identities), split)


def meta(text, name="vox1_meta.csv"):
    return read_identity_table(io.BytesIO(text.encode()), name)


def test_voice2face_goes_by_the_first_letter():
    places, reasons = place([*NAMES, "50_Cent", "id10001"], split_of("voice2face"))
    assert places == {"Ann": "val", "Bo": "val", "Cy": "test", "Ed": "test", "Eve_Z.": "test", "Fay": "train",
                      "Østen": "train", "Zoë": "train"}
    assert 'begins with "5"' in reasons["50_Cent"] and "no table says the name" in reasons["id10001"]
    letters = [chr(65 + i) for i in range(26)]
    assert collections.Counter(place(letters, split_of("wen"))[0].values()) == {"train": 21, "val": 2, "test": 3}
    assert split_of("wen").name == "voice2face"


@SETTINGS
@given(st.sets(st.text("abcdefgh. ", min_size=1), min_size=1, max_size=30).map(
    lambda names: sorted({normalise_name(name) for name in names} - {""}) or ["a"]))
def test_hash_is_a_partition_that_does_not_care_who_else_is_there(names):
    split = split_of("hash:60/25/15")
    places, reasons = place(names, split)
    assert not reasons and len(places) == len(names)
    for name in names:
        assert place([name.upper()], split)[0].popitem()[1] == places[place([name], split)[0].popitem()[0]]


def test_hash_keeps_its_shares():
    """5000 people: five standard deviations of a share of 10 % are 2.1 %."""
    shares = collections.Counter(place([f"person {i}" for i in range(5000)], split_of("hash:80/10/10"))[0].values())
    for name, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
        assert abs(shares[name] / 5000 - share) < 5 * (share * (1 - share) / 5000) ** 0.5
    assert set(place(NAMES, split_of("hash:0/100/0"))[0].values()) == {"val"}
    assert hash_share("a") == int("ca978112ca1bbd", 16) / 2**56  # the first 7 bytes of the well-known sha256 of "a"


@pytest.mark.parametrize("text", ["hash:80/10", "hash:80/10/20", "hash:a/b/c", "hash:-10/100/10", "hash:1/1/98/0"])
def test_hash_of_odd_shares_is_refused(text):
    with pytest.raises(ValueError, match="three percentages .* that sum to 100"):
        split_of(text)


def test_sf2f_goes_by_the_row():
    rows = "".join(f"id{10001 + i}\tPerson_{i}\tm\tUSA\tdev\n" for i in range(30))
    table = meta("VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n" + rows)
    places, reasons = place([*(f"Person_{i}" for i in range(30)), "Else"], split_of("sf2f", tables=[table]),
                            Identities([table]))
    assert places == {f"Person_{i}": {8: "test", 9: "val"}.get(i % 10, "train") for i in range(30)}
    assert "in no row of vox1_meta.csv" in reasons["Else"]
    with pytest.raises(ValueError, match="sf2f goes by the rows of vox1_meta.csv"):
        split_of("sf2f")


def test_sf2f_divides_by_name_over_both_tables():
    one = meta("VoxCeleb1 ID,VGGFace1 ID\nid10001,Harry_Connick_Jr.\n")
    filler = "".join(f"n{i:06d},Filler_{i},id{i + 100:05d}\n" for i in range(9))
    two = meta(f"Class_ID,Name,VoxCeleb2ID\n{filler}n000099,Harry_Connick_Jr.,id00099\n", "full_vox2_meta.csv")
    identities, split = Identities([one, two]), split_of("sf2f", tables=[one, two])
    places, _ = place(["id00099", "id10001"], split, identities)
    assert places == {"Harry_Connick_Jr.": "train"}
    assert split.notes == ["Harry_Connick_Jr. is train by vox1_meta.csv and val by full_vox2_meta.csv; "
                           "the first counts."]


def test_pins_goes_by_its_list():
    files = {"identity_splits.txt": b"Ann 1\nBo 2\nzo\xc3\xab 4\n", "odd.txt": b"Ann 3\n",
             "twice.txt": b"Ann 1\nann 4\n"}
    places, reasons = place(["Ann", "Bo", "Zoë", "Cy"], split_of("pins", files=files))
    assert places == {"Ann": "train", "Bo": "val", "Zoë": "test"} and "not in" in reasons["Cy"]
    with pytest.raises(ValueError, match='no "identity_splits.txt"; give it as pins:FILE'):
        split_of("pins")
    with pytest.raises(ValueError, match='puts "Ann" into "3"; known are 1, 2, 4'):
        split_of("pins:odd.txt", files=files)
    with pytest.raises(ValueError, match='puts "ann" into both train and test'):
        split_of("pins:twice.txt", files=files)


@pytest.mark.parametrize("name, content", [
    ("a.json", {"Ann": "train", "Bo": "valid", "Cy": "test"}),
    ("b.json", {"train": ["Ann"], "val": ["Bo"], "test": ["Cy"]}),
    ("split.json", {"vox1": {"train": ["Ann"], "val": [], "test": []}, "vox2": {"val": ["Bo"], "test": ["Cy"]}}),
    ("c.csv", "split,person\ntrain,Ann\nval,Bo\ntest,Cy\n"),
    ("d.txt", "Ann train\nBo val\nCy test\n"),
    ("e.tsv", "Ann\ttrain\r\nBo\tVAL\r\nCy\ttest\r\n"),
    ("f.jsonl", "".join(f'{{"person": "{who}", "split": "{split}"}}\n'
                        for who, split in (("Ann", "train"), ("Bo", "val"), ("Cy", "test")))),
])
def test_lists_of_splits_in_any_usual_form(name, content):
    data = (content if isinstance(content, str) else json.dumps(content)).encode()
    places, _ = place(["Ann", "Bo", "Cy"], split_of(f"file:{name}", files={name: data}))
    assert places == {"Ann": "train", "Bo": "val", "Cy": "test"}


def test_lists_of_splits_that_are_none():
    for content, match in ((b"[1]", "no JSON object"), (b'{"train": [1]}', "something else than names"),
                           (b"{", "is not JSON"), (b'{"train": 3}', "neither a split nor a list")):
        with pytest.raises(ValueError, match=match):
            list(read_split_list(io.BytesIO(content), "a.json"))
    with pytest.raises(ValueError, match='line 1 of "a.txt" is "Ann"; a name and a split are needed'):
        list(read_split_list(io.BytesIO(b"Ann\n"), "a.txt"))
    with pytest.raises(ValueError, match='puts "Ann" into "dev"'):
        split_of("file:a.txt", files={"a.txt": b"Ann dev\n"})


def test_the_column_set_and_the_rows_of_a_corpus(tmp_path):
    voices = write_corpus("voxceleb1", tmp_path / "v", people=5, accidents=False)
    plan = make_plan(voices=voices.root, faces=[], unpaired="keep", split="set")
    assert {person.person: person.split for person in plan.people}[name_of(3)] == "test"
    assert plan.counts().splits["train"].people == 4
    rows = write_corpus("rows", tmp_path / "r", people=5, accidents=False)
    plan = make_plan(voices=rows.root, faces=rows.root, split="rows")
    assert [person.split for person in sorted(plan.people, key=lambda p: [name_of(i) for i in range(5)].index(p.person))
            ] == ["train", "train", "val", "test", "train"]
    hq = write_corpus("hq_voxceleb", tmp_path / "h", people=4, accidents=False)
    plan = make_plan(voices=[], faces=hq.root, unpaired="keep", split=f"file:{hq.root}/split.json")
    assert [plan.counts().splits[name].people for name in ("train", "val", "test")] == [2, 1, 1]
    assert make_plan(voices=[], faces=hq.root, unpaired="keep", split="file:split.json").people == plan.people


def test_people_of_a_list_who_are_not_there_are_named(tmp_path):
    rows = write_corpus("rows", tmp_path / "r", people=3, accidents=False)
    lines = [f"{name_of(0)},train", "zoe marker,val", f"{name_of(2)},test", "Ghost_B,test", "Ghost_A,train"]
    (tmp_path / "list.csv").write_text("\n".join(["person,split", *lines]), encoding="utf-8")
    plan = make_plan(voices=rows.root, faces=rows.root, split=f"file:{tmp_path / 'list.csv'}")
    (note,) = [note for note in plan.notes if "none of the corpora" in note]
    assert note.startswith("2 of the 5 people whom file:") and note.endswith("Ghost_A, Ghost_B.")


@pytest.mark.parametrize("text, match", [
    ("nagrani", r'no split "nagrani"; there are voice2face \(alias wen\), pins:FILE'),
    ("iden_split", "divides the recordings of the same people"), ("file:", "no split"), ("wen:3", "no split")])
def test_unknown_splits_are_refused(text, match):
    with pytest.raises(ValueError, match=match):
        split_of(text)


VOX = meta("VoxCeleb1 ID,VGGFace1 ID,Set\nid10001,Fay,dev\nid10002,Ann,test\nid10003,Zoë,test\nid10004,Cy,dev\n")


@pytest.mark.parametrize("name, text, found", [
    ("veri_test.txt", "1 id10002/abcdefghijk/00001.wav id10003/abcdefghijk/00001.wav\n0 id10002/abcdefghijk/00001.wav "
     "id10002/lbcdefghijk/00001.wav\n", {"ann", "zoe"}),
    ("veri_old.txt", "1 Ann/abcdefghijk_0000001.wav Zoe/abcdefghijk_0000001.wav\n", {"ann", "zoe"}),
    ("matching_v2f_U.csv", "id10002/abcdefghijk/00001.wav  Ann/1.6/abcdefghijk/0000101.jpg  "
     "Zoe/1.6/abcdefghijk/0000101.jpg\n", {"ann", "zoe"}),
    ("veriflist_test_GNA_unseenunheard.txt", "id,voice-speaker-id,face-speaker-id,label,voice-path,face-path\n"
     "0,5,5,1,Ann/abcdefghijk_0000001.wav,Zoë/abcdefghijk/0000101.jpg\n", {"ann", "zoe"}),
    ("identity_splits.txt", "Fay 1\nCy 2\nAnn 4\nZoë 4\n", {"ann", "zoe"}),
    ("vox1_meta.csv", "VoxCeleb1 ID,VGGFace1 ID,Set\nid10001,Fay,dev\nid10002,Ann,test\nid10003,Zoë,test\n",
     {"ann", "zoe"}),
    ("split.json", '{"vox1": {"train": ["Fay"], "val": ["Cy"], "test": ["Ann", "Zoë"]}}', {"ann", "zoe"}),
    ("names.txt", "Ann\nzoë\n\n", {"ann", "zoe"}), ("names.csv", "name,age\nAnn,3\nZoe,4\n", {"ann", "zoe"}),
    ("ids.txt", "id10002\nid10003\n", {"ann", "zoe"}), ("long.txt", "Harry Connick Jr.\n", {"harry_connick_jr."}),
])
def test_lists_of_test_people(name, text, found):
    identities = Identities([VOX])
    assert read_test_list(io.BytesIO(text.encode()), name, identities).keys() == {identities.key(who) for who in found}


def test_training_on_test_people_is_refused():
    identities = Identities([VOX])
    people = people_of(["id10001", "Ann", "Cy"], identities)
    places = {"Fay": "train", "Ann": "test", "Cy": "val"}
    lists = {"safe.txt": read_test_list(io.BytesIO(b"Ann\nCy\n"), "safe.txt", identities)}
    assert check_leakage(people, places, lists, identities) == [
        'test list "safe.txt": 2 people, 1 of them in test, none in train; 1 in val (Cy).']
    lists["veri.txt"] = read_test_list(io.BytesIO(b"1 id10001/abcdefghijk/00001.wav\n"), "veri.txt", identities)
    with pytest.raises(ValueError, match='1 of the 1 test people of "veri.txt" would be trained on: Fay. Choose'):
        check_leakage(people, places, lists, identities)
    with pytest.raises(ValueError, match="names no test people"):
        read_test_list(io.BytesIO(b"\n"), "empty.txt", identities)


def test_ids_that_no_table_knows_are_no_proof():
    identities = Identities()
    people = people_of(["Ann", "id10001"], identities)
    lists = {"v.txt": read_test_list(io.BytesIO(b"id10001\nid10002\nBo\n"), "v.txt", identities)}
    unsure, safe = check_leakage(people, {"Ann": "train", "id10001": "test"}, lists, identities)
    assert unsure.startswith('test list "v.txt": no table says who 1 of its ids are (id10002), so it is not known')
    assert safe == 'test list "v.txt": 3 people, 1 of them in test, none in train.'


def test_the_first_ten_and_the_number_of_the_leaked_are_named(tmp_path):
    corpus = write_corpus("plain", tmp_path / "c", people=14, accidents=False)
    (tmp_path / "list.txt").write_text("".join(f"{name_of(i)}\n" for i in range(14)), "utf-8")
    with pytest.raises(ValueError, match=r"14 of the 14 test people .*: Ada_B._Quill, (\S+, ){8}\S+ and 4 more\. "):
        make_plan(voices=corpus.root, faces=corpus.root, split="hash:100/0/0", test_lists=[tmp_path / "list.txt"])
    plan = make_plan(voices=corpus.root, faces=corpus.root, split="hash:0/0/100", test_lists=tmp_path / "list.txt")
    assert any("14 people, 14 of them in test, none in train." in note for note in plan.notes)
    with pytest.raises(ValueError, match='there is no test list "nowhere.txt"'):
        make_plan(voices=corpus.root, faces=corpus.root, test_lists="nowhere.txt")


def test_fewer_people_are_the_same_people(tmp_path):
    corpus = write_corpus("plain", tmp_path / "c", people=8, accidents=False)
    roots = {"voices": corpus.root, "faces": corpus.root}
    chosen = [{person.person for person in make_plan(**roots, max_people=n, seed=3).people} for n in (2, 5, 8)]
    assert [len(people) for people in chosen] == [2, 5, 8] and chosen[0] < chosen[1] < chosen[2]
    others = [{person.person for person in make_plan(**roots, max_people=2, seed=seed).people} for seed in range(6)]
    assert len({frozenset(people) for people in others}) > 1


def test_counts_by_split_gender_and_nationality():
    people = [Person("Ann", "train", "f", "UK"), Person("Bo", "train", "m", "UK"), Person("Cy", "test", None, None)]
    items = [Item("face", "1", "r", "Ann", "train"), Item("voice", "2", "r", "Cy", "test")]
    counts = count(people, items)
    assert (counts.all.people, counts.all.faces, counts.all.voices) == (3, 1, 1)
    assert counts.to_dict()["train"] == {
        "people": 2, "faces": 1, "voices": 0, "genders": {"f": 1, "m": 1}, "nationalities": {"UK": 2},
        "nationality_by_gender": {"UK": {"f": 1, "m": 1}}}
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in counts.table().splitlines()]
    assert rows[0] == ["", "train", "val", "test", "all"] and ["people", "2", "0", "1", "3"] in rows
    assert ["gender female", "1", "0", "0", "1"] in rows and ["nationality unknown", "0", "0", "1", "1"] in rows
    rejections = [Rejection("a", "", 'not in "x"'), Rejection("b", "", 'not in "y"')]
    plan = Plan(people, items, rejections, ["a note"], "plain", "s")
    assert '2 set aside:\n\n* 2 x not in "..."' in plan.summary() and "* a note" in plan.summary()


@pytest.fixture(scope="module")
def full_scale(tmp_path_factory):
    """A listing of VoxCeleb1 and VGGFace as large as published, without files: roots, and the trees they stand for."""
    folder = tmp_path_factory.mktemp("full")
    letters = ("FGHIJKLMNOPQRSTUVWXYZ", "AB", "CDE")
    named = [[f"{group[i % len(group)]}._Person_{place}_{i}" for i in range(number)]
             for place, (group, number) in enumerate(zip(letters, PUBLISHED_NAMES))]
    ids = {name: f"id{10001 + i}" for i, name in enumerate(name for group in named for name in group)}
    lines = [f"{ids[name]}\t{name}\t{'mf'[i % 2]}\tUSA\tdev" for i, name in enumerate(ids)]
    (folder / "vox1_meta.csv").write_text("\n".join(["VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet", *lines]))
    voices = [f"wav/{ids[name]}/abcdefghijk/99999.wav" for group, joined in zip(named, PUBLISHED["people"])
              for name in group[joined:]]
    faces = []
    for place, group in enumerate(named):
        joined = group[:PUBLISHED["people"][place]]
        for i in range(PUBLISHED["voices"][place]):
            voices.append(f"wav/{ids[joined[i % len(joined)]]}/abcdefghijk/{i // len(joined):05d}.wav")
        for i in range(PUBLISHED["faces"][place]):
            faces.append(f"{joined[i % len(joined)]}/{i // len(joined):08d}.jpg")
    trees = {}
    for name, files in (("voices", voices), ("faces", faces)):
        (folder / name).mkdir()
        trees[str(folder / name)] = sorted(files)
    return folder, trees


def test_the_published_counts_of_the_full_corpora(full_scale, monkeypatch):
    folder, trees = full_scale

    def listed(root):
        tree = open_tree(root)
        tree._files = trees[root]
        return tree

    monkeypatch.setattr("training.datasets.plan.open_tree", listed)
    plan = make_plan(voices=folder / "voices", faces=folder / "faces", meta=folder / "vox1_meta.csv", split="wen")
    counts = plan.counts()
    assert tuple(counts.splits[split].people for split in ("train", "val", "test")) == (924, 112, 189)
    assert counts.all.voices == 149354 and counts.all.faces == 139572 and counts.all.people == 1225
    assert len(plan.rejections) == 1251 - 1225
    said = [note for note in plan.notes if "published" in note]
    assert said == ["names in vox1_meta.csv (train/val/test): 942/116/193, published 942/116/193: equal.",
                    "voices (train/val/test): 113322/14182/21850, published 113322/14182/21850: equal.",
                    "faces (train/val/test): 106584/12533/20455, published 106584/12533/20455: equal.",
                    "people (train/val/test): 924/112/189, published 924/112/189: equal."]


def test_differences_from_the_published_counts_are_explained():
    counts = Counts({"train": SplitCounts(924, 106584, 113322), "val": SplitCounts(111, 12533, 14000),
                     "test": SplitCounts(189, 20455, 21850)})
    lacking = (("F", "train", 18), ("A", "val", 5), ("C", "test", 16))
    lonely = {f"{letter}{i:02d}": (split, "voice") for letter, split, number in lacking for i in range(number)}
    lonely["Seen"] = ("train", "face")
    names = [f"{letter}_{i}" for letter, number in zip("FAC", PUBLISHED_NAMES) for i in range(number)]
    table = meta("VoxCeleb1 ID,VGGFace1 ID\n" + "".join(f"id{10001 + i},{name}\n" for i, name in enumerate(names)))

    def place(name):
        return {"F": "train", "A": "val", "C": "test"}[name[0]]

    assert compare_with_published(counts, lonely, [table], place) == [
        "names in vox1_meta.csv (train/val/test): 942/116/193, published 942/116/193: equal.",
        "voices (train/val/test): 113322/14000/21850, published 113322/14182/21850: they differ by +0/-182/+0.",
        "faces (train/val/test): 106584/12533/20455, published 106584/12533/20455: equal.",
        "people (train/val/test): 924/111/189, published 924/112/189: they differ by +0/-1/+0.",
        "val: 5 people of VoxCeleb1 have no face here, 4 in the published join: A00, A01, A02, A03, A04.",
        "test: 16 people of VoxCeleb1 have no face here, 4 in the published join: "
        "C00, C01, C02, C03, C04, C05, C06, C07, C08, C09 and 6 more."]
    assert compare_with_published(counts, lonely, [], place) == []


def test_small_corpora_are_not_held_against_the_published_counts(tmp_path):
    voices = write_corpus("voxceleb1", tmp_path / "v", people=4, accidents=False)
    faces = write_corpus("voxceleb1_faces", tmp_path / "f", people=4, accidents=False)
    plan = make_plan(voices=voices.root, faces=faces.root, split="voice2face")
    assert not any("published" in note for note in plan.notes) and plan.split_name == "voice2face"
    assert {person.person: person.split for person in plan.people} == {
        "Ada_B._Quill": "val", "Freya_K._Lund": "train", "Ham_Conrad_Jr.": "train", "Zoë_Märker": "train"}
    assert all(item.split == {p.person: p.split for p in plan.people}[item.person] for item in plan.items)
