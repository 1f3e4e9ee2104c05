"""The addresses of a server, derived from what it listens on."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress

from extractors.errors import UsageError, reason_of

_FAR_AWAY = {socket.AF_INET: "203.0.113.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses that are nobody's, and lie where the rest of the network does."""


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """Open a port; raises UsageError if there is no such address, or it is taken."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise UsageError(f"--host {host}: is not an address ({reason_of(error)})") from error
    try:
        return socket.create_server(address[:2], family=family, backlog=512)
    except OSError as error:
        raise UsageError(
            f"--port {port}: cannot be used on {host} ({reason_of(error)}); is another vtg serve or vtg mcp running? "
            "Give --port another number, or 0 for any"
        ) from error


def reached_at(host: str, listening: socket.socket) -> list[str]:
    """Where a server is reached, the likeliest first.

    Args:
        host: what the user named.
        listening: the socket that came of it.

    Returns:
        the name itself; where it stands for every address, those that other machines know, or else this machine's own.
    """
    if not ipaddress.ip_address(listening.getsockname()[0]).is_unspecified:
        return [host]
    family = listening.family
    known = _of_this_machine(family)
    first = _towards_the_network(family)
    if first in known:
        known.remove(first)
        known.insert(0, first)
    return known or ["127.0.0.1" if family == socket.AF_INET else "::1"]


def page_address(host: str, port: int, token: str | None) -> str:
    """The address to open the page at."""
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/{'' if token is None else f'?token={token}'}"


def _of_this_machine(family: int) -> list[str]:
    import psutil

    found = []
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    for name, addresses in psutil.net_if_addrs().items():
        for address in addresses:
            if name not in up or address.family != family:
                continue
            ip = ipaddress.ip_address(address.address.partition("%")[0])
            if not (ip.is_loopback or ip.is_link_local):
                found.append(str(ip))
    return found


def _towards_the_network(family: int) -> str | None:
    """The address that what leaves this machine has; nothing is sent to find out."""
    with suppress(OSError, KeyError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((_FAR_AWAY[socket.AddressFamily(family)], 9))
        return str(probe.getsockname()[0])
    return None
