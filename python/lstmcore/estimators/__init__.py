"""Estimators with scikit-learn's manners. The only part of the package that imports scikit-learn."""
