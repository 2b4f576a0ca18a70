"""The join by identity: names meet whatever their case, accents and spaces; tables link ids; nobody is guessed."""

import random
import unicodedata

import pytest
from corpora import MISSING_ID, id_of, name_of, plain_name, write_corpus
from hypothesis import given
from hypothesis import strategies as st

from training.datasets.identity_tables import IdentityRow, IdentityTable
from training.datasets.items import Item
from training.datasets.join import Identities, explain_unpaired, join, normalise_name
from training.datasets.plan import make_plan

NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=["Cs", "Cc"]), max_size=20)


@given(NAMES)
def test_normalising_twice_is_once(name):
    once = normalise_name(name)
    assert normalise_name(once) == once


@given(NAMES)
def test_case_form_and_spaces_do_not_matter(name):
    once = normalise_name(name)
    assert normalise_name(name.casefold()) == once
    assert normalise_name(f" {name}__") == once
    assert normalise_name(name.replace(" ", "_")) == once == normalise_name(name.replace("_", "  "))
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert normalise_name(unicodedata.normalize(form, name)) == once


@given(st.text("abcdefghij .", min_size=1, max_size=12), st.lists(st.sampled_from("\u0301\u0308\u030a"), max_size=4))
def test_accents_do_not_matter(name, accents):
    accented = "".join(letter + (accents[i] if i < len(accents) and letter.isalpha() else "")
                       for i, letter in enumerate(name))
    assert normalise_name(accented) == normalise_name(name)


@pytest.mark.parametrize("one, other", [
    ("Zoë Märker", "zoe_marker"), ("A.J._Buckley", "a.j. buckley"), ("Bo Øster", "BO_OSTER"), ("Weiß", "WEISS"),
    ("Conan_O’Brien", "Conan O'Brien"), ("İpek", "ipek"), ("Harry Connick Jr.", "Harry_Connick_Jr."), ("ﬁn", "fin"),
])
def test_names_that_are_one(one, other):
    assert normalise_name(one) == normalise_name(other)


@pytest.mark.parametrize("one, other", [
    ("A.J._Buckley", "AJ_Buckley"), ("Harry_Connick_Jr.", "Harry_Connick_Jr"), ("Jean-Luc", "Jean_Luc"),
    ("Ann", "Anne"), ("id10001", "id10002"), ("安娜", "安妮")])
def test_names_that_are_two(one, other):
    assert normalise_name(one) != normalise_name(other)


def table(path, *rows):
    return IdentityTable(path, [IdentityRow(tuple(ids), name, gender, country, None, i)
                                for i, (ids, name, gender, country) in enumerate(rows)], "utf-8, comma")


VOX1 = table("vox1_meta.csv", (["id10001"], "Harry_Connick_Jr.", "m", "USA"), (["id10002"], "Zoe_Marker", "f", "UK"))
VOX2 = table("full_vox2_meta.csv", (["id00012", "n000001"], "Harry_Connick_Jr.", "m", None),
             (["id00013", "n000002"], "Bo_Oster", "m", None))
ITEMS = [Item("voice", "1", "v", "id10001"), Item("voice", "2", "v", "id00012"), Item("voice", "3", "v", "id10002"),
         Item("voice", "4", "v", "id00013"), Item("face", "5", "f", "Harry Connick Jr."),
         Item("face", "6", "f", "n000002"), Item("face", "7", "f", "ZOË MÄRKER"), Item("face", "8", "f", "Zoé_Marker")]


def groups(people):
    return {person.label: sorted(item.path for item in person.items) for person in people}


def test_tables_link_ids_and_names():
    people = join(ITEMS, Identities([VOX1, VOX2]))
    assert groups(people) == {"Bo_Oster": ["4", "6"], "Harry_Connick_Jr.": ["1", "2", "5"],
                              "Zoe_Marker": ["3", "7", "8"]}
    harry = people[1]
    assert harry.ids == ("Harry Connick Jr.", "Harry_Connick_Jr.", "id00012", "id10001", "n000001")
    assert (harry.gender, harry.nationality, harry.name) == ("m", "USA", "harry_connick_jr.")
    assert explain_unpaired(people, Identities([VOX1, VOX2])) == {}


