"""BGP neighbors and their filters: desired state, observed state, and the changes between them."""
