"""Benchmarks and checks on the user's machine: one timing function, the case tables, a report."""

from .check import check as check
from .kernel_calls import compare as compare
from .kernel_calls import recording as recording
from .ladder import ladder as ladder
from .report import report as report
from .report import validate as validate
from .run import run_case as run_case
from .run import select as select
from .timing import Timing as Timing
from .timing import measure as measure
from .timing import verdict as verdict
