"""Run the gateway in a network of its own, and let only its user's programs through to it (Linux).

``namespaces`` and ``front`` run as programs of their own, from this folder alone: the standard library only, and no
other module of gwctl.
"""
