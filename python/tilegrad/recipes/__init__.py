"""Published models, trained by one command: ``tilegrad train``."""

from . import autoencoders, digits, images, tables, text
from .recipe import RECIPES as RECIPES
from .recipe import Published as Published
from .recipe import Recipe as Recipe
from .recipe import Result as Result
from .recipe import Task as Task
from .recipe import add as add
from .recipe import describe as describe
from .recipe import load as load
from .recipe import run as run

for _family in (tables, digits, images, text, autoencoders):
    add(*_family.RECIPES)
