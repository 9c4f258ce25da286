"""An address and port to listen on."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A TCP address to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
