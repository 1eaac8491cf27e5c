"""XML of untrusted files, without what XML can do to a reader: entities that multiply, and files of elsewhere."""

import sys
from xml.etree.ElementTree import Element, ParseError, fromstring
from xml.parsers import expat


class _Begun(Exception):
    """The root element has been reached."""


def check_xml(data: bytes) -> None:
    """Raise a `ValueError` for XML with a document type, which alone can define entities or name other files.

    It must come before the root element, so that no more is parsed here.
    """
    parser = expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise ValueError("its XML has a document type (DOCTYPE), which is not read, as it may define entities")

    def begin(*_: object) -> None:
        raise _Begun

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = begin
    try:
        parser.Parse(data, True)
    except _Begun:
        return
    except expat.ExpatError as error:
        raise ValueError(f"damaged XML ({error})") from error


def parse_xml(data: bytes) -> Element:
    """The root element of XML whose elements are named without their namespaces; comments are left out.

    Raises:
        ValueError: It is damaged, or has a document type.
    """
    check_xml(data)
    try:
        root = fromstring(data)  # noqa: S314 -- check_xml has refused what makes this unsafe
    except ParseError as error:
        raise ValueError(f"damaged XML ({error})") from error
    for element in root.iter():
        element.tag = sys.intern(element.tag.rpartition("}")[2])
    return root
