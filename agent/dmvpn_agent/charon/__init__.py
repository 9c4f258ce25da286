"""strongSwan: VICI, its sessions and events, IKE_SAs and CHILD_SAs, and the watch over them."""
