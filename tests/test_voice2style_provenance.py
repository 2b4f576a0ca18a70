"""What every picture says about itself: text chunks, XMP, no names or paths of recordings."""

import datetime
import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import voice2style
from torch_utils.images import XMP_KEYWORD, read_png_text
from voice2style import provenance

MADE = provenance.Provenance(model='demo "<&>"', model_sha256="ab" * 32, seed="7", options={"psi": 0.7, "face": 0},
                             audio_sha256=("cd" * 32,))


@pytest.fixture
def chunks(tmp_path):
    provenance.write_picture(tmp_path / "a.png", np.zeros([2, 2, 3], np.uint8), MADE)
    return read_png_text(tmp_path / "a.png")


def test_a_picture_says_what_made_it(chunks):
    assert chunks["Software"] == f"voice2style {voice2style.__version__}"
    assert chunks["Description"] == ("AI-generated; one of many faces compatible with this voice; "
                                     "not evidence of identity")
    assert chunks["ai:model"] == 'demo "<&>"' and chunks["ai:model_sha256"] == "ab" * 32
    assert chunks["ai:seed"] == "7" and chunks["ai:audio_sha256"] == "cd" * 32
    assert json.loads(chunks["ai:options"]) == {"psi": 0.7, "face": 0}
    assert datetime.datetime.fromisoformat(chunks["Creation Time"]).tzinfo is not None


def test_the_xmp_packet_is_well_formed_and_marks_a_trained_model(chunks):
    packet = chunks[XMP_KEYWORD]
    assert packet.startswith("<?xpacket begin=") and packet.endswith('<?xpacket end="w"?>')
    root = ElementTree.fromstring(packet[packet.index("<x:xmpmeta"):packet.index("<?xpacket end")])
    about = root.find(".//{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    key = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
    assert about.attrib[key] == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    assert about.attrib["{http://ns.adobe.com/xap/1.0/}CreateDate"] == chunks["Creation Time"]


def test_the_time_can_be_fixed(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert provenance.now() == "1970-01-01T00:00:00+00:00"


def test_a_face_without_a_voice_does_not_claim_one():
    for kind in ("seed", "codes"):
        sentence = provenance.SENTENCES[kind]
        assert sentence.startswith("AI-generated") and "not evidence of identity" in sentence
        assert "this voice" not in sentence
