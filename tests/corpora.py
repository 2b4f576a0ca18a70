"""Writes small stand-ins of corpora in each layout that dataset_tool.py reads, with what goes wrong in real ones.

    truth = write_corpus("voxceleb1", tmp_path / "vox1", people=6, seed=0)
    truth.items       # path -> (kind, person as the corpus says) for every file that must be found
    truth.rejected    # path -> a part of the reason, for every file and folder that must be set aside by its name
    truth.broken      # path -> what is wrong inside, for items that only decoding can refuse
    truth.tables      # lists and tables

Faces and voices are the drawn world's: person i of the corpus is person i of `World(seed)`, and has the same name in
every layout. `dest` is a folder, or a zip if it ends in .zip; both hold the same, except links (folders) and names that
lead out (zips).
"""

import csv
import dataclasses
import functools
import io
import json
import os
import pathlib
import pickle
import tempfile
import zipfile

import numpy as np

NAMES = ("Freya_K._Lund", "Zoë_Märker", "Ham_Conrad_Jr.", "Ada_B._Quill", "Ćiro_Drake", "J.R._Nord", "Bo_Øster",
         "Emil_O'Dell")
COUNTRIES = ("USA", "UK", "Norway", "México")
SIDE, SECONDS, FACES, CLIPS = 48, 1.0, 2, 2
MISSING_ID = "id11999"  # of files whose id no table knows


@dataclasses.dataclass
class CorpusTruth:
    """What there is to be found in a corpus that was written; see the file's docstring."""

    layout: str
    root: str
    people: dict  # number of the person -> name
    items: dict = dataclasses.field(default_factory=dict)
    rejected: dict = dataclasses.field(default_factory=dict)
    broken: dict = dataclasses.field(default_factory=dict)
    tables: set = dataclasses.field(default_factory=set)
    genders: dict = dataclasses.field(default_factory=dict)  # name -> "m" or "f"

    @property
    def kinds(self):
        """The kinds of its items."""
        return {kind for kind, _ in self.items.values()}

    @property
    def paths(self):
        """Every path of the corpus."""
        return {*self.items, *self.rejected, *self.tables}


def name_of(person):
    """The name of a person of the stand-in corpora."""
    return NAMES[person] if person < len(NAMES) else f"{chr(65 + person % 26)}ex_Person_{person}"


def plain_name(person):
    """The same name as corpora without accents write it."""
    return name_of(person).translate(str.maketrans("ëäĆØ", "eaCO"))


def id_of(person, corpus=1):
    """The person's id in VoxCeleb1 or 2."""
    return f"id{person + (10001 if corpus == 1 else 12):05d}"


def video_of(person, number=0):
    """Eleven characters, as videos are named."""
    return f"v_{person:03d}-{number:04d}"[:11].ljust(11, "x")


@functools.lru_cache(maxsize=512)
def face_bytes(seed, person, shot, side=SIDE, form="JPEG"):
    """A drawn face as a file."""
    from PIL import Image

    from torch_utils.images import to_uint8
    from voice2style.demo.world import World

    world = World(seed)
    images, _ = world.faces(world.people([person]), shot, side)
    target = io.BytesIO()
    Image.fromarray(to_uint8(images)[0].permute(1, 2, 0).numpy()).save(target, format=form)
    return target.getvalue()


@functools.lru_cache(maxsize=512)
def voice_bytes(seed, person, clip, seconds=SECONDS, form="WAV"):
    """A spoken clip as a file."""
    import soundfile

    from voice2style.demo.voices import to_int16
    from voice2style.demo.world import World

    target = io.BytesIO()
    soundfile.write(target, to_int16(World(seed).voice(person, clip, seconds)), 16000, format=form, subtype="PCM_16")
    return target.getvalue()


def feature_bytes(seed, person, clip, frames=120):
    """A .npy of log-mel features [T, 64]; numbers of the right form, not of a real voice."""
    np.save(target := io.BytesIO(), np.random.default_rng([seed, person, clip]).normal(size=(frames, 64)))
    return target.getvalue()


def mel_bytes(seed, person, frames=120):
    """A pickle as HQ-VoxCeleb has them, with numbers of the right form."""
    mel = np.random.default_rng([seed, person]).normal(size=(40, frames)).astype(np.float32)
    return pickle.dumps({"LogMel_Features": mel, "spkid": person, "clipid": "0", "wavid": 0}, protocol=4)


