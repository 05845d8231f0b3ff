"""Entity maps: what a text names and how that hangs together, without its style; by rules or by a language model."""

from hfembed.generate.maps.form import MapForm
from hfembed.generate.maps.make import make_maps

__all__ = ["MapForm", "make_maps"]
