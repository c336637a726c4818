"""
Serve a model over HTTP
=======================

A classifier behind FastAPI, with a live stream for each user: a request brings one observation, the answer is what the
model says of all that this user has sent so far. Users come and go: one who has been quiet for long makes room, and the
state goes to a database, from where it comes back with the next request.

The model is loaded once, before the workers are forked, so that they share its memory. Each worker has a port and users
of its own: a balancer sends a user to the same worker each time, for instance nginx with ``hash $arg_user``. The
database is shared, so a user who is sent elsewhere only has to be parked first.

``pip install fastapi uvicorn "lstmcore[sklearn]"``, then ``python serve_over_http.py --workers 2``, and

.. code-block:: sh

    curl -X POST "localhost:8000/step?user=ada" -H "content-type: application/json" -d '{"x": [0.1, -0.3, 0.2, 1.0]}'

Loading a model and serving it needs no scikit-learn; this file only makes itself a model to serve when it has none.
``bench/serve.py`` puts load on it.
"""

import argparse
import contextlib
import multiprocessing
import signal
import sqlite3
import tempfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

import lstmcore

# %%
# Which user has which stream
# ---------------------------
# A session has room for so many streams. `export` and `restore` take a stream's state out of it and back, as bytes.


class Users:
    """Live streams of users; the one who has been quiet longest makes room."""

    def __init__(self, model, room, database):
        self.session = model.session(n_streams=room)
        self.places = OrderedDict()  # the stream of a user, the longest quiet first
        self.free = list(range(room))
        self.database = sqlite3.connect(database, isolation_level=None, timeout=10)
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("PRAGMA synchronous = OFF")
        self.database.execute("CREATE TABLE IF NOT EXISTS parked (user TEXT PRIMARY KEY, state BLOB)")

    def step(self, user, x):
        """Return the probabilities after one more observation of a user."""
        return self.session.step_proba(x, streams=self.place(user))[0]

    def place(self, user):
        """Return the stream of a user, which may have to be started or fetched."""
        if user not in self.places:
            if not self.free:
                self.park(next(iter(self.places)))
            stream = self.free[-1]
            parked = self.database.execute("SELECT state FROM parked WHERE user = ?", (user,)).fetchone()
            if parked is None:
                self.session.reset(stream)
            else:
                self.session.restore(parked[0], stream)
            self.places[user] = self.free.pop()
        self.places.move_to_end(user)
        return self.places[user]

    def park(self, user):
        """Take the state of a user to the database."""
        stream = self.places.pop(user)
        self.database.execute("REPLACE INTO parked VALUES (?, ?)", (user, self.session.export(stream)))
        self.free.append(stream)

    def forget(self, user):
        """Let a user begin anew."""
        self.database.execute("DELETE FROM parked WHERE user = ?", (user,))
        if user in self.places:
            self.free.append(self.places.pop(user))


# %%
# The service
# -----------
# A step takes microseconds, so it runs in the event loop itself. Bad input costs a user nothing: the stream stays as it
# was. When the worker ends, all users are parked.


class Observation(BaseModel):
    """What a user sends."""

    x: list[float]


def make_app(model, room, database):
    """Return the service of one worker."""
    users = Users(model, room, database)

    @contextlib.asynccontextmanager
    async def lifespan(_):
        yield
        for user in list(users.places):
            users.park(user)

    app = FastAPI(lifespan=lifespan)

    @app.post("/step")
    async def step(user: str, observation: Observation):
        try:
            probabilities = users.step(user, np.array(observation.x))
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        best = int(probabilities.argmax())
        return {"label": model.classes[best].item(), "probability": float(probabilities[best])}

    @app.delete("/users/{user}")
    async def forget(user: str):
        users.forget(user)

    return app


# %%
# Workers
# -------
# ``set_num_threads(1)`` comes first: a step of one stream needs one thread, the workers are what uses the cores, and a
# process that has started no threads can be forked without losing any.


def make_model(path):
    """Fit a small model, for something to serve."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 30, 4))
    y = np.where(X[:, -10:, 0].sum(axis=1) > 0, "up", "down")
    lstmcore.RNNClassifier(cell="gru", hidden_size=32, max_epochs=5, random_state=0).fit(X, y).save(path)


def work(model, room, database, port):
    """Run one worker."""
    uvicorn.run(make_app(model, room, database), port=port, log_level="warning")


def main():
    """Load the model, fork the workers, wait for them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=None, help="a file that save wrote; default: one made on the spot")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--port", type=int, default=8000, help="of the first worker; the next has the next")
    parser.add_argument("--room", type=int, default=10_000, help="live users of a worker")
    parser.add_argument("--database", default=None, help="where users are parked; default: forgotten at the end")
    args = parser.parse_args()
    lstmcore.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = args.model or str(Path(folder, "model.safetensors"))
        if args.model is None:
            make_model(path)
        model = lstmcore.load(path)
        fork = multiprocessing.get_context("fork")
        database = args.database or str(Path(folder, "parked.sqlite"))
        workers = [
            fork.Process(target=work, args=(model, args.room, database, args.port + k)) for k in range(args.workers)
        ]
        for worker in workers:
            worker.start()
            print(f"worker {worker.pid}", flush=True)
        signal.signal(signal.SIGTERM, lambda *_: [worker.terminate() for worker in workers])  # they park their users
        with contextlib.suppress(KeyboardInterrupt):  # the workers get it, too
            for worker in workers:
                worker.join()
        for worker in workers:
            worker.join()


if __name__ == "__main__":
    main()
