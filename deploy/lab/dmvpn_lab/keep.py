"""A lab that stays up: commands for its nodes come as files in a folder, which a VM sees as well as its host.

``deploy/lab/at NODE COMMAND…`` writes ``ID.request`` (node, then one argument a line) and waits for ``ID.reply``.
"""

import time
from pathlib import Path

from dmvpn_lab.lab import Lab
from dmvpn_lab.namespace import CommandError

STOP = "stop"


def serve(lab: Lab, folder: Path) -> None:
    """Answer requests until the file ``stop`` appears."""
    folder.mkdir()
    while not (folder / STOP).exists():
        for request in folder.glob("*.request"):
            name, *argv = request.read_text().splitlines()
            request.unlink()
            reply = request.with_suffix(".part")
            reply.write_text(_answer(lab, name, argv))
            reply.rename(request.with_suffix(".reply"))
        time.sleep(0.2)


def _answer(lab: Lab, name: str, argv: list[str]) -> str:
    spaces = {key: node.space for key, node in lab.nodes.items() if node.started}
    spaces |= {f"{key}-lan": node.host for key, node in lab.nodes.items() if node.started}
    if name not in spaces:
        return f"{name} is no node that runs; there are: {', '.join(spaces)}\n"
    try:
        return spaces[name].result(argv)[1]
    except CommandError as error:
        return f"{error}\n"
