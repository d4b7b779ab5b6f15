"""What real servers do to awkward names: seen by asking each for its raw index page and for every file by hand.

A name that a server hides or renames can't be shown by any client, and one that it refuses to serve can't be read.
"""

from __future__ import annotations


def shown_as(flavour: str, name: bytes) -> bytes | None:
    """The name as this server's own index page has it; None where it is left out."""
    server = flavour.split("-")[0]
    if server in {"nginx", "lighttpd"} and name.startswith(b"."):
        return None  # both hide dot files
    if server == "rclone":
        return bytes_of_pictures(name)
    return name


def served(flavour: str, name: bytes) -> bool:
    """Does a GET of the link on its own page answer with the file?"""
    odd = not is_utf8(name) or any(byte < 0x20 for byte in name)
    return flavour != "lighttpd" or not odd  # 400: its URL parser rejects control bytes and invalid UTF-8


def bytes_of_pictures(name: bytes) -> bytes:
    """rclone shows a control byte as its symbol (U+2400 and up), and takes that back."""
    return b"".join(chr(0x2400 + byte).encode() if byte < 0x20 else bytes([byte]) for byte in name)


def is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
