"""nhrpd's questions: answering them, who is accepted, who was denied, and what survives a restart."""
