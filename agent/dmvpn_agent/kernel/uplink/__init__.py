"""The uplink that a tunnel uses: probes, choice, and the tunnel's local address."""
