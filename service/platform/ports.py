"""The TCP ports that a process listens on: that they can be had, said before anything is started."""

import errno
import os
import socket

from service.platform.settings import SettingsError

_REFUSED = {errno.EADDRINUSE, errno.EACCES}


def require_port(setting: str, host: str, port: int, advice: str) -> None:
    """Try to listen on `port` of `host`. Raises SettingsError, which names the setting and ends with the advice, where
    that port is taken or may not be used by this user; other errors are left to whoever listens."""
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        socket.create_server(address, family=family).close()
    except OSError as error:
        if error.errno in _REFUSED:
            reason = os.strerror(error.errno).lower()
            raise SettingsError(
                f"{setting}: port {port} of {host} cannot be used ({reason}). {advice}"
            ) from None
