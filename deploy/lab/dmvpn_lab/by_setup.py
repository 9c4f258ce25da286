"""A node on which ``dmvpn-agent setup`` runs: what it begins with, and its files."""

from dmvpn_lab.namespace import Namespace

#: dmvpn-ca writes the password into the file's name; setup finds it there.
PASSWORD = "lab-password"
BUNDLE, ANSWERS = f"/run/lab/node.{PASSWORD}.pfx", "/run/lab/answers.toml"
#: What the packages install, which is empty in the lab's folders.
PACKAGED = ("/etc/swanctl/conf.d", "/etc/swanctl/x509", "/etc/swanctl/x509ca", "/etc/frr")
DAEMONS = b"bgpd=no\nnhrpd=no\n"


def files(space: Namespace) -> list[str]:
    """Return every file below /etc of a namespace, with its hash, mode and owner."""
    names = "\n".join(path for path in space.run("find", "/etc", "-type", "f").splitlines() if path)
    hashes = space.run("xargs", "-d", "\n", "sha256sum", text=names)
    return [
        *hashes.splitlines(),
        *space.run("xargs", "-d", "\n", "stat", "-c", "%n %a %U:%G", text=names).splitlines(),
    ]
