class Embedding:
    pass
