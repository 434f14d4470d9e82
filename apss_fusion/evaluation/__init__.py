"""How good tracks are, against known truth: GOSPA, OSPA, completeness, accuracy and consistency."""

from apss_fusion.evaluation.assignment import Assignment, assign
from apss_fusion.evaluation.evaluate import EvaluationOptions, evaluate, table
from apss_fusion.evaluation.metrics import Gospa, gospa, ospa

__all__ = ["Assignment", "EvaluationOptions", "Gospa", "assign", "evaluate", "gospa", "ospa", "table"]
