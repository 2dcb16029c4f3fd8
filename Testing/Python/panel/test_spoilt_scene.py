"""A scene may carry any text as the report of an overlay: the panel shows what is sound, and nothing else, and works
on."""

from __future__ import annotations

import json
import time

import pytest

from CAMOverlayLib.scene.overlay import node as overlay

SPOILT = {
    "no JSON": lambda v: "{",
    "a list": lambda v: "[]",
    "no prediction": lambda v: json.dumps({k: x for k, x in v.items() if k != "prediction"}),
    "index outside": lambda v: json.dumps({**v, "prediction": {**v["prediction"], "index": 99}}),
    "probabilities in words": lambda v: json.dumps(
        {**v, "prediction": {**v["prediction"], "probabilities": ["a", "b", "c"]}}
    ),
    "steps are numbers": lambda v: json.dumps({**v, "steps": [1, 2]}),
    "a step of nothing": lambda v: json.dumps({**v, "steps": [{}]}),
    "values of a step in words": lambda v: json.dumps(
        {**v, "steps": [{**v["steps"][0], "value_range": ["low", "high"]}]}
    ),
    "share in words": lambda v: json.dumps({**v, "field_of_view": {"share": "all", "planes": []}}),
    "not finite": lambda v: json.dumps({**v, "activation_spacing": [float("nan"), 1, 1]}),
    "no placement": lambda v: json.dumps({k: x for k, x in v.items() if k != "placement"}),
    "the first version's words": lambda v: json.dumps({**v, "placement": {**v["placement"], "verdict": "proven"}}),
    "twenty thousand classes": lambda v: json.dumps(
        {
            **v,
            "prediction": {
                **v["prediction"],
                "classes": ["x"] * 20_000,
                "outputs": [0.1] * 20_000,
                "probabilities": [0.1] * 20_000,
                "voxels": [],
            },
        }
    ),
    "a hundred thousand classes": lambda v: json.dumps(
        {
            **v,
            "prediction": {
                **v["prediction"],
                "classes": ["x"] * 100_000,
                "outputs": [0.1] * 100_000,
                "probabilities": [0.1] * 100_000,
            },
        }
    ),
}
SHOWN = ("no placement", "the first version's words", "twenty thousand classes", "a step of nothing")


@pytest.mark.slow
def test_the_panel_lives_on(host, demoVolume, panel):
    panel.explainDemo()
    node = panel.overlay
    whole = node.GetAttribute("CAMOverlay.Report")
    for how, spoil in SPOILT.items():
        text = spoil(json.loads(whole))
        started = time.perf_counter()
        node.SetAttribute("CAMOverlay.Report", text)
        panel.panel.refresh()
        host.process()
        seconds = time.perf_counter() - started
        print(f"{how}: {seconds:.2f} s")
        assert seconds < 15, how
        assert panel.ui.resultButton.enabled == (how in SHOWN) and panel.ui.applyButton.enabled, how
        host.checkNoErrors()
        if how == "the first version's words":
            assert overlay.resultOf(node).placement.verdict == "verified" and "✓" in panel.ui.placementLabel.text
    panel.apply()
    assert overlay.resultOf(panel.overlay).placement.verdict and panel.ui.resultButton.enabled, "the next run mends it"
