"""The agent's composition root: one file for each subject makes its components, and ``root.py`` all of them."""
