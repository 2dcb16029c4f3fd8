// The viewer in the page. Everything that it needs stands in the page, packed; nothing is fetched from anywhere.
// It plays the part of a notebook towards niivue's widget: models with get, set and on, and messages.
(async () => {
  "use strict";
  const place = document.getElementById("viewer");
  const say = (words) => { document.getElementById("viewer-state").textContent = words; };
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const unpacked = async (text) => {
    const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };

  class Model {
    constructor(values) { this.values = values; this.heard = {}; }
    get(name) { return this.values[name]; }
    set(name, value) { this.values[name] = value; }
    on(event, hear) { (this.heard[event] ??= []).push(hear); }
    off(event) { delete this.heard[event]; }
    tell(event, ...given) { for (const hear of this.heard[event] ?? []) hear(...given); }
    change(name, value) { this.set(name, value); this.tell(`change:${name}`); }
    save_changes() {}
    send() {}
    onChange() {}
  }

  const volume = (id, name, data, look) => new Model({
    id, name, data: new DataView(data.buffer), path: {}, url: "", paired_img_path: {}, paired_img_url: "",
    colormap: "gray", opacity: 1, cal_min: null, cal_max: null, cal_min_neg: null, cal_max_neg: null,
    colormap_negative: "", frame_4d: 0, colorbar_visible: false, colormap_label: null, colormap_type: 0,
    colormap_invert: false, modulation_image: null, modulate_alpha: 0, ...look,
  });

  // Three slices side by side where there is room, else two above one; as high as they then are.
  const layout = ([x, y, z]) => {
    const wide = place.clientWidth > 700;
    const [across, down] = wide ? [2 * x + y, Math.max(y, z)] : [x + y, y + z];
    return { kind: wide ? 3 : 2, height: Math.round(Math.min(Math.max(place.clientWidth * down / across, 260), 720)) };
  };

  try {
    if (document.readyState !== "complete")
      await new Promise((done) => addEventListener("load", done, { once: true }));
    await new Promise((done) => setTimeout(done, 30));  // the page is there before its viewer
    if (typeof DecompressionStream === "undefined" || !document.createElement("canvas").getContext("webgl2"))
      throw new Error("this browser lacks WebGL 2 or DecompressionStream");
    const given = JSON.parse(document.getElementById("viewer-data").textContent);
    const [code, image, heat] = await Promise.all(
      [document.getElementById("viewer-code").textContent, given.image, given.heat].map(unpacked));
    const script = document.createElement("script");
    script.type = "module";
    script.textContent = new TextDecoder().decode(code);
    const ready = new Promise((done, failed) => {
      const wait = (left) => globalThis.camOverlayViewer ? done() : left ? setTimeout(wait, 20, left - 1)
        : failed(new Error("niivue did not start"));
      wait(500);
    });
    document.head.append(script);
    await ready;

    console.log = () => {};  // niivue's widget tells a developer's story
    const [low, high] = given.shown;
    const models = {
      image: volume("image", "image.nii", image, { cal_min: given.grey[0], cal_max: given.grey[1] }),
      heat: volume("heat", "heat.nii", heat,
        { colormap: "camoverlay", colormap_type: 1, opacity: given.opacity, cal_min: low, cal_max: high }),
    };
    const { kind, height } = layout(given.extent);
    const model = new Model({
      opts: {
        sliceType: 3, multiplanarLayout: kind, multiplanarShowRender: 0, isRadiologicalConvention: true, isColorbar: false,
        isOrientCube: false, backColor: [0, 0, 0, 1], crosshairColor: [0.9, 0.95, 1, 0.9], crosshairWidth: 1,
        dragAndDropEnabled: false, loadingText: "", isRuler: true, textHeight: 0.05, sagittalNoseLeft: true,
        show3Dcrosshair: false, isAntiAlias: true,
      },
      height, volumes: ["IPY_MODEL_image", "IPY_MODEL_heat"], meshes: [],
      background_masks_overlays: false, draw_lut: null, draw_opacity: 0, draw_fill_overwrites: false, graph: {},
      scene: given.spots.length ? { crosshairPos: given.spots[0].at } : {}, overlay_outline_width: 0,
      overlay_alpha_shader: 1, this_model_id: "",
    });
    model.widget_manager = { get_model: async (id) => models[id] };
    const widget = globalThis.camOverlayViewer;
    await widget.initialize({ model });
    const stops = [given.colors[0], ...given.colors];  // nothing at all is transparent, as in Slicer's table
    const part = (channel) => stops.map((color) => color[channel]);
    const steps = stops.map((_, n) => n && Math.max(1, Math.round(255 * (n - 1) / (given.colors.length - 1))));
    model.tell("msg:custom", { type: "add_colormap", data: ["camoverlay",
      { R: part(0), G: part(1), B: part(2), A: steps.map((step) => step && 255), I: steps }] }, []);
    place.textContent = "";
    await widget.render({ model, el: place });

    const go = (at) => {
      model.change("scene", { crosshairPos: at });
      model.tell("msg:custom", { type: "draw_scene", data: [] }, []);
    };
    const buttons = document.getElementById("viewer-spots");
    for (const spot of given.spots) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = spot.name;
      button.addEventListener("click", () => go(spot.at));
      buttons.append(button);
    }
    if (given.spots.length) go(given.spots[0].at);
    const slider = document.getElementById("viewer-opacity");
    slider.value = given.opacity;
    slider.addEventListener("input", () => models.heat.change("opacity", Number(slider.value)));
    document.getElementById("viewer-controls").hidden = false;
    say("");
    place.dataset.ready = "yes";
  } catch (error) {
    place.textContent = "";
    place.hidden = true;
    say(`The viewer cannot be shown: ${error.message}. The pictures above need nothing.`);
  }
})();
