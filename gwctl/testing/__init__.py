"""The pytest plugin: a session at Interactive Brokers as a fixture."""
