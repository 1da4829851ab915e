"""Password hashes: what verifies, what does not, and how a hash ages."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from csproxy.auth.passwords import DUMMY_HASH, Cost, hash_password, needs_rehash, verify_password
from csproxy.errors import ConfigurationError

CHEAP = Cost(ln=4, r=1)


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40), st.text(max_size=40))
@example("", "\0")
def test_only_the_password_itself_verifies(password: str, other: str) -> None:
    stored = hash_password(password, cost=CHEAP)
    assert verify_password(password, stored)
    assert verify_password(other, stored) == (other == password)


def test_a_nul_character_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="NUL"):
        hash_password("a\0", cost=CHEAP)


def test_the_same_password_hashes_differently_each_time() -> None:
    assert hash_password("secret", cost=CHEAP) != hash_password("secret", cost=CHEAP)


def test_the_default_cost_is_stored_and_needs_no_rehash() -> None:
    stored = hash_password("secret")
    assert stored.startswith("$scrypt$ln=14,r=8,p=1$")
    assert "secret" not in stored
    assert len(stored) <= 255
    assert not needs_rehash(stored)
    assert verify_password("secret", stored)


def test_a_hash_of_another_cost_verifies_and_asks_to_be_replaced() -> None:
    stored = hash_password("secret", cost=CHEAP)
    assert verify_password("secret", stored)
    assert needs_rehash(stored)
    assert not needs_rehash(stored, cost=CHEAP)


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "secret",
        "$scrypt$ln=4,r=1,p=1$AAAA",
        "$scrypt$ln=0,r=1,p=1$AAAA$AAAA",
        "$scrypt$ln=20,r=64,p=1$AAAA$AAAA",
        "$scrypt$ln=4,r=0,p=1$AAAA$AAAA",
        "$scrypt$ln=4,r=1,p=0$AAAA$AAAA",
        "$scrypt$ln=4,r=1,p=1$AAAAA$AAAA",
        "$argon2id$v=19$m=65536$AAAA$AAAA",
    ],
)
def test_a_text_that_is_no_hash_verifies_nothing(stored: str) -> None:
    assert not verify_password("secret", stored)
    assert needs_rehash(stored)


def test_the_dummy_costs_what_a_real_hash_costs_and_verifies_nothing() -> None:
    assert not needs_rehash(DUMMY_HASH)
    assert not verify_password("", DUMMY_HASH)
