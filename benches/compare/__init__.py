"""Parts of compare_swift.py: what is installed, what is run, what is sent to it, and what is said about it."""
