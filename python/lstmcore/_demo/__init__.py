"""Parts of `lstmcore.demo`."""
