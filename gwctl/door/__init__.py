"""The door: a TLS server through which other machines use the gateway, with a token or a client certificate."""