class Draft:
    """Collects the files of a corpus and the truth about them."""

    def __init__(self, layout, root, people, seed):
        from voice2style.demo.world import World

        self.seed, self.files, self.folders = seed, {}, []
        group = World(seed).people(range(people)).group
        self.truth = CorpusTruth(layout, os.fspath(root), {i: name_of(i) for i in range(people)},
                                 genders={name_of(i): "m" if group[i] > 0 else "f" for i in range(people)})

    def item(self, kind, path, person, content, broken=None):
        self.files[path], self.truth.items[path] = content, (kind, person)
        if broken:
            self.truth.broken[path] = broken

    def face(self, path, person, number, shot, form="JPEG"):
        self.item("face", path, person, face_bytes(self.seed, number, shot, form=form))

    def voice(self, path, person, number, clip, form="WAV"):
        self.item("voice", path, person, voice_bytes(self.seed, number, clip, form=form))

    def reject(self, path, reason, content=b"nothing of use\n"):
        self.truth.rejected[path] = reason
        if path.endswith("/"):
            self.folders.append(path)
        else:
            self.files[path] = content

    def table(self, path, rows, *, delimiter=",", encoding="utf-8"):
        text = io.StringIO()
        csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
        self.files[path] = text.getvalue().encode(encoding)
        self.truth.tables.add(path)


def write_corpus(layout, dest, *, people=6, seed=0, accidents=True):  # -> CorpusTruth
    """Writes a corpus of a layout of `WRITERS` to `dest`, a new folder, or a zip if it ends in .zip."""
    dest = pathlib.Path(dest)
    draft = Draft(layout, dest, people, seed)
    folder = WRITERS[layout](draft, people, accidents)
    if accidents:
        _add_accidents(draft, folder, is_zip=dest.suffix == ".zip")
    if dest.suffix == ".zip":
        _write_zip(draft, dest, accidents)
    else:
        _write_folder(draft, dest, accidents)
    return draft.truth


def _add_accidents(draft, folder, *, is_zip):
    """What lies about in every real tree, in a folder of files and at the top."""
    above = folder.rstrip("/").rpartition("/")[0]
    draft.reject((above + "/" if above else "") + "Nobody_at_All/", "empty folder")
    draft.reject(f"{folder}notes.txt", "neither a picture nor sound")
    draft.reject(f"{folder}no_suffix", "neither a picture nor sound")
    draft.reject(".DS_Store", "hidden")
    draft.reject(f"{folder}Thumbs.db", "operating system")
    if is_zip:
        draft.truth.rejected |= {"../outside.jpg": "leads out", "/rooted.jpg": "leads out", f"{folder}bomb.jpg": "bomb"}
    elif hasattr(os, "symlink"):
        suffix = next(iter(draft.truth.items)).rpartition(".")[2]
        draft.truth.rejected[f"{folder}99999.{suffix}"] = "link out"


def _write_folder(draft, dest, accidents):
    dest.mkdir(parents=True)
    for path in draft.folders:
        (dest / path).mkdir(parents=True)
    for path, content in draft.files.items():
        (dest / path).parent.mkdir(parents=True, exist_ok=True)
        (dest / path).write_bytes(content)
    for path in draft.truth.rejected:
        if draft.truth.rejected[path] == "link out":
            outside = pathlib.Path(tempfile.mkdtemp(dir=dest.parent, prefix="outside-")) / "secret"
            outside.write_bytes(b"not of this corpus")
            (dest / path).symlink_to(outside)
    if accidents and hasattr(os, "geteuid") and os.geteuid() != 0:
        path = next(path for path in draft.truth.items if path not in draft.truth.broken)
        (dest / path).chmod(0)
        draft.truth.broken[path] = "permission denied"


def _write_zip(draft, dest, accidents):
    dest.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(dest, "w", zipfile.ZIP_STORED) as archive:
        for path in draft.folders:
            archive.writestr(path, b"")
        for path, content in draft.files.items():
            archive.writestr(path, content)
        for path, reason in draft.truth.rejected.items():
            if reason == "leads out":
                archive.writestr(path, b"not of this corpus")
            elif reason == "bomb":
                archive.writestr(path, b"\0" * (65 << 20), zipfile.ZIP_DEFLATED, 1)


