"""Tokens: when they count, for whom, and that nothing else passes for one."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from csproxy.auth.tokens import TokenSettings, check_token, is_token, make_token
from csproxy.errors import ConfigurationError, ErrorCode, ServerError

UUID = "00112233-4455-6677-8899-aabbccddeeff"
SETTINGS = TokenSettings(uuid=UUID)


def at(hours: int, minutes: int, seconds: int = 0) -> int:
    """A time of one day."""
    return 1_700_000_000 // 86400 * 86400 + hours * 3600 + minutes * 60 + seconds


def refusal(password: str, user: str = "jane", *, now: float = 0.0, settings: TokenSettings = SETTINGS) -> str:
    with pytest.raises(ServerError) as caught:
        check_token(password, user, now=now, settings=settings)
    assert caught.value.code is ErrorCode.LOGIN_INCORRECT
    return str(caught.value)


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (at(11, 49, 59), "not valid yet"),
        (at(11, 50), None),
        (at(12, 30), None),
        (at(13, 5), None),
        (at(13, 5, 1), "expired"),
    ],
)
def test_a_token_until_13_with_65_minutes_and_5_minutes_of_tolerance_counts_from_1150_to_1305(
    now: int, reason: str | None
) -> None:
    settings = TokenSettings(uuid=UUID, ttl_s=65 * 60, tolerance_s=300)
    token = make_token("jane", expires=at(13, 0), settings=settings)
    if reason is None:
        check_token(token, "jane", now=now, settings=settings)
    else:
        assert reason in refusal(token, now=now, settings=settings)


@given(st.text(st.characters(codec="utf-8"), max_size=30), st.integers(0, 2**40), st.floats(-90_000, 120))
@example("a:b", 1_000_000, 0.0)
@example("", 1_000_000, 60.0)
def test_a_token_counts_for_its_user_within_its_time_only(user: str, expires: int, age: float) -> None:
    token = make_token(user, expires=expires, settings=SETTINGS)
    assert is_token(token, SETTINGS)
    now = expires + age
    if expires - SETTINGS.ttl_s - SETTINGS.tolerance_s <= now <= expires + SETTINGS.tolerance_s:
        check_token(token, user, now=now, settings=SETTINGS)
    else:
        refusal(token, user, now=now)
    assert "this user" in refusal(token, user + "x", now=now)


@given(st.data())
def test_no_changed_character_is_accepted(data: st.DataObject) -> None:
    token = make_token("jane", expires=1_000_000, settings=SETTINGS)
    index = data.draw(st.integers(len(SETTINGS.preamble), len(token) - 1))
    character = data.draw(st.characters(codec="utf-8").filter(lambda c: c != token[index]))
    changed = token[:index] + character + token[index + 1 :]
    # the last character of each part has bits that decode to nothing: such a text is the same token
    if _decoded(changed) == _decoded(token):
        return
    assert "not valid for this user" in refusal(changed, now=1_000_000)


def _decoded(token: str) -> list[bytes] | None:
    try:
        parts = token.removeprefix(SETTINGS.preamble).split(".")
        return [base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True) for part in parts]
    except ValueError:
        return None


@given(st.text(max_size=60))
@example(".")
@example("é.é")
@example("A.A")
def test_a_text_that_is_no_token_is_refused_whatever_it_holds(text: str) -> None:
    assert "not valid for this user" in refusal(SETTINGS.preamble + text)


def test_a_token_of_another_uuid_is_refused() -> None:
    other = TokenSettings(uuid=UUID.replace("0", "1"))
    assert "not valid for this user" in refusal(make_token("jane", expires=100, settings=other), now=100)


def test_the_form_is_as_documented() -> None:
    key = hmac.new(UUID.encode(), b"csproxy token 1", hashlib.sha256).digest()
    signature = hmac.new(key, b"100:jane", hashlib.sha256).digest()
    parts = [base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (b"100:jane", signature)]
    assert make_token("jane", expires=100, settings=SETTINGS) == "{PXZ}" + ".".join(parts)


def test_a_password_without_the_preamble_is_an_ordinary_one() -> None:
    assert not is_token("secret", SETTINGS)
    assert not is_token("", SETTINGS)


@pytest.mark.parametrize("wrong", [{"uuid": ""}, {"uuid": UUID, "preamble": ""}])
def test_tokens_without_a_secret_or_a_preamble_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="token-uuid"):
        TokenSettings(**wrong)


def test_the_secret_is_not_shown() -> None:
    assert UUID not in repr(SETTINGS)
