"""What a program hands over to the next one in an upgrade: sockets, waiting bytes, and the announced circuits.

Versioned JSON. It has no certificates: they are stored by IKE_SA.
"""

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from dmvpn_agent.charon.sa import ChildSa, Circuit, IkeSa
from dmvpn_agent.runtime.json_values import brief, document, integer, mapping, text

VERSION = 1
#: Room for some 40,000 circuits, or for clients that use up all their limits.
MAX_BYTES = 32 << 20
MAX_CLIENTS = 64
#: A descriptor is a C int.
_MAX_DESCRIPTOR = 2**31


class BadHandover(Exception):
    """The state cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class ClientState:
    """A connected client; ``unread``: requests that are not answered yet, ``unsent``: answers and events for it."""

    descriptor: int
    events: frozenset[str]
    unread: bytes
    unsent: bytes


@dataclass(frozen=True, slots=True)
class Handover:
    """``listener``: the descriptor of the listening socket. ``announced``: the circuits that the clients have.

    ``proven``: the profiles all of whose IKE_SAs authenticated by public key. An IKE_SA of such a profile that comes
    up during the upgrade did so as well, if the connection has not changed.
    """

    listener: int
    clients: tuple[ClientState, ...]
    announced: tuple[Circuit, ...]
    proven: frozenset[str] = frozenset()


def encode_handover(handover: Handover) -> bytes:
    """Return it as bytes. Raises ``BadHandover`` if they are too many."""
    data = json.dumps(
        {
            "version": VERSION,
            "listener": handover.listener,
            "clients": [
                {
                    "descriptor": client.descriptor,
                    "events": sorted(client.events),
                    "unread": b64encode(client.unread).decode(),
                    "unsent": b64encode(client.unsent).decode(),
                }
                for client in handover.clients
            ],
            "told": [_circuit(*circuit) for circuit in handover.announced],
            "proven": sorted(handover.proven),
        }
    ).encode()
    if len(data) > MAX_BYTES:
        raise BadHandover(f"{len(data)} bytes, more than {MAX_BYTES}")
    return data


def decode_handover(data: bytes) -> Handover:
    """Read it. Raises ``BadHandover`` for another version, and for invalid input."""
    if len(data) > MAX_BYTES:
        raise BadHandover(f"more than {MAX_BYTES} bytes")
    try:
        whole = mapping(document(data))
        if whole.get("version") != VERSION:
            raise BadHandover(f"version {str(whole.get('version'))[:20]}, this program reads {VERSION}")
        clients = tuple(_read_client(item) for item in whole["clients"])
        proven = frozenset(map(text, whole.get("proven", ())))  # older programs do not write it
        announced = tuple(map(_read_circuit, whole["told"]))
        handover = Handover(_descriptor(whole["listener"]), clients, announced, proven)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadHandover(f"{type(error).__name__}: {str(error)[:200]}") from error
    descriptors = [handover.listener, *(client.descriptor for client in clients)]
    if len(set(descriptors)) != len(descriptors) or len(clients) > MAX_CLIENTS:
        raise BadHandover("a descriptor is listed twice, or there are too many clients")
    return handover


def _circuit(sa: IkeSa, child: ChildSa) -> dict[str, Any]:
    return {
        "ike": [sa.unique_id, sa.name, sa.state, sa.remote_port, sa.local_id, sa.remote_id, sa.initiator_spi,
                sa.responder_spi],
        "hosts": [str(sa.local_host), str(sa.remote_host)],
        "child": [child.unique_id, child.name, child.state],
    }  # fmt: skip


def _read_circuit(item: Any) -> Circuit:
    circuit = mapping(item)
    number, name, state, port, local_id, remote_id, initiator, responder = circuit["ike"]
    local, remote = circuit["hosts"]
    child, child_name, child_state = circuit["child"]
    sa = IkeSa(
        unique_id=_number(number),
        name=text(name),
        state=text(state),
        local_host=ip_address(text(local)),
        remote_host=ip_address(text(remote)),
        remote_port=_number(port),
        local_id=text(local_id),
        remote_id=text(remote_id),
        initiator_spi=text(initiator),
        responder_spi=text(responder),
    )
    return sa, ChildSa(_number(child), text(child_name), text(child_state))


def _read_client(item: Any) -> ClientState:
    client = mapping(item)
    return ClientState(
        _descriptor(client["descriptor"]),
        frozenset(map(text, client["events"])),
        b64decode(client["unread"], validate=True),
        b64decode(client["unsent"], validate=True),
    )


def _number(value: Any) -> int:
    number = integer(value)
    if not 0 <= number < 2**32:
        raise TypeError(f"{brief(value)} is not a number of 32 bits")
    return number


def _descriptor(value: Any) -> int:
    if not 2 < _number(value) < _MAX_DESCRIPTOR:
        raise ValueError(f"{value} is not a descriptor of a socket")
    return int(value)