@given(st.randoms(use_true_random=False))
def test_the_join_does_not_depend_on_order(rng: random.Random):
    items, tables = list(ITEMS), [VOX1, VOX2]
    rng.shuffle(items)
    rng.shuffle(tables)
    tables = [IdentityTable(t.path, rng.sample(t.rows, len(t.rows)), t.how) for t in tables]
    people = join(items, Identities(tables))
    assert groups(people) == groups(join(ITEMS, Identities([VOX1, VOX2])))
    assert [person.label for person in people] == ["Bo_Oster", "Harry_Connick_Jr.", "Zoe_Marker"]


def test_the_join_is_the_same_from_either_side():
    turned = [Item({"face": "voice", "voice": "face"}[item.kind], item.path, item.root, item.person) for item in ITEMS]
    identities = Identities([VOX1, VOX2])
    assert groups(join(turned, identities)) == groups(join(ITEMS, identities))


def test_the_unpaired_are_explained():
    people = {"voice": ("id10001", "AJ Buckley", "Freda_Blom"), "face": ("A.J._Buckley", "Frida_Blom", "Q")}
    items = [Item(kind, name, "root", name) for kind, names in people.items() for name in names]
    reasons = explain_unpaired(join(items, Identities()), Identities())
    assert reasons["id10001"] == ('no face of this person was found; no table says who "id10001" is '
                                  "(give vox1_meta.csv or the like by --meta)")
    assert reasons["AJ_Buckley"].endswith('"A.J._Buckley" is spelled nearly so (a table of --meta can join them)')
    assert '"Freda_Blom" is spelled nearly so' in reasons["Frida_Blom"]
    assert reasons["Q"] == "no voice of this person was found"


