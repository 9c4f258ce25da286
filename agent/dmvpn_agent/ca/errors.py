"""Errors of the CA's commands."""


class CaError(Exception):
    """A command of the CA cannot do what was asked. The text names the thing, and what to do."""

    def __init__(self, what: str, do: str = "") -> None:
        super().__init__(f"{what}; {do}" if do else what)
        self.what = what
        self.do = do
