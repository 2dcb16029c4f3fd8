"""Translation; there is none here, so texts come back as they are."""

import inspect
import os


def getContext(sourceFile):
    """The file's name without ending, with its package's name where it is in one."""
    folder, name = os.path.split(sourceFile)
    base = name.removesuffix(".py")
    inPackage = os.path.isfile(os.path.join(folder, "__init__.py"))
    return f"{os.path.basename(folder)}.{base}" if inPackage else base


def translate(context, text):
    from slicer import app

    return app.translate(context, text)


def tr(text):
    """Only a text can be translated; the caller's file is the context."""
    return translate(getContext(inspect.currentframe().f_back.f_code.co_filename), text)
