"""The part of the module Sample Data that the panel uses: registering a data set and getting one by name.

Files are taken from `file:` addresses; nothing is fetched from a network.
"""

import urllib.parse
import urllib.request

import slicer

__all__ = ["SampleDataLogic", "SampleDataSource", "downloadSample"]


class SampleDataSource:
    """One data set: what was registered, by name."""

    def __init__(self, **described):
        self.__dict__.update(described)


def _asList(value):
    return list(value) if isinstance(value, (list, tuple)) else [value]


class SampleDataLogic:
    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFiles=None,
        loadFileProperties={},
        checksums=None,
        loadFileType=None,
    ):
        source = SampleDataSource(
            sampleName=sampleName, uris=_asList(uris), nodeNames=_asList(nodeNames), thumbnailFileName=thumbnailFileName
        )
        vars(slicer.modules).setdefault("sampleDataSources", {}).setdefault(category, []).append(source)

    def downloadSample(self, sampleName):
        for sources in slicer.modules.sampleDataSources.values():
            for source in sources:
                if source.sampleName == sampleName:
                    return self._load(source)
        return None

    def _load(self, source):
        address = urllib.parse.urlparse(source.uris[0])
        if address.scheme != "file":
            raise RuntimeError(f"SlicerHost fetches nothing from a network: {source.uris[0]}")
        return slicer.util.loadVolume(urllib.request.url2pathname(address.path), {"name": source.nodeNames[0]})


def downloadSample(sampleName):
    return SampleDataLogic().downloadSample(sampleName)
