"""The monthly report: what a compliance officer files, folded from entries in constant memory."""

from broker.audit.views.report.month import Month, MonthReport
from broker.audit.views.report.page import render

__all__ = ["Month", "MonthReport", "render"]
