"""What of this computer the studio touches, asked of the system and not only promised."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from sfumato.server.services import Services


@dataclass(frozen=True, kw_only=True)
class Sockets:
    """Of the server and its workers, each as ``address:port``.

    Attributes:
        listening: where others may connect.
        clients: who is connected to those.
        outbound: connections to other computers that one of our processes has opened; there should be none.
        known: False where the system does not tell; then the others are empty.
    """

    listening: Sequence[str] = ()
    clients: Sequence[str] = ()
    outbound: Sequence[str] = ()
    known: bool = True


def sockets(services: Services) -> Sockets:
    """The internet sockets of this process and of the workers as they are now."""
    found = []
    for pid in (os.getpid(), *services.pids()):
        try:
            found += psutil.Process(pid).net_connections(kind="inet")
        except psutil.NoSuchProcess:  # a worker that has ended by now
            continue
        except psutil.Error:
            return Sockets(known=False)
    own = {each.laddr.port for each in found if each.status == psutil.CONN_LISTEN}
    talks = [each for each in found if each.raddr]
    outbound = [each for each in talks if each.laddr.port not in own and not _here(each.raddr.ip)]
    return Sockets(
        listening=sorted({_address(each.laddr) for each in found if each.status == psutil.CONN_LISTEN}),
        clients=sorted({each.raddr.ip for each in talks if each.laddr.port in own}),
        outbound=sorted({_address(each.raddr) for each in outbound}),
    )


def _here(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _address(end: Any) -> str:
    return f"[{end.ip}]:{end.port}" if ":" in end.ip else f"{end.ip}:{end.port}"
