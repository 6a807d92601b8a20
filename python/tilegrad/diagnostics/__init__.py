"""Looking at a computation: its graph, the origin of a NaN, where the time goes. Costs nothing
where it is not used."""

from .graph import Graph as Graph
from .graph import graph as graph
from .nonfinite import NonFinite as NonFinite
from .nonfinite import trace_nonfinite as trace_nonfinite
from .profiler import Row as Row
from .profiler import profile as profile
from .profiler import roof as roof
