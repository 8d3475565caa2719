"""How a node reaches the coordinator, and why it does not: of a failing TLS gRPC says nothing, `ssl` does."""

from __future__ import annotations

import socket
import ssl
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from engine.errors import EngineError, LinkLost, Misuse
from node import wire
from node.errors_status import error_from
from node.folders import split_address
from node.keys import SERVER_NAME, Tls
from node.manifest import COORDINATOR

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_PATIENCE = 3.0  # seconds for each step of the diagnosis
_SECOND_LOOK = 0.2


def options(address: str) -> tuple[tuple[str, str | int], ...]:
    """Return the gRPC options of a channel to the coordinator; the environment's proxy serves, but not for loopback."""
    host, _ = split_address(address)
    return (
        *wire.MESSAGE_OPTIONS,
        ("grpc.ssl_target_name_override", SERVER_NAME),
        ("grpc.use_local_subchannel_pool", 1),  # a fresh connection each time, not one that a failure is remembered of
        ("grpc.enable_http_proxy", 0 if host in _LOOPBACK else 1),
    )


def credentials(tls: Tls) -> grpc.ChannelCredentials:
    """Return what a client shows and trusts."""
    return grpc.ssl_channel_credentials(tls.root, tls.key, tls.chain)


def failed(call: grpc.Call, address: str, tls: Tls) -> EngineError:
    """Return the error of a call to the coordinator, with the reason where gRPC knows none."""
    error = error_from(call, COORDINATOR)
    if isinstance(error, LinkLost) and call.code() is grpc.StatusCode.UNAVAILABLE:
        return diagnosis(address, tls) or error
    return error


def diagnosis(address: str, tls: Tls) -> EngineError | None:
    """Return why nobody answers at this address, or None if a connection opens: then what went wrong is over.

    What a person must mend (Misuse) is found twice, for a coordinator that is just ending hangs up just so.
    """
    why = _attempt(address, tls)
    if isinstance(why, Misuse):
        time.sleep(_SECOND_LOOK)
        why = _attempt(address, tls)
    return why


def _attempt(address: str, tls: Tls) -> EngineError | None:
    context = ssl.create_default_context(cadata=tls.root.decode())
    context.set_alpn_protocols(["h2"])
    with _on_disk(tls) as file:
        context.load_cert_chain(file)
    try:
        with socket.create_connection(split_address(address), _PATIENCE) as plain:
            return _greeting(plain, context, address)
    except OSError:
        return LinkLost(COORDINATOR, f"nothing answers at {address}; is it running, and is that its address?")


def _greeting(plain: socket.socket, context: ssl.SSLContext, address: str) -> EngineError | None:
    try:
        with context.wrap_socket(plain, server_hostname=SERVER_NAME) as secured:
            # In TLS 1.3 the server judges the client's certificate only now, and greets or hangs up.
            return None if secured.recv(1) else _unaccepted(address)
    except ssl.SSLCertVerificationError as error:
        return Misuse(
            f"what answers at {address} is not the coordinator of this folder's federation (root.pem): "
            f"{error.verify_message}"
        )
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or ""):
            return _unaccepted(address)
        return Misuse(f"what answers at {address} is no coordinator: it speaks no TLS")
    except TimeoutError:
        return LinkLost(COORDINATOR, f"what listens at {address} stands still")
    except OSError:
        return LinkLost(COORDINATOR, f"{address} closed the connection without a word")


def _unaccepted(address: str) -> Misuse:
    return Misuse(
        f"the coordinator at {address} does not accept this folder's certificate (tls.pem): it has expired, or is of "
        "another federation"
    )


@contextmanager
def _on_disk(tls: Tls) -> Iterator[str]:
    """Give `ssl` the chain and key as the file that it asks for, readable by this user alone and gone afterwards."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(tls.chain + tls.key)
        file.flush()
        yield file.name
