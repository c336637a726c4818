"""What ``python -m lstmcore`` does."""
