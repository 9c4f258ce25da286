"""BGP neighbors and their filters: what must be there, what is, and the steps between."""
