"""Get the Standard Release: download, verify, unpack, choose."""
