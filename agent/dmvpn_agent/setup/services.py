"""The commands of the service managers."""

from dataclasses import dataclass

from dmvpn_agent.setup.system import Manager

Argv = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Commands:
    """How a manager starts and enables services. A command is empty if the manager needs none."""

    manager: Manager

    def restart(self, service: str) -> Argv:
        """Return the command that restarts a service, or starts it."""
        return self._one_of(("systemctl", "restart", service), ("rc-service", service, "restart"))

    def stop(self, service: str) -> Argv:
        """Return the command that stops a service."""
        return self._one_of(("systemctl", "stop", service), ("rc-service", "--ifstarted", service, "stop"))

    def enable(self, service: str) -> Argv:
        """Return the command by which a service starts with the machine."""
        return self._one_of(("systemctl", "enable", service), ("rc-update", "add", service, "default"))

    def disable(self, service: str) -> Argv:
        """Return the command that takes ``enable`` back."""
        return self._one_of(("systemctl", "disable", service), ("rc-update", "delete", service, "default"))

    def is_active(self, service: str) -> Argv:
        """Return the command with status 0 if a service runs."""
        return self._one_of(("systemctl", "--quiet", "is-active", service), ("rc-service", service, "status"))

    def is_enabled(self, service: str) -> Argv:
        """Return the command with status 0 if a service starts with the machine."""
        return self._one_of(
            ("systemctl", "--quiet", "is-enabled", service),
            ("sh", "-c", 'rc-update show default | grep -qw -- "$1"', "sh", service),
        )

    def reload_units(self) -> Argv:
        """Return the command after which the manager knows changed units."""
        return self._one_of(("systemctl", "daemon-reload"), ())

    def _one_of(self, systemd: Argv, openrc: Argv) -> Argv:
        return {Manager.SYSTEMD: systemd, Manager.OPENRC: openrc, Manager.NONE: ()}[self.manager]
