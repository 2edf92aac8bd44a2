"""The stand-in gateway: a small Python program that behaves as the real Client Portal Gateway was seen to.

``bin/run.sh`` of the stand-in release runs it. It speaks to loopback only, whatever its configuration says.
"""
