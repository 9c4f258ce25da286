"""What operators may ask of the running agent over the control socket, and what they may change."""
