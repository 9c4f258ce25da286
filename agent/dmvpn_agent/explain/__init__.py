"""What the policy makes of a certificate, for people and programs, without a peer that has it."""
