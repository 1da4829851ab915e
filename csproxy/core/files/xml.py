"""Configuration objects as XML: `write_xml` and `read_xml` (format: docs/reference/xml-format.md)."""

from __future__ import annotations

from csproxy.core.files.xml_decoding import Readable
from csproxy.core.files.xml_format import XmlObject
from csproxy.core.files.xml_read import MAX_OBJECT_BYTES, read_xml
from csproxy.core.files.xml_write import write_xml

__all__ = ["MAX_OBJECT_BYTES", "Readable", "XmlObject", "read_xml", "write_xml"]
