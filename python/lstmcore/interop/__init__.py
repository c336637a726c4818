"""Models from and for other libraries, each in a module of its own that imports the other library only when called."""
