"""A server for tests of isolation, which does in its network what a request says. Runs by itself.

A request is one line and an empty one: ``echo`` (sends everything back, then ends), ``drain`` (reads, never answers),
``flood BYTES`` (sends that much), ``reach HOST PORT`` (connects there, sends a line, returns what comes), ``resolve
NAME``, ``card`` (its address by its name, and its card), ``status`` (its own /proc/self/status). The first argument is
the port.
"""

import fcntl
import pathlib
import socket
import struct
import sys
import threading


def echo(connection: socket.socket) -> None:
    """Send everything back."""
    while content := connection.recv(65_536):
        connection.sendall(content)


def drain(connection: socket.socket) -> None:
    """Read everything."""
    while connection.recv(65_536):
        pass


def flood(connection: socket.socket, count: str) -> None:
    """Send that many bytes."""
    left, block = int(count), bytes(range(256)) * 256
    while left > 0:
        connection.sendall(block[: min(left, len(block))])
        left -= len(block)


def reach(connection: socket.socket, host: str, port: str) -> None:
    """Connect to another server, and tell what comes of it."""
    try:
        with socket.create_connection((host, int(port)), 20) as other:
            other.sendall(b"from inside\n")
            connection.sendall(b"reached " + other.recv(100))
    except OSError as error:
        connection.sendall(type(error).__name__.encode())


def resolve(connection: socket.socket, host: str) -> None:
    """Look a name up."""
    try:
        connection.sendall(socket.gethostbyname(host).encode())
    except OSError as error:
        connection.sendall(type(error).__name__.encode())


def card(connection: socket.socket) -> None:
    """Tell the address of this machine's name, and the name and hardware address of the card that has it."""
    address = socket.gethostbyname(socket.gethostname())
    name = next(name for _, name in socket.if_nameindex() if name.startswith("eth"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack("256s", name.encode())
        hardware = fcntl.ioctl(any_socket, SIOCGIFHWADDR, asked)[18:24].hex(":")
        held = socket.inet_ntoa(fcntl.ioctl(any_socket, SIOCGIFADDR, asked)[20:24])
    assert held == address
    connection.sendall(f"{address} {name} {hardware}".encode())


def status(connection: socket.socket) -> None:
    """Tell what the system knows of this process."""
    connection.sendall(pathlib.Path("/proc/self/status").read_bytes())


SIOCGIFADDR, SIOCGIFHWADDR = 0x8915, 0x8927
VERBS = {verb.__name__: verb for verb in (echo, drain, flood, reach, resolve, card, status)}


def serve(connection: socket.socket) -> None:
    """Do what one request says."""
    with connection:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            got = connection.recv(1)
            if not got:
                return
            head += got
        verb, *rest = head.decode().split()
        VERBS[verb](connection, *rest)


def main() -> None:
    """Serve without end, each request in a thread."""
    with socket.create_server(("", int(sys.argv[1])), backlog=200) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
