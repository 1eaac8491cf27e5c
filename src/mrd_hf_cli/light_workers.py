"""What a fork server is told to import first, for workers that read and draw shapes and need no models.

A fork server is told of modules and of no function to call, so that it is the import that has the effect.
"""

from .without_models import import_without_models


import_without_models()
