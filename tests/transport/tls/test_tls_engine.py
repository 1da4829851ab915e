"""The engine without any I/O: two of them back to back, byte by byte, and against what is not TLS."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csproxy.core.tls_settings import TlsSettings
from csproxy.errors import LocalProtocolError, TlsError
from csproxy.transport.tls_context import load_context
from csproxy.transport.tls_engine import TlsEngine, TlsState
from tests.tls_files import Authority, trusting

NAMES = {"TLSv12": "TLSv1.2", "TLSv13": "TLSv1.3"}
MEGABYTE = bytes(range(256)) * 4096


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "root")


def engine(how: TlsSettings, *, server_side: bool = False, name: str = "server.example") -> TlsEngine:
    tls = load_context(how, server_side=server_side)
    return TlsEngine(tls.context, server_side=server_side, name=name, own=tls.own)


def engines(authority: Authority, **more: object) -> tuple[TlsEngine, TlsEngine]:
    server = engine(authority.issue("server.example").settings(**more), server_side=True)
    return engine(trusting(authority)), server


def carried(data: bytes, target: TlsEngine, piece: int) -> bytes:
    return b"".join(target.receive_data(data[start : start + piece]) for start in range(0, len(data), piece))


def talk(client: TlsEngine, server: TlsEngine, *, piece: int = 1 << 20) -> None:
    """Carry bytes both ways, so many at a time, until both are silent."""
    if client.state is TlsState.HANDSHAKE and not client.has_data_to_send:
        client.receive_data(b"")
    while client.has_data_to_send or server.has_data_to_send:
        carried(client.data_to_send(), server, piece)
        carried(server.data_to_send(), client, piece)


def open_pair(authority: Authority, **more: object) -> tuple[TlsEngine, TlsEngine]:
    client, server = engines(authority, **more)
    talk(client, server)
    assert client.state is server.state is TlsState.OPEN
    return client, server


def refusals(client: TlsEngine, server: TlsEngine) -> tuple[str, str]:
    """A handshake that fails: what each side says."""
    said = ["", ""]
    client.receive_data(b"")
    while client.has_data_to_send or server.has_data_to_send:
        for place, (sender, target) in enumerate(((server, client), (client, server))):
            try:
                target.receive_data(sender.data_to_send())
            except TlsError as e:
                said[place] = str(e)
    return said[0], said[1]


@pytest.mark.parametrize("piece", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize("version", NAMES)
def test_two_engines_agree_and_carry_bytes_both_ways(authority: Authority, version: str, piece: int) -> None:
    client, server = engines(authority, protocol=version)
    talk(client, server, piece=piece)
    assert client.state is server.state is TlsState.OPEN
    assert client.version == server.version == NAMES[version]
    assert carried(client.encrypt(b"ping"), server, piece) == b"ping"
    assert carried(server.encrypt(b"pong"), client, piece) == b"pong"
    assert not client.has_data_to_send
    assert not server.has_data_to_send


@pytest.mark.parametrize("version", NAMES)
def test_a_client_may_speak_in_the_flight_that_ends_its_handshake(authority: Authority, version: str) -> None:
    client, server = engines(authority, protocol=version)
    client.receive_data(b"")
    server.receive_data(client.data_to_send())
    client.receive_data(server.data_to_send())
    if client.state is TlsState.HANDSHAKE:  # TLS 1.2 takes another round
        server.receive_data(client.data_to_send())
        client.receive_data(server.data_to_send())
    assert server.receive_data(client.data_to_send() + client.encrypt(b"hello")) == b"hello"


@pytest.mark.parametrize("version", NAMES)
def test_a_megabyte_goes_in_records_and_comes_back_whole(authority: Authority, version: str) -> None:
    client, server = open_pair(authority, protocol=version)
    sent = client.encrypt(MEGABYTE)
    assert len(MEGABYTE) < len(sent) < len(MEGABYTE) * 1.01
    assert server.receive_data(sent) == MEGABYTE
    assert carried(server.encrypt(MEGABYTE), client, 9_999) == MEGABYTE


@settings(max_examples=60, deadline=None)
@given(
    writes=st.lists(st.binary(min_size=1, max_size=50_000), max_size=6),
    cuts=st.lists(st.integers(1, 40_000), min_size=1, max_size=8),
)
def test_however_bytes_are_cut_they_arrive_as_they_were(
    authority: Authority, writes: list[bytes], cuts: list[int]
) -> None:
    client, server = open_pair(authority)
    sent = b"".join(client.encrypt(data) for data in writes)
    got, turn = b"", 0
    while sent:
        size = cuts[turn % len(cuts)]
        got += server.receive_data(sent[:size])
        sent, turn = sent[size:], turn + 1
    assert got == b"".join(writes)


@pytest.mark.parametrize("version", NAMES)
def test_each_side_closes_for_itself(authority: Authority, version: str) -> None:
    client, server = open_pair(authority, protocol=version)
    last = client.encrypt(b"last")
    client.close()
    assert server.receive_data(last + client.data_to_send()) == b"last"
    assert server.state is TlsState.ENDED
    assert client.state is TlsState.CLOSED
    assert server.receive_data(b"anything") == b""
    assert server.encrypt(b"I go on")
    server.close()
    assert server.has_data_to_send
    client.close()
    with pytest.raises(LocalProtocolError, match=r"CLOSED .* cannot send"):
        client.encrypt(b"too late")


def test_nothing_can_be_sent_before_the_handshake(authority: Authority) -> None:
    client, _ = engines(authority)
    with pytest.raises(LocalProtocolError, match="HANDSHAKE"):
        client.encrypt(b"early")
    client.close()
    assert client.state is TlsState.HANDSHAKE
    assert client.peer_certificate() is None


@pytest.mark.parametrize(
    ("garbage", "sentence"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "the client sent an HTTP request instead of a TLS handshake"),
        (bytes(range(200, 256)) * 20, "the client does not speak TLS"),
        (b"\x16\x03\x01\x00\x05hello", "TLS with the client failed|the client broke the rules"),
    ],
)
def test_what_is_no_handshake_is_refused(authority: Authority, garbage: bytes, sentence: str) -> None:
    _, server = engines(authority)
    with pytest.raises(TlsError, match=sentence):
        server.receive_data(garbage)
    assert server.state is TlsState.FAILED
    assert server.receive_data(garbage) == b""
    with pytest.raises(LocalProtocolError):
        server.encrypt(b"x")


def test_a_client_is_told_that_the_server_speaks_no_tls(authority: Authority) -> None:
    client, _ = engines(authority)
    client.receive_data(b"")
    with pytest.raises(TlsError, match=r"the server does not speak TLS; is this a port without TLS\?"):
        client.receive_data(b"CSPX\x00\x01\r\n and a frame")


def test_every_changed_byte_of_a_record_is_noticed(authority: Authority) -> None:
    for place in range(0, 60):
        client, server = open_pair(authority)
        sent = bytearray(client.encrypt(b"a secret of forty bytes, and some more.."))
        sent[place % len(sent)] ^= 0x20
        try:
            got = server.receive_data(bytes(sent))
        except TlsError:
            assert server.state is TlsState.FAILED
            assert server.has_data_to_send  # the alert
        else:
            # a longer length waits for bytes that never come
            assert got == b""
            assert place in (3, 4)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=400))
def test_no_bytes_make_the_engine_fail_otherwise_than_by_its_error(authority: Authority, data: bytes) -> None:
    for side in engines(authority):
        with suppress(TlsError):
            assert side.receive_data(data) == b""


def test_a_record_cut_in_the_middle_waits_for_its_rest(authority: Authority) -> None:
    client, server = open_pair(authority)
    sent = client.encrypt(b"x" * 1000)
    assert server.receive_data(sent[:-1]) == b""
    assert server.state is TlsState.OPEN
    assert server.receive_data(sent[-1:]) == b"x" * 1000


# certificates


@pytest.mark.parametrize("version", NAMES)
@pytest.mark.parametrize(
    ("name", "validity", "sentence", "alert"),
    [
        ("server.example", {"days": -1, "since_days": -9}, "it has expired", "it has expired or is not valid yet"),
        (
            "server.example",
            {"since_days": 5},
            "it is not valid yet; check the clocks",
            "wrong name, purpose or signature",
        ),
        ("other.example", {}, "is not valid for the name 'server.example'", "wrong name, purpose or signature"),
    ],
)
def test_a_client_says_what_is_wrong_with_the_servers_certificate(
    authority: Authority, version: str, name: str, validity: dict[str, float], sentence: str, alert: str
) -> None:
    certificate = authority.issue(name, **validity)
    server = engine(certificate.settings(protocol=version), server_side=True)
    at_client, at_server = refusals(engine(trusting(authority)), server)
    assert at_client.startswith("the certificate of the server (")
    assert "OU=" in at_client
    assert sentence in at_client
    assert at_server.startswith("the client refused the certificate OU=")
    assert alert in at_server


@pytest.mark.parametrize("version", NAMES)
def test_an_unknown_authority_is_told_by_both(authority: Authority, tmp_path: Path, version: str) -> None:
    server = engine(Authority(tmp_path, "stranger").issue("server.example").settings(), server_side=True)
    at_client, at_server = refusals(engine(trusting(authority, protocol=version)), server)
    assert "its authority is not among the trusted ones (trusted-ca)" in at_client
    assert "its authority is not among those that the client trusts" in at_server


@pytest.mark.parametrize("version", NAMES)
def test_a_revoked_certificate_is_refused(authority: Authority, version: str) -> None:
    good, bad = authority.issue("server.example", file="good"), authority.issue("server.example", file="bad")
    client = trusting(authority, crl=(authority.revocation_list(bad),), protocol=version)
    talk(engine(client), accepting := engine(good.settings(), server_side=True))
    assert accepting.state is TlsState.OPEN
    at_client, at_server = refusals(engine(client), engine(bad.settings(), server_side=True))
    assert "it has been revoked" in at_client
    assert "it has been revoked" in at_server


def test_revocation_lists_that_do_not_help_are_told(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    server = authority.issue("server.example").settings()
    for crl, sentence in (
        (other.revocation_list(), "no revocation list (tls-crl) of the authority that issued it"),
        (authority.revocation_list(days=-1, file="old"), "the revocation list (tls-crl) of its authority has expired"),
    ):
        at_client, _ = refusals(engine(trusting(authority, crl=(crl,))), engine(server, server_side=True))
        assert sentence in at_client


def test_a_missing_intermediate_certificate_is_told(authority: Authority, tmp_path: Path) -> None:
    issued = Authority(tmp_path, "middle", parent=authority).issue("server.example")
    assert len(issued.parts) == 2
    whole = engine(TlsSettings(certificate=issued.parts, certificate_key=issued.key), server_side=True)
    talk(engine(trusting(authority)), whole)
    assert whole.state is TlsState.OPEN
    alone = TlsSettings(certificate=issued.parts[:1], certificate_key=issued.key)
    at_client, _ = refusals(engine(trusting(authority)), engine(alone, server_side=True))
    assert "an intermediate certificate is missing" in at_client


def test_an_issuing_authority_can_be_trusted_without_its_root(authority: Authority, tmp_path: Path) -> None:
    middle = Authority(tmp_path, "middle", parent=authority)
    server = engine(middle.issue("server.example").settings(), server_side=True)
    talk(engine(trusting(middle)), server)
    assert server.state is TlsState.OPEN


def test_names_are_not_compared_when_the_client_does_not_want_it(authority: Authority) -> None:
    server = engine(authority.issue("other.example").settings(), server_side=True)
    talk(engine(trusting(authority, check_name=False)), server)
    assert server.state is TlsState.OPEN


def test_an_address_is_a_name_too(authority: Authority) -> None:
    issued = authority.issue("127.0.0.1").settings()
    talk(engine(trusting(authority), name="127.0.0.1"), good := engine(issued, server_side=True))
    assert good.state is TlsState.OPEN
    at_client, _ = refusals(engine(trusting(authority), name="127.0.0.2"), engine(issued, server_side=True))
    assert "is not valid for the name '127.0.0.2'" in at_client


@pytest.mark.parametrize("version", NAMES)
def test_mutual_tls_tells_the_server_who_the_client_is(authority: Authority, version: str) -> None:
    server = engine(authority.issue("server.example").settings(authority, mutual=True), server_side=True)
    issued = authority.issue("proxy1.example", "10.0.0.7", common_name="proxy1", days=10)
    client = engine(issued.settings(authority, protocol=version))
    talk(client, server)
    shown = server.peer_certificate()
    assert shown is not None
    assert shown.common_name == "proxy1"
    assert shown.names == ("proxy1.example", "10.0.0.7")
    assert shown.subject.startswith("CN=proxy1,OU=")
    assert shown.issuer.endswith(",O=root")
    assert int(shown.serial, 16) == issued.serial
    seen = client.peer_certificate()
    assert seen is not None
    assert seen.names == ("server.example",)


def test_without_mutual_tls_nobody_is_asked(authority: Authority) -> None:
    client, server = open_pair(authority)
    assert server.peer_certificate() is None
    assert client.peer_certificate() is not None


@pytest.mark.parametrize("version", NAMES)
def test_a_client_without_the_demanded_certificate_is_told(authority: Authority, version: str) -> None:
    server = engine(authority.issue("server.example").settings(authority, mutual=True), server_side=True)
    at_client, at_server = refusals(engine(trusting(authority, protocol=version)), server)
    assert "the client showed no certificate, which this port demands (tls-mutual)" in at_server
    assert "a certificate" in at_client


@pytest.mark.parametrize("version", NAMES)
@pytest.mark.parametrize(
    ("kind", "sentence", "alert"),
    [
        ("expired", "it has expired", "it has expired or is not valid yet"),
        (
            "stranger",
            "its authority is not among the trusted",
            "its authority is not among those that the server trusts",
        ),
        ("revoked", "it has been revoked", "it has been revoked"),
    ],
)
def test_a_server_says_what_is_wrong_with_the_clients_certificate(
    authority: Authority, tmp_path: Path, version: str, kind: str, sentence: str, alert: str
) -> None:
    source = Authority(tmp_path, "stranger") if kind == "stranger" else authority
    certificate = source.issue("proxy1.example", **({"days": -1, "since_days": -9} if kind == "expired" else {}))
    crl = (authority.revocation_list(certificate),) if kind == "revoked" else ()
    server = authority.issue("server.example").settings(authority, mutual=True, crl=crl)
    client = engine(certificate.settings(authority, protocol=version))
    at_client, at_server = refusals(client, engine(server, server_side=True))
    assert at_server.startswith("the certificate of the client is refused: ")
    assert sentence in at_server
    assert at_client.startswith("the server refused the certificate OU=")
    assert certificate.path in at_client
    assert alert in at_client


# versions and ciphers


def test_versions_that_do_not_meet_are_told_by_both(authority: Authority) -> None:
    server = engine(authority.issue("server.example").settings(protocol="TLSv13"), server_side=True)
    at_client, at_server = refusals(engine(trusting(authority, protocol="TLSv12")), server)
    assert "the client offers no TLS version that is allowed here (sec-protocol)" in at_server
    assert "the server allows no TLS version that is offered here (sec-protocol)" in at_client


def test_ciphers_that_do_not_meet_are_told_by_both(authority: Authority) -> None:
    issued = authority.issue("server.example")
    server = engine(issued.settings(protocol="TLSv12", ciphers="ECDHE-ECDSA-AES256-GCM-SHA384"), server_side=True)
    client = engine(trusting(authority, protocol="TLSv12", ciphers="ECDHE-ECDSA-CHACHA20-POLY1305"))
    at_client, at_server = refusals(client, server)
    assert "the client offers no cipher that is allowed here" in at_server
    assert "the server found nothing in common" in at_client
