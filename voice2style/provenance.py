"""What every picture says about where it came from: PNG text chunks and an XMP packet, on by default."""

import dataclasses
import datetime
import json
import os

import voice2style

SENTENCES = {  # the picture's description, by what it was drawn from
    "voice": "AI-generated; one of many faces compatible with this voice; not evidence of identity",
    "seed": "AI-generated; a random face, drawn without a voice; not evidence of identity",
    "codes": "AI-generated; a face drawn from stored codes; not evidence of identity",
}
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    Iptc4xmpExt:DigitalSourceType="{source_type}"
    xmp:CreatorTool="{tool}"
    xmp:CreateDate="{time}">
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">{description}</rdf:li></rdf:Alt></dc:description>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What made a picture. Recordings are named by their sha256 only, never by name or path."""

    model: str
    model_sha256: str
    seed: str
    options: dict
    audio_sha256: tuple = ()
    sentence: str = SENTENCES["voice"]
    time: str = ""


def now():
    """Returns the time in ISO 8601, UTC; $SOURCE_DATE_EPOCH fixes it, so that files can be reproduced."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = (datetime.datetime.fromtimestamp(int(epoch), datetime.timezone.utc) if epoch.isdecimal()
              else datetime.datetime.now(datetime.timezone.utc))
    return moment.isoformat(timespec="seconds")


def text_chunks(provenance):
    """Returns the PNG text chunks of a picture as keyword -> value."""
    chunks = {
        "Software": _software(),
        "Description": provenance.sentence,
        "Creation Time": provenance.time or now(),
        "ai:model": provenance.model,
        "ai:model_sha256": provenance.model_sha256,
        "ai:seed": provenance.seed,
        "ai:options": json.dumps(provenance.options, sort_keys=True),
    }
    if provenance.audio_sha256:
        chunks["ai:audio_sha256"] = ",".join(provenance.audio_sha256)
    return chunks


def xmp_packet(provenance):
    """Returns the XMP packet that marks a picture as made by a trained model (IPTC digital source type)."""
    from xml.sax.saxutils import escape

    values = {"source_type": DIGITAL_SOURCE_TYPE, "tool": _software(), "time": provenance.time or now(),
              "description": provenance.sentence}
    return _XMP.format(**{name: escape(value, {'"': "&quot;"}) for name, value in values.items()})


def write_picture(path, pixels, provenance):  # uint8 [H, W, C]
    """Writes a PNG with its provenance inside; the file appears whole or not at all."""
    from torch_utils.images import write_png

    stamped = provenance if provenance.time else dataclasses.replace(provenance, time=now())
    write_png(path, pixels, text=text_chunks(stamped), xmp=xmp_packet(stamped))


def _software():
    return f"voice2style {voice2style.__version__}"
