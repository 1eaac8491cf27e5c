"""What a fork server is told to import first, for workers of a process that does without the models itself.

A fork server is told of modules and of no function to call, so that it is the import that has the effect.
"""

from .without_models import import_without_models


import_without_models()
