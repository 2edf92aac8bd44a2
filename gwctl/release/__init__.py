"""Getting the Standard Release: download, verify, unpack, choose."""
