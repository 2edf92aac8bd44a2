"""The fake gateway: a small Python program that behaves as the real Client Portal Gateway was seen to.

``bin/run.sh`` of the sandbox release runs it. It connects only to loopback, even if its configuration says otherwise.
"""