def test_a_table_of_ones_own_joins_spellings(tmp_path):
    for path in ("v/AJ Buckley/1.wav", "v/Bea/1.wav", "f/A.J._Buckley/1.jpg", "f/Bea/1.jpg"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(b"x")
    (tmp_path / "own.csv").write_text("id;name;gender;nationality\nAJ Buckley;A.J._Buckley;male;Éire\n", "cp1252")
    assert len(make_plan(voices=tmp_path / "v", faces=tmp_path / "f").people) == 1
    first, _ = make_plan(voices=tmp_path / "v", faces=tmp_path / "f", meta=[tmp_path / "own.csv"]).people
    assert (first.person, first.gender, first.nationality) == ("A.J._Buckley", "m", "Éire")
    assert first.ids == ("A.J._Buckley", "AJ Buckley")


def test_tables_that_disagree_are_noted():
    other = table("b.csv", (["id10001"], "Somebody_Else", None, None), (["id10002"], "Zoe_Marker", "m", None))
    identities = Identities([VOX1, other])
    people = join(ITEMS[:3], identities)
    assert identities.key("id10001") == identities.key("harry connick jr.") != identities.key("Somebody Else")
    assert identities.notes == [
        '"b.csv" calls id10001 "Somebody_Else", a table before it "harry_connick_jr."; the one before counts.',
        'Zoe_Marker: the gender is said to be f and m; "f" counts.']
    assert [person.label for person in people] == ["Harry_Connick_Jr.", "id00012", "Zoe_Marker"]


def test_namesakes_in_one_table_are_noted():
    identities = Identities([table("t.csv", (["id00001"], "Jo", None, None), (["id00002"], "Jo", None, None))])
    assert identities.notes == ['"t.csv" has "Jo" more than once (id00001 and id00002); they count as one person.']


def test_corpora_meet(tmp_path):
    """VoxCeleb1 by ids in latin-1, VGGFace by names without accents, of which one has a space and one two spellings."""
    voices = write_corpus("voxceleb1", tmp_path / "v", people=6)
    faces = write_corpus("vggface", tmp_path / "f", people=5)
    plan = make_plan(voices=voices.root, faces=faces.root)
    assert [person.person for person in plan.people] == ["Ada_B._Quill", "Ciro_Drake", "Freya_K._Lund",
                                                         "Ham_Conrad_Jr.", "Zoë_Märker"]
    assert {person.person: person.gender for person in plan.people}["Zoë_Märker"] == voices.genders["Zoë_Märker"]
    assert {person.nationality for person in plan.people} == {"USA", "UK", "Norway", "México"}
    zoe = plan.people[-1]
    assert zoe.ids == ("Zoe_Marker", "Zoë_Märker", id_of(1), "zoë märker")
    assert {item.path for item in plan.items if item.person == zoe.person} == {
        *(path for path, (_, who) in voices.items.items() if who == id_of(1)),
        *(path for path, (_, who) in faces.items.items() if normalise_name(who) == "zoe_marker")}
    assert len(plan.items) + len(plan.rejections) + len(plan.tables) == len(voices.paths) + len(faces.paths)
    said = {(rejection.person, rejection.reason) for rejection in plan.rejections if rejection.person}
    assert {person for person, _ in said} == {"J.R._Nord", MISSING_ID, "Xaver_Seen_Only"}
    assert any(note.startswith("2 people are spelled in more than one way and count once each: Ham Conrad Jr. = ")
               for note in plan.notes)


def test_voxceleb2_meets_vggface2(tmp_path):
    voices = write_corpus("voxceleb2", tmp_path / "v", people=4, accidents=False)
    faces = write_corpus("vggface2", tmp_path / "f", people=4, accidents=False)
    (tmp_path / "v" / "full_vox2_meta.csv").unlink()
    (tmp_path / "f" / "identity_meta.csv").unlink()
    plan = make_plan(voices=voices.root, faces=faces.root)
    assert [person.person for person in plan.people] == [id_of(i, 2) for i in range(4)]
    assert plan.people[0].ids == (id_of(0, 2), "n000001")


def test_one_person_over_both_voxcelebs(tmp_path):
    roots = [write_corpus(layout, tmp_path / layout, people=3, accidents=False).root
             for layout in ("voxceleb1", "voxceleb2", "voxceleb1_faces")]
    plan = make_plan(voices=roots[:2], faces=roots[2])
    assert len(plan.people) == 3
    assert {id_of(0), id_of(0, 2)} < set(plan.people[0].ids)
    assert any("3 people have more than one VoxCeleb id" in note for note in plan.notes)
    assert len(plan.items) == 3 * (2 + 1 + 2) + 1 and plan.counts().all.voices == 3 * 3 + 1


def test_who_lacks_one_side_is_kept_on_demand(tmp_path):
    faces = write_corpus("vggface", tmp_path / "f", people=3)
    with pytest.raises(ValueError, match="no voices were given, so nobody has both; .*--unpaired keep"):
        make_plan(voices=[], faces=faces.root)
    plan = make_plan(voices=[], faces=faces.root, unpaired="keep")
    assert {person.person for person in plan.people} >= {plain_name(0), "Xaver_Seen_Only"}
    voices = write_corpus("voxceleb1", tmp_path / "v", people=2, accidents=False)
    both = make_plan(voices=voices.root, faces=faces.root, unpaired="keep").people
    assert len(both) == 4 and {person.gender for person in both if person.person == plain_name(2)} == {None}
    (tmp_path / "v" / "vox1_meta.csv").unlink()
    with pytest.raises(ValueError, match='nobody is left: 2 people with voices and 4 with faces; .*no table|no voice'):
        make_plan(voices=voices.root, faces=faces.root)


def test_odd_options_are_refused(tmp_path):
    with pytest.raises(ValueError, match='unpaired is "maybe"; reject and keep are known'):
        make_plan(voices=tmp_path, faces=tmp_path, unpaired="maybe")
    with pytest.raises(ValueError, match="max_people is 0; 1 or more is needed"):
        make_plan(voices=tmp_path, faces=tmp_path, max_people=0)
    with pytest.raises(ValueError, match="neither voices nor faces were given"):
        make_plan(voices=[], faces=None)
    with pytest.raises(ValueError, match='the table ".*none.csv" cannot be read'):
        make_plan(voices=tmp_path, faces=tmp_path, meta=[tmp_path / "none.csv"])


def test_names_that_say_nothing_are_set_aside(tmp_path):
    for name in ("_", name_of(0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(b"x")
    plan = make_plan(voices=[], faces=tmp_path, unpaired="keep")
    assert [(r.path, r.reason) for r in plan.rejections] == [("_/1.jpg", '"_" is no name')]
