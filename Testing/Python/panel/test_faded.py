"""The tick that fades heat which is not stable: offered where there is a deviation, and true to what the views show."""

from __future__ import annotations

import numpy as np
import slicer
from scene.helpers import makeHeatmap, makeResult, makeVolume

from CAMOverlayLib.contract.request import FurtherVolume
from CAMOverlayLib.scene.overlay import faded, further
from CAMOverlayLib.scene.overlay import node as overlays


def test_heat_is_faded_from_the_panel_where_there_is_a_deviation(host, panel, tmp_path):
    matrix, shape = np.diag([2.0, 2.0, 2.0, 1.0]), (9, 8, 7)
    random = np.random.default_rng(0)
    volume = makeVolume(np.zeros(shape, np.int16), matrix)
    spread = FurtherVolume("deviation", makeHeatmap(tmp_path, random.random(shape) / 2, matrix, "deviation"), "", 0.5)
    heat = makeHeatmap(tmp_path, random.random(shape), matrix)
    node = overlays.addOverlay(makeResult(heat), volume)
    panel.panel.parameters.overlayVolume = node
    host.process()
    panel.ui.displayButton.collapsed = False
    box = panel.ui.fadeBox
    assert not box.enabled and not box.checked, "there is no deviation"
    overlays.addOverlay(makeResult(heat, further=(spread,)), volume, node)
    panel.panel.display.refresh()
    assert box.enabled and not box.checked
    host.click(box)
    assert box.checked and faded.faded(node)
    made = further.nodes(node)["faded"]
    node.GetDisplayNode().SetThreshold(0.4, 1.0)
    host.process()
    assert made.GetDisplayNode().GetLowerThreshold() == 0.4, "what other modules change is followed"
    composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    composite.SetForegroundOpacity(0.25)
    host.process()
    assert panel.panel.parameters.opacity == 0.25
    host.click(box)
    assert not box.checked and composite.GetForegroundVolumeID() == node.GetID()
