"""
Stream
======

x
"""

print(1)
