POOLINGS = ("mean", "max", "attention")


class Pooling:
    pass
