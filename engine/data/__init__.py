"""One party's data: read and checked, prepared for a model, and the metrics of what the model says."""

from engine.data.metrics import evaluate, require_metrics
from engine.data.preprocess import Features, Fitted, Preprocessor
from engine.data.reading import problems, read_table
from engine.data.table import Column, Table, require_binary_label

__all__ = [
    "Column",
    "Features",
    "Fitted",
    "Preprocessor",
    "Table",
    "evaluate",
    "problems",
    "read_table",
    "require_binary_label",
    "require_metrics",
]
