"""strongSwan: VICI, its commands and events, IKE_SAs and CHILD_SAs, and the watch that follows them."""
