"""How a decision reaches peers that are connected already."""