def _vox1_meta(people, draft):
    rows = [["VoxCeleb1 ID", "VGGFace1 ID", "Gender", "Nationality", "Set"]]
    return rows + [[id_of(i), name_of(i).replace("Ć", "C"), draft.truth.genders[name_of(i)], COUNTRIES[i % 4],
                    "test" if i % 4 == 3 else "dev"] for i in range(people)]


def _write_voxceleb1(draft, people, accidents):
    for i in range(people):
        for clip in range(CLIPS):
            draft.voice(f"vox1_dev_wav/wav/{id_of(i)}/{video_of(i, clip)}/{clip + 1:05d}.wav", id_of(i), i, clip)
    draft.table("vox1_meta.csv", _vox1_meta(people, draft), delimiter="\t", encoding="latin-1")
    draft.files["iden_split.txt"] = f"1 {id_of(0)}/{video_of(0)}/00001.wav\n".encode()
    pair = f"{id_of(0)}/{video_of(0)}/00001.wav {id_of(0)}/{video_of(0, 1)}/00002.wav"
    draft.files["veri_test.txt"] = f"1 {pair}\n".encode()
    draft.truth.tables |= {"iden_split.txt", "veri_test.txt"}
    folder = f"vox1_dev_wav/wav/{id_of(0)}/"
    if accidents:
        draft.voice(f"vox1_dev_wav/wav/{MISSING_ID}/{video_of(99)}/00001.wav", MISSING_ID, 0, 5)
        whole = voice_bytes(draft.seed, 0, 0)
        draft.item("voice", f"{folder}{video_of(0, 7)}/00001.wav", id_of(0), whole[:30], "header is cut")
        draft.item("voice", f"{folder}{video_of(0, 7)}/00002.wav", id_of(0), b"", "empty")
        draft.item("voice", f"{folder}{video_of(0, 7)}/00003.wav", id_of(0), b"this is text", "text")
        draft.item("voice", f"{folder}{video_of(0, 7)}/00004.wav", id_of(0), whole, "the same as another")
        draft.reject(f"{folder}{video_of(0, 7)}/take five.wav", "not named", whole)
    return folder


def _write_voxceleb1_old(draft, people, accidents):
    for i in range(people):
        for clip in range(CLIPS):
            draft.voice(f"voxceleb1_wav/{plain_name(i)}/{video_of(i)}_{clip + 1:07d}.wav", plain_name(i), i, clip)
    return f"voxceleb1_wav/{plain_name(0)}/"


def _write_voxceleb2(draft, people, accidents):
    """The clips of .m4a are WAV inside: whether a decoder for m4a is there is not this file's concern."""
    for i in range(people):
        draft.voice(f"dev/aac/{id_of(i, 2)}/{video_of(i)}/00001.m4a", id_of(i, 2), i, 0)
    draft.voice(f"dev/aac/{id_of(0, 2)}/{video_of(0)}/00002.wav", id_of(0, 2), 0, 1)
    draft.reject(f"dev/aac/{id_of(0, 2)}/{video_of(0)}/00002.m4a", "is there as wav", voice_bytes(draft.seed, 0, 1))
    rows = [["VoxCeleb2 ID ", "VGGFace2 ID ", "Gender ", "Set "]]
    genders = [draft.truth.genders[name_of(i)] for i in range(people)]
    rows += [[f"{id_of(i, 2)} ", f"n{i + 1:06d} ", f"{genders[i]} ", "dev "] for i in range(people)]
    draft.table("vox2_meta.csv", rows)
    full = [["Class_ID", "Name", "Sample_Num", "Flag", "Gender_x", "VoxCeleb2ID", "VGGFace2ID", "Gender_y", "Set"]]
    full += [[f"n{i + 1:06d}", name_of(i), 100, 1, genders[i], id_of(i, 2), f"n{i + 1:06d}", genders[i], "dev"]
             for i in range(people)]
    draft.table("full_vox2_meta.csv", full)
    return f"dev/aac/{id_of(0, 2)}/"


def _write_voxceleb1_faces(draft, people, accidents):
    for i in range(people):
        for shot in range(FACES):
            name = plain_name(i)
            draft.face(f"unzippedFaces/{name}/1.6/{video_of(i)}/{25 * shot + 1:07d}.jpg", name, i, shot)
    if accidents:
        draft.reject(f"unzippedFaces/{plain_name(0)}/portrait.jpg", "not named", face_bytes(draft.seed, 0, 0))
    return f"unzippedFaces/{plain_name(0)}/1.6/"


