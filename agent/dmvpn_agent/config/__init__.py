"""The configuration file: TOML to frozen dataclasses."""
