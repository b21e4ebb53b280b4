"""What compare_swift.py and compare_objectd.py install, run, send to it, and say about it."""