def _break_faces(draft, folder, person):
    whole = face_bytes(draft.seed, 0, 0)
    draft.item("face", f"{folder}00000090.jpg", person, whole[: len(whole) // 2], "cut in half")
    draft.item("face", f"{folder}00000091.jpg", person, b"<html>404</html>", "not a picture")
    draft.item("face", f"{folder}00000092.jpg", person, b"", "empty")
    draft.item("face", f"{folder}00000093.jpg", person, face_bytes(draft.seed, 0, 3, form="PNG"))  # a png by content
    draft.item("face", f"{folder}00000094.JPEG", person, face_bytes(draft.seed, 0, 4))


def _write_vggface(draft, people, accidents):
    for i in range(people):
        name = plain_name(i).replace("_", " ") if i == 2 and accidents else plain_name(i)
        rows = [f"{k + 1:08d} http://nowhere/{i}/{k}.jpg {2.5 + k:.2f} 3.00 {SIDE - 2}.00 {SIDE - 3}.00 2.00 3.97 1"
                for k in range(FACES + 1)]  # the last one's picture is gone
        draft.files[f"files/{plain_name(i)}.txt"] = ("\n".join(rows) + "\n").encode()
        draft.truth.tables.add(f"files/{plain_name(i)}.txt")
        for shot in range(FACES):
            draft.face(f"images/{name}/{shot + 1:08d}.jpg", name, i, shot)
    if accidents:
        _break_faces(draft, f"images/{plain_name(0)}/", plain_name(0))
        draft.face("images/zoë märker/00000077.jpg", "zoë märker", 1, 7)  # the same person, spelled otherwise
        draft.face("images/Xaver_Seen_Only/00000001.jpg", "Xaver_Seen_Only", 0, 9)
    return f"images/{plain_name(0)}/"


def _write_vggface2(draft, people, accidents):
    boxes = [["NAME_ID", "X", "Y", "W", "H"]]
    points = [["NAME_ID", *(f"P{k}{axis}" for k in range(1, 6) for axis in "XY")]]
    for i in range(people):
        subset = "test" if i % 3 == 2 else "train"
        for shot in range(FACES):
            name = f"n{i + 1:06d}/{shot + 1:04d}_01"
            draft.face(f"{subset}/{name}.jpg", f"n{i + 1:06d}", i, shot)
            boxes.append([name, 5, 6, 30, 31])
            points.append([name, 15.5, 20, 32, 20.25, 24, 28, 17, 35, 31, 35])
    boxes.append(["n000001/0999_01", 1, 2, 3, 4])
    draft.table("bb_landmark/loose_bb_train.csv", boxes)
    draft.table("bb_landmark/loose_landmark_train.csv", points)
    lines = ["Class_ID, Name, Sample_Num, Flag, Gender"]
    lines += [f'n{i + 1:06d}, "{name_of(i)}", 100, 1, {draft.truth.genders[name_of(i)]}' for i in range(people)]
    draft.files["identity_meta.csv"] = ("\n".join(lines) + "\n").encode()
    draft.truth.tables.add("identity_meta.csv")
    return "train/n000001/"


def _write_hq_voxceleb(draft, people, accidents):
    for i in range(people):
        for shot in range(FACES):
            draft.face(f"vox1/masked_faces/{plain_name(i)}/{shot}.jpg", plain_name(i), i, shot)
        draft.reject(f"vox1/origin_faces/{plain_name(i)}/0.jpg", "masked_faces", face_bytes(draft.seed, i, 0))
        mel = f"vox1/mel_spectrograms/{plain_name(i)}/{i}_0_0.pickle"
        draft.item("voice", mel, plain_name(i), mel_bytes(draft.seed, i))
    if accidents:
        evil = f"vox1/mel_spectrograms/{plain_name(0)}/evil.pickle"
        draft.item("voice", evil, plain_name(0), b"cos\nsystem\n(S'true'\ntR.", broken="asks to run code")
    draft.face(f"vox1/origin_faces/{plain_name(0)}/7.jpg", plain_name(0), 0, 7)
    places = {split: [plain_name(i) for i in range(people) if ("train", "train", "val", "test")[i % 4] == split]
              for split in ("train", "val", "test")}
    draft.files["split.json"] = json.dumps({"vox1": places, "vox2": {"train": [], "val": [], "test": []}}).encode()
    draft.truth.tables.add("split.json")
    return f"vox1/masked_faces/{plain_name(0)}/"


def _write_voice2face(draft, people, accidents):
    for i in range(people):
        for clip in range(CLIPS):
            path = f"data/fbank/{id_of(i)}/{video_of(i)}/{clip + 1:05d}.npy"
            draft.item("voice", path, id_of(i), feature_bytes(draft.seed, i, clip))
        for shot in range(FACES):
            draft.face(f"data/VGG_ALL_FRONTAL/{plain_name(i)}/{shot}.jpg", plain_name(i), i, shot)
    draft.table("vox1_meta.csv", _vox1_meta(people, draft), delimiter="\t")
    if accidents:
        draft.reject(f"data/fbank/{id_of(0)}/lost.npy", "not named", feature_bytes(draft.seed, 0, 0))
    return f"data/VGG_ALL_FRONTAL/{plain_name(0)}/"


def _write_avspeech(draft, people, accidents):
    rows = []
    for i in range(people):
        rows += [[video_of(i), 10 * clip + 0.5, 10 * clip + 1.5, 0.5, 0.4] for clip in range(CLIPS)]
        draft.voice(f"clips/{video_of(i)}_{0.5:.6f}_{1.5:.6f}.wav", video_of(i), i, 0)
        draft.face(f"clips/{video_of(i)}_{10.5:.6f}_{11.5:.6f}.jpg", video_of(i), i, 0)
    draft.table("avspeech_train.csv", rows)
    if accidents:
        draft.reject(f"clips/{video_of(77)}_0.5_1.5.wav", "in no row", voice_bytes(draft.seed, 0, 0))
        draft.reject(f"clips/{video_of(0)}_99.5_101.wav", "no single row", voice_bytes(draft.seed, 0, 0))
    return "clips/"


def _write_plain(draft, people, accidents):
    for i in range(people):
        for clip in range(CLIPS):
            draft.voice(f"voices/{name_of(i)}/{clip}.flac", name_of(i), i, clip, form="FLAC")
        for shot in range(FACES):
            draft.face(f"faces/{plain_name(i)}/{shot}.png", plain_name(i), i, shot, form="PNG")
    if accidents:
        _break_faces(draft, f"faces/{plain_name(0)}/", plain_name(0))
        draft.voice("voices/Wil_Heard_Only/0.wav", "Wil_Heard_Only", 0, 9)
        draft.reject("faces/lost.jpg", "no person's folder", face_bytes(draft.seed, 0, 0))
    return f"faces/{plain_name(0)}/"


def _write_rows(draft, people, accidents):
    rows = [["path", "person", "kind", "split", "gender", "nationality", "landmarks", "light"]]
    for i in range(people):
        split = ("train", "train", "val", "test")[i % 4]
        rest = [name_of(i), "", split, draft.truth.genders[name_of(i)], COUNTRIES[i % 4]]
        draft.voice(f"a/{i}.wav", name_of(i), i, 0)
        draft.face(f"b/{i}.jpg", name_of(i), i, 0)
        rows.append([f"a/{i}.wav", *rest, "", ""])
        rows.append([f"b/{i}.jpg", *rest, "[[15, 20], [33, 20], [24, 28], [17, 36], [31, 36]]", "dim"])
    if accidents:
        rows += [["a/gone.wav", name_of(0), *[""] * 6], ["../../etc/passwd.jpg", name_of(0), *[""] * 6]]
        draft.truth.rejected |= {"a/gone.wav": "no such file", "../../etc/passwd.jpg": "leads out of the corpus"}
        draft.reject("b/extra.jpg", "in no row", face_bytes(draft.seed, 0, 0))
    draft.table("manifest.csv", rows, delimiter=";", encoding="utf-16" if accidents else "utf-8")
    return "b/"


WRITERS = {
    "voxceleb1": _write_voxceleb1, "voxceleb1_old": _write_voxceleb1_old, "voxceleb2": _write_voxceleb2,
    "voxceleb1_faces": _write_voxceleb1_faces, "vggface": _write_vggface, "vggface2": _write_vggface2,
    "hq_voxceleb": _write_hq_voxceleb, "voice2face": _write_voice2face, "avspeech": _write_avspeech,
    "plain": _write_plain, "rows": _write_rows,
}
