"""Secret options: which they are, what stands in their place, and that an import keeps what a file does not say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csproxy.core import codec
from csproxy.core.model import CfgApplication, CfgPerson
from csproxy.core.model.deltas import CfgDeltaPerson
from csproxy.core.secret_options import MASK, is_secret_option, masked, masked_object, with_secrets


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        ("password", True),
        ("Password", True),
        ("shared-secret", True),
        ("app-password", True),
        ("db_password", True),
        ("token-uuid", True),
        ("key.passphrase", True),
        ("allow-empty-password", False),
        ("password-expiration", False),
        ("changepassword", False),
        ("secretary", False),
        ("token-ttl", False),
    ],
)
def test_the_name_says_whether_an_option_is_secret(name: str, is_secret: bool) -> None:
    assert is_secret_option(name) is is_secret


def test_secrets_are_masked_at_any_depth_and_nothing_else_is() -> None:
    delta = {
        "options": {"changed": {"s": {"password": "x", "o": "y", "token-uuid": ""}}, "deleted": {"s": ["password"]}}
    }
    assert masked(delta) == {
        "options": {"changed": {"s": {"password": MASK, "o": "y", "token-uuid": ""}}, "deleted": {"s": ["password"]}}
    }
    assert masked([{"password": 7}, {"password": True}, {"password": {"secret": None}}]) == [
        {"password": MASK},
        {"password": True},
        {"password": {"secret": None}},
    ]


def test_an_encoded_object_stays_the_same_bytes_if_it_has_no_secret() -> None:
    for plain in ({"name": "a"}, {"name": "a secret place", "options": {"password": {"o": 1}}}):
        encoded = codec.encode(plain)
        assert masked_object(encoded) is encoded
    hidden = masked_object(codec.encode({"name": "a", "options": {"s": {"shared-secret": "x"}}, "later": [1]}))
    assert codec.decode(hidden) == {"name": "a", "options": {"s": {"shared-secret": MASK}}, "later": [1]}


texts = st.sampled_from(["password", "o", "p", "db-secret"])
kvs = st.dictionaries(texts, st.dictionaries(texts, st.sampled_from(["x", "y", "", 1]), max_size=3), max_size=3)


@given(kvs)
def test_an_export_that_is_imported_again_changes_nothing(options: dict[str, Any]) -> None:
    obj = {"name": "a", "options": options}
    assert with_secrets(masked(obj), obj) == obj


@pytest.mark.parametrize("before", [{}, {"options": None}, {"options": {"s": None}}, {"options": {"s": {"o": "y"}}}])
def test_a_mask_that_stands_for_nothing_is_left_out(before: dict[str, Any]) -> None:
    values = {"name": "a", "userProperties": None, "options": {"s": {"password": MASK, "o": MASK}}}
    assert with_secrets(values, before) == {"name": "a", "userProperties": None, "options": {"s": {"o": MASK}}}


def test_objects_and_deltas_do_not_show_secrets() -> None:
    person = CfgPerson(userName="jane", password="hush")
    assert repr(person) == "CfgPerson(userName='jane', password='***')"
    assert person.password == "hush"
    assert repr(CfgDeltaPerson(password="hush")) == "CfgDeltaPerson(password='***')"
    assert repr(CfgDeltaPerson(userName="j")) == "CfgDeltaPerson(userName='j')"
    options = {"gauth_ldap": {"password": "hush", "verbose": "1"}}
    assert "hush" not in repr(CfgApplication(options=options))
    assert "'verbose': '1'" in repr(CfgApplication(options=options))
    assert repr(CfgApplication(options={"a": {"b": "c"}})) == "CfgApplication(options={'a': {'b': 'c'}})"
