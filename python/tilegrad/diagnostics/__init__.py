"""Looking at a computation: its graph. Costs nothing where it is not asked for."""

from .graph import Graph as Graph
from .graph import graph as graph
