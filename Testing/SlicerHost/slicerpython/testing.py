"""Running a unit test inside Slicer."""


def exitSuccess():
    pass


def exitFailure(message=""):
    raise Exception(message)


def runUnitTest(path, testname):
    import sys
    import unittest

    sys.path.extend([path] if isinstance(path, str) else path)
    outcome = unittest.TextTestRunner(verbosity=2).run(unittest.defaultTestLoader.loadTestsFromName(testname))
    if not outcome.wasSuccessful():
        exitFailure()
