"""XML that a server sent: no document type, and so no entities and nothing to fetch, in whatever encoding it comes."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element


class _Plain(ElementTree.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Called when a declaration begins, before any entity of it is known."""
        raise ValueError("it declares a document type, which is refused")


def parse_xml(data: bytes) -> Element:
    """Raises ValueError for what is no XML, or declares a document type."""
    parser = ElementTree.XMLParser(target=_Plain())  # noqa: S314 - no document type, so no entities
    try:
        parser.feed(data)
        root = parser.close()
    except ElementTree.ParseError as error:
        raise ValueError(f"it is not XML: {error}") from None
    assert isinstance(root, Element)
    return root
