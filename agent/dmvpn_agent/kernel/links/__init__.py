"""The tunnel interfaces: what the operator wants of them, what the kernel has, and how one becomes the other."""
