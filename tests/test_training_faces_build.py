"""Faces of a build: every kind of picture becomes RGB, poor ones are refused with a reason, landmarks come along."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from small_corpus import encoded

from torch_utils.images import to_uint8
from training.datasets import detectors
from training.datasets.face_build import FaceSettings, build_face
from training.datasets.face_quality import FaceGates, sharpness
from training.datasets.items import Item, Unusable
from training.datasets.landmark_files import LandmarkFile, with_landmarks
from training.datasets.pictures import open_picture
from voice2style.demo.world import World

PLAIN = FaceSettings(resolution=16, align="center", gates=FaceGates(min_sharpness=None))
ITEM = Item("face", "p/1.png", "/root", "p", "train")
RED = (200, 30, 60)


def opened(picture, kind="PNG", **options):
    return open_picture(encoded(picture, kind, **options))[:2]


def face_of(content, settings=PLAIN, item=ITEM, detect=None):
    png, fields = build_face(content, item, settings, detect)
    return Image.open(io.BytesIO(png)), fields


@pytest.fixture(scope="module")
def drawn():
    """A drawn face of 128² with its landmarks."""
    image, marks = World(seed=9).faces(World(seed=9).people([3]), 0, 128)
    return Image.fromarray(to_uint8(image[0]).permute(1, 2, 0).numpy()), tuple(map(tuple, marks[0].tolist()))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "L", "LA", "1", "I;16", "YCbCr"])
def test_every_mode_becomes_rgb(mode):
    grey = mode in ("L", "LA", "1", "I;16")
    if mode == "I;16":
        picture = Image.fromarray(np.full((20, 20), 100 * 257, np.uint16))
    else:
        picture = Image.new("RGB", (20, 20), (255,) * 3 if mode == "1" else RED)
        picture = picture.quantize(4) if mode == "P" else picture.convert(mode)
    kind = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    found, findings = opened(picture, kind, **({"quality": 100} if kind == "JPEG" else {}))
    expected = 255 if mode == "1" else 100 if mode == "I;16" else Image.new("RGB", (1, 1), RED).convert("L").getpixel(
        (0, 0)) if grey else RED
    assert found.mode == "RGB" and np.abs(np.asarray(found, int) - expected).max() <= 3
    assert ("grayscale" in findings) == (mode in ("L", "1")) and ("16-bit: taken down to 8 bits" in findings) == (
        mode == "I;16")


def test_sixteen_bits_are_scaled_not_cut():
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    found, _ = opened(Image.fromarray(values))
    assert np.array_equal(np.asarray(found)[..., 0], np.arange(256).reshape(16, 16))


@pytest.mark.parametrize(("background", "expected"), [("white", 255), ("black", 0)])
def test_transparent_pixels_show_the_background(background, expected):
    picture = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    picture.paste((10, 20, 30, 255), (0, 0, 4, 8))
    found, findings, _ = open_picture(encoded(picture), background=background)
    assert found.getpixel((1, 1)) == (10, 20, 30) and found.getpixel((6, 6)) == (expected,) * 3
    assert findings == [f"transparent: laid on {background}"]
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([10, 20, 30, 200, 0, 0])
    assert opened(palette, transparency=1)[0].getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_come_upright(orientation):
    """Each EXIF orientation of one scene gives that scene (Exif 2.32, tag 0x0112)."""
    scene = np.zeros((12, 20, 3), np.uint8)
    scene[:4, :6] = 255
    turn = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
            5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, 1), 7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
            8: lambda a: np.rot90(a, 3)}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    found, findings = opened(Image.fromarray(np.ascontiguousarray(turn(scene))), exif=exif)
    assert np.array_equal(np.asarray(found), scene)
    assert ("turned upright as its EXIF says" in findings) == (orientation != 1)


def test_of_an_animation_the_first_frame_is_used():
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, (0, 255, 0), (0, 0, 255))]
    found, findings = opened(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.abs(np.asarray(found, int) - RED).max() <= 3 and findings == ["animated: the first of 3 frames is used"]


@pytest.mark.parametrize(("content", "message"), [
    (b"", "empty file"), (b"hello, I am text", "not a picture: it starts with 'hello, I'"),
    (encoded(Image.new("RGB", (40, 40)))[:60], "damaged picture"),
    (encoded(Image.new("RGB", (64, 64), RED), "JPEG")[:400], "damaged picture"),
    (encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "floating-point pixels")])
def test_what_is_no_picture_is_refused(content, message):
    with pytest.raises(Unusable, match=message):
        open_picture(content)


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    def header(side):  # of a PNG with as many pixels as it likes to claim
        chunk = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return start + struct.pack(">I", 8) + b"IDAT" + bytes(12)

    for side, message in ((11000, "too many pixels: 11000x11000"), (60000, "too many pixels")):
        with pytest.raises(Unusable, match=message):
            open_picture(header(side))
        with pytest.raises(Unusable, match=message):
            build_face(header(side), ITEM, PLAIN)


def test_jpegs_are_decoded_small_and_land_on_the_same_place(drawn):
    """Decoding at 1/8 must not move the face: both ways are compared."""
    big = drawn[0].resize((1024, 1024), Image.Resampling.LANCZOS)
    marks = tuple((8 * x, 8 * y) for x, y in drawn[1])
    item = Item("face", "p/1.jpg", "/root", "p", "train", landmarks=marks)
    settings = FaceSettings(resolution=32)
    small, fields = face_of(encoded(big, "JPEG", quality=97), settings, item)
    whole, others = face_of(encoded(big), settings, item)
    assert open_picture(encoded(big, "JPEG"), draft=lambda w, h: 9)[2] == 8
    assert fields["landmarks"] == others["landmarks"] and fields["crop_pixels"] == others["crop_pixels"] > 512
    assert np.abs(np.asarray(small, int) - np.asarray(whole, int)).mean() < 2


@pytest.mark.parametrize(("resolution", "method"), [(64, "similarity"), (256, "ffhq")])
def test_auto_takes_landmarks_then_the_box_then_the_centre(drawn, resolution, method):
    settings = FaceSettings(resolution=resolution, gates=FaceGates(min_face=0))
    content = encoded(drawn[0])
    with_marks = Item("face", "p/1.png", "/root", "p", "train", landmarks=drawn[1], box=(20, 20, 100, 100))
    face, fields = face_of(content, settings, with_marks)
    assert fields["aligned"] == method and face.size == (resolution,) * 2 == (fields["width"], fields["height"])
    assert len(fields["landmarks"]) == 6
    with_box = Item("face", "p/1.png", "/root", "p", "train", box=(20, 20, 100, 100))
    assert face_of(content, settings, with_box)[1]["aligned"] == "box"
    assert face_of(content, settings)[1]["aligned"] == "center"


def test_one_channel_and_filters(drawn):
    grey, _ = face_of(encoded(drawn[0]), FaceSettings(resolution=32, align="center", force_channels=1))
    assert grey.mode == "L"
    faces = [np.asarray(face_of(encoded(drawn[0]), FaceSettings(resolution=32, align="center", resize_filter=name))[0],
                        float) for name in ("box", "lanczos")]
    box = np.asarray(drawn[0], float).reshape(32, 4, 32, 4, 3).mean((1, 3))
    assert np.abs(faces[0] - box).max() <= 1 and 0 < np.abs(faces[1] - faces[0]).mean() < 5


@pytest.mark.parametrize(("size", "settings", "message"), [
    ((7, 7), PLAIN, "too small: the crop has 7 pixels a side, 8 are needed"),
    ((100, 20), PLAIN, "aspect: 100x20 is 5.0 times as long as wide"),
    ((40, 40), FaceSettings(resolution=16, align="center"), "blurred: sharpness 0.0000"),
    ((40, 30), FaceSettings(resolution=16, align="none"), "not square: 40x30"),
    ((40, 40), FaceSettings(resolution=16, align="ffhq"), "no landmarks, which --align ffhq needs"),
    ((40, 40), FaceSettings(resolution=16, align="box"), "no box of a face")])
def test_poor_pictures_are_refused_with_the_reason(size, settings, message):
    with pytest.raises(Unusable, match=message):
        build_face(encoded(Image.new("RGB", size, RED)), ITEM, settings)


def test_sharpness_falls_with_blur_and_ignores_light(drawn):
    values = []
    for side in (128, 32, 16, 8):
        small = drawn[0].resize((side, side), Image.Resampling.LANCZOS).resize((128, 128), Image.Resampling.BICUBIC)
        values.append(sharpness(np.asarray(small)))
    assert values == sorted(values, reverse=True) and values[0] > 0.1 and values[3] < 0.01
    pixels = np.asarray(drawn[0].convert("L"), float)
    dark = np.rint(pixels * 0.5 + 20).astype(np.uint8)
    assert sharpness(dark) == pytest.approx(values[0], rel=0.05)


def test_a_detector_decides_where_no_landmarks_are(drawn):
    content, settings = encoded(drawn[0]), FaceSettings(resolution=32)
    found = detectors.Found(np.array(drawn[1][:5]), (20, 20, 100, 100))
    small = detectors.Found(np.array(drawn[1][:5]), (0, 0, 30, 30))
    expected = face_of(content, settings, Item("face", "p", "/", "p", "train", landmarks=drawn[1][:5]))[0]
    face, fields = face_of(content, settings, detect=lambda pixels: [found, small])
    assert np.array_equal(np.asarray(face), np.asarray(expected)) and len(fields["landmarks"]) == 5
    with pytest.raises(Unusable, match="no face: the detector found none"):
        build_face(content, ITEM, settings, lambda pixels: [])
    with pytest.raises(Unusable, match="several faces: the detector found 2"):
        build_face(content, ITEM, settings, lambda pixels: [found, found])
    largest = FaceSettings(resolution=32, gates=FaceGates(several="largest"))
    assert face_of(content, largest, detect=lambda pixels: [found, found])[1]["aligned"] == "similarity"


def test_the_cascades_of_opencv_find_a_photographed_face():
    pytest.importorskip("cv2")
    data = pytest.importorskip("skimage.data")
    detect = detectors.open_detector("opencv")
    photograph = data.astronaut()
    found = detect(photograph)
    assert found and found[0].box[0] < 220 < found[0].box[2] and found[0].box[1] < 110 < found[0].box[3]
    eyes = found[0].landmarks[:2]  # seen in the photograph at about (197, 103) and (247, 100)
    assert np.abs(eyes - [(197, 103), (247, 100)]).max() < 14
    assert detect(np.zeros((200, 200, 3), np.uint8)) == []


@pytest.mark.parametrize(("name", "model", "message"), [
    ("magic", None, 'detector is "magic"; opencv, dlib, mediapipe'),
    ("opencv", "x.xml", "has its models in the package"),
    ("dlib", None, "dlib needs --model PATH: a shape predictor"), ("dlib", "/nowhere.dat", "there is none at"),
    ("mediapipe", None, "mediapipe needs --model PATH: face_landmarker.task")])
def test_detectors_that_cannot_be_had_say_what_is_missing(name, model, message):
    with pytest.raises(ValueError, match=message):
        detectors.open_detector(name, model)


FIVE = [[10.5, 20], [30, 20], [20, 30], [12, 40], [28, 40]]


@pytest.mark.parametrize(("name", "text"), [
    ("a.json", '{"Ann/1.jpg": [[10.5,20],[30,20],[20,30],[12,40],[28,40]]}'),
    ("a.json", '[{"path": "Ann/1.jpg", "landmarks": [[10.5,20],[30,20],[20,30],[12,40],[28,40]]}]'),
    ("a.csv", "NAME_ID,P1X,P1Y,P2X,P2Y,P3X,P3Y,P4X,P4Y,P5X,P5Y\nAnn/1,10.5,20,30,20,20,30,12,40,28,40\n"),
    ("a.csv", "Ann/1.jpg;10.5;20;30;20;20;30;12;40;28;40\n"),
    ("a.txt", "1\nlx ly rx ry nx ny mx my ox oy\nAnn/1.jpg 10.5 20 30 20 20 30 12 40 28 40\n")])
def test_landmark_files_of_every_form(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    marks = LandmarkFile(tmp_path / name)
    assert np.array_equal(marks.find("deep/er/Ann/1.jpg"), FIVE) and marks.find("Bob/1.jpg") is None
    assert marks.num_found == 1


@pytest.mark.parametrize(("text", "message"), [
    ("{", "is not JSON"), ("", "has no landmarks"), ('{"a": [[1, 2]]}', 'no landmarks for "a"'),
    ("a,1,2,3\nb,1,2\n", "has 3 numbers"), ("a,1,2,3,4,5,6,7,8,9,0\nb,2,3\nc,x,y\n", 'no landmarks for "b"')])
def test_landmark_files_that_are_none(tmp_path, text, message):
    (tmp_path / "marks").write_text(text)
    with pytest.raises(ValueError, match=message):
        LandmarkFile(tmp_path / "marks")
    with pytest.raises(ValueError, match="no landmark file"):
        LandmarkFile(tmp_path / "nowhere")


def test_a_bare_name_that_fits_two_pictures_is_refused(tmp_path):
    (tmp_path / "marks.csv").write_text("1.jpg,10.5,20,30,20,20,30,12,40,28,40\n")
    marks = LandmarkFile(tmp_path / "marks.csv")
    marks.find("Ann/1.jpg")
    with pytest.raises(ValueError, match='fits both "Ann/1.jpg" and "Bob/1.jpg"'):
        marks.find("Bob/1.jpg")


def test_landmarks_of_a_file_reach_the_items_of_a_plan(tmp_path):
    from small_corpus import SmallPlan

    (tmp_path / "marks.csv").write_text("p/1.png,10.5,20,30,20,20,30,12,40,28,40\n")
    voice = Item("voice", "p/1.png", "/root", "p", "train")
    plan, marks = with_landmarks(SmallPlan([], [ITEM, voice]), tmp_path / "marks.csv")
    face, other = plan.items
    assert np.array_equal(face.landmarks, FIVE) and other.landmarks is None and marks.num_found == 1


@pytest.mark.parametrize(("change", "message"), [
    ({"resolution": 4}, "--resolution 4"), ({"align": "magic"}, 'align is "magic"'), ({"force_channels": 4}, "1 and 3"),
    ({"resize_filter": "cubic"}, "box, lanczos"), ({"gates": FaceGates(max_aspect=0.5)}, "--max-aspect 0.5")])
def test_settings_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        FaceSettings(**change).check()
