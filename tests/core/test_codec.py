"""The codec: array headers of every size join encoded elements to a valid array."""

from __future__ import annotations

import pytest

from csproxy.core import codec


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65_535, 65_536])
def test_a_header_and_encoded_elements_are_an_array(count: int) -> None:
    assert codec.decode(codec.array_header(count) + codec.encode(7) * count) == [7] * count


def test_maps_have_text_keys() -> None:
    assert codec.decode_map(codec.encode({"a": 1})) == {"a": 1}
