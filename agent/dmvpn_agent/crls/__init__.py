"""CRLs from elsewhere: fetched by HTTP, kept for the next start, and served to other nodes."""
