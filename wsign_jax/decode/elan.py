"""Transcripts as .eaf files of ELAN 6, with which linguists annotate signing.

The schema is http://www.mpi.nl/tools/elan/EAFv3.0.xsd.
"""

import datetime
import math
import mimetypes
import pathlib
import re
from collections.abc import Sequence
from xml.etree import ElementTree

from wsign_jax.common.errors import printable

GLOSSES, CONFIDENCE = "glosses", "confidence"  # the names of the tiers

_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_NOT_XML = re.compile("[\ufffe\uffff]")
_ASSOCIATION = "Symbolic_Association"


def elan_document(name: str, glosses: Sequence[tuple[str, float, float, float]]) -> str:
    """Returns the .eaf file of a recording: a tier of glosses, and a tier of their confidences.

    Args:
        name: the recording's path; the file refers to it if it is a video.
        glosses: label, start and end in seconds, and confidence, in the order of their signing. A tier's
            annotations last a millisecond at least and do not overlap: one ends where the next begins.
    """
    root = ElementTree.Element(
        "ANNOTATION_DOCUMENT", AUTHOR="WhisperSign-JAX", FORMAT="3.0", VERSION="3.0"
    )
    root.set("DATE", datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))
    root.set("xmlns:xsi", _XSI)
    root.set("xsi:noNamespaceSchemaLocation", "http://www.mpi.nl/tools/elan/EAFv3.0.xsd")
    header = _add(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    kind, _ = mimetypes.guess_type(name)
    if kind and kind.startswith("video/"):
        url = pathlib.Path(name).absolute().as_uri()
        _add(header, "MEDIA_DESCRIPTOR", MEDIA_URL=url, MIME_TYPE=kind)
    order = _add(root, "TIME_ORDER")
    tier = _add(root, "TIER", TIER_ID=GLOSSES, LINGUISTIC_TYPE_REF=GLOSSES)
    below = _add(
        root, "TIER", TIER_ID=CONFIDENCE, LINGUISTIC_TYPE_REF=CONFIDENCE, PARENT_REF=GLOSSES
    )
    end = 0
    following = [first for _, first, _, _ in glosses[1:]] + [math.inf]
    for number, (label, first, last, confidence) in enumerate(glosses, 1):
        start = max(round(first * 1000), end)
        end = max(round(min(last, following[number - 1]) * 1000), start + 1)
        slots = {"TIME_SLOT_REF1": f"ts{2 * number - 1}", "TIME_SLOT_REF2": f"ts{2 * number}"}
        for slot, time in zip(slots.values(), (start, end), strict=True):
            _add(order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(time))
        _annotate(tier, "ALIGNABLE_ANNOTATION", label, ANNOTATION_ID=f"a{number}", **slots)
        above = {"ANNOTATION_ID": f"c{number}", "ANNOTATION_REF": f"a{number}"}
        _annotate(below, "REF_ANNOTATION", f"{confidence:.3f}", **above)
    common = {"GRAPHIC_REFERENCES": "false"}
    _add(root, "LINGUISTIC_TYPE", LINGUISTIC_TYPE_ID=GLOSSES, TIME_ALIGNABLE="true", **common)
    common |= {"CONSTRAINTS": _ASSOCIATION, "TIME_ALIGNABLE": "false"}
    _add(root, "LINGUISTIC_TYPE", LINGUISTIC_TYPE_ID=CONFIDENCE, **common)
    what = "1-1 association with a parent annotation"
    _add(root, "CONSTRAINT", STEREOTYPE=_ASSOCIATION, DESCRIPTION=what)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _add(parent: ElementTree.Element, tag: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, tag, attributes)


def _annotate(tier: ElementTree.Element, tag: str, value: str, **attributes: str) -> None:
    annotation = _add(_add(tier, "ANNOTATION"), tag, **attributes)
    _add(annotation, "ANNOTATION_VALUE").text = _NOT_XML.sub("\ufffd", printable(value))
