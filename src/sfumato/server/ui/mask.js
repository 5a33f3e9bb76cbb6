// A picture to paint a mask on. What is painted is kept as a list of strokes, so that any of them can be taken back;
// after each change the mask goes to the server as a PNG of the picture's own size, white where it is painted.
import pinch from "sfumato-pinch";

const TINT = "#ff3f8e";
const SHOWN = 0.62;
const GRID = 8;
const NOTHING = { left: 0, top: 0, right: 0, bottom: 0 };

export default {
  mixins: [pinch],
  reaches: [0.02, 32],
  props: { src: String, mask: String, words: Object, extend: Object, most: Number },
  emits: ["change", "extend"],
  data: () => ({ tool: "brush", size: 48, done: 0, undone: 0, grabs: false, said: "", edges: [], ahead: {} }),
  template: `
    <div class="mask" v-show="src">
      <div class="tools" role="toolbar" :aria-label="words.tools">
        <q-btn v-for="one in tools" :key="one.key" flat round dense :icon="one.icon" :aria-label="words[one.key]"
          :aria-pressed="one.pressed" :disable="one.off" :class="{ on: one.pressed }" @click="one.act">
          <q-tooltip>{{ words[one.key] }}{{ one.hint ? " (" + one.hint + ")" : "" }}</q-tooltip>
        </q-btn>
        <input type="range" min="2" max="400" v-model.number="size" :aria-label="words.brush_size" @input="show">
      </div>
      <div class="view" ref="view" tabindex="0" role="application" :aria-label="words.canvas" @keydown="write"
        @blur="lift">
        <canvas ref="canvas" :class="{ grabs }" @pointerdown="down" @pointermove="move" @pointerup="up"
          @pointercancel="up" @pointerleave="leave" @wheel.prevent="wheel" @contextmenu.prevent></canvas>
        <button v-for="edge in edges" :key="edge.side" type="button" class="edge" :class="edge.side" role="slider"
          :style="edge.style" :aria-label="words[edge.side]" aria-valuemin="0" :aria-valuemax="most"
          :aria-valuenow="frame[edge.side]" :aria-orientation="edge.across ? 'horizontal' : 'vertical'"
          @pointerdown.stop="pull($event, edge)" @pointermove="drag($event)" @pointerup="loose"
          @pointercancel="loose" @keydown.stop="nudge($event, edge)"></button>
      </div>
      <div class="sr" aria-live="polite">{{ said }}</div>
    </div>
  `,
  created() {
    this.image = null;
    this.paint = document.createElement("canvas");
    this.base = null;
    this.strokes = [];
    this.taken = [];
    this.stroke = null;
    this.cursor = null;
    this.pulled = null;
    this.at = { scale: 1, x: 0, y: 0 };
    this.free = false;
  },
  mounted() {
    this.watcher = new ResizeObserver(() => (this.free ? this.show() : this.fit()));
    this.watcher.observe(this.$refs.view);
    document.addEventListener("keydown", this.hear);
    document.addEventListener("keyup", this.release);
    this.load();
  },
  unmounted() {
    this.watcher.disconnect();
    document.removeEventListener("keydown", this.hear);
    document.removeEventListener("keyup", this.release);
  },
  watch: {
    src() {
      this.load();
    },
    frame() {
      this.free || this.pulled ? this.show() : this.fit();
    },
  },
  computed: {
    tools() {
      return [
        { key: "brush", icon: "brush", hint: "B", pressed: this.tool === "brush", act: () => this.take("brush") },
        { key: "eraser", icon: "sym_o_ink_eraser", hint: "E", pressed: this.tool === "eraser", act: () => this.take("eraser") },
        { key: "undo", icon: "undo", hint: "Ctrl+Z", off: !this.done, act: this.undo },
        { key: "redo", icon: "redo", hint: "Ctrl+Y", off: !this.undone, act: this.redo },
        { key: "clear", icon: "layers_clear", act: () => this.add({ kind: "clear" }) },
        { key: "invert", icon: "invert_colors", act: () => this.add({ kind: "invert" }) },
        { key: "zoom_out", icon: "zoom_out", hint: "−", act: () => this.zoom(1 / 1.25) },
        { key: "zoom_in", icon: "zoom_in", hint: "+", act: () => this.zoom(1.25) },
        { key: "fit", icon: "fit_screen", hint: "0", act: this.fit },
      ];
    },
    frame() {
      return { ...NOTHING, ...(this.extend || {}), ...this.ahead };
    },
  },
  methods: {
    // The picture, and what was painted on it before.
    async load() {
      const [src, before] = [this.src, this.mask];
      this.strokes = [];
      this.taken = [];
      this.stroke = this.base = this.cursor = null;
      const image = src ? await fetched(src) : null;
      const base = image && before ? alphaOf(await fetched(before), image) : null;
      if (src !== this.src) return;
      [this.image, this.base] = [image, base];
      this.paint.width = image ? image.naturalWidth : 1;
      this.paint.height = image ? image.naturalHeight : 1;
      this.size = Math.max(8, Math.round(Math.max(this.paint.width, this.paint.height) / 12));
      this.replay();
      this.$nextTick(this.fit);
    },

    // Strokes.
    take(tool) {
      this.tool = tool;
      this.said = this.words[tool];
    },
    begin(point, erase) {
      this.stroke = { kind: "stroke", erase, size: this.size, points: [] };
      this.extendStroke(point);
    },
    extendStroke(point) {
      this.stroke.points.push(point);
      this.segment(this.stroke, this.stroke.points.length - 1);
      this.show();
    },
    finish() {
      if (this.stroke === null) return;
      const stroke = this.stroke;
      this.stroke = null;
      this.record(stroke);
    },
    drop() {
      this.stroke = null;
      this.replay();
    },
    add(change) {
      this.finish();
      this.apply(change);
      this.record(change);
    },
    record(change) {
      this.strokes.push(change);
      this.taken = [];
      this.tell();
    },
    undo() {
      this.finish();
      if (!this.strokes.length) return;
      this.taken.push(this.strokes.pop());
      this.replay();
      this.tell();
    },
    redo() {
      this.finish();
      if (!this.taken.length) return;
      this.strokes.push(this.taken.pop());
      this.replay();
      this.tell();
    },
    replay() {
      const pen = this.paint.getContext("2d");
      pen.clearRect(0, 0, this.paint.width, this.paint.height);
      if (this.base) pen.drawImage(this.base, 0, 0);
      this.strokes.forEach(this.apply);
      [this.done, this.undone] = [this.strokes.length, this.taken.length];
      this.show();
    },
    apply(change) {
      const pen = this.paint.getContext("2d");
      const { width, height } = this.paint;
      if (change.kind === "stroke") change.points.forEach((_, k) => this.segment(change, k));
      if (change.kind === "clear") pen.clearRect(0, 0, width, height);
      if (change.kind === "invert") {
        pen.globalCompositeOperation = "xor";
        pen.fillStyle = TINT;
        pen.fillRect(0, 0, width, height);
        pen.globalCompositeOperation = "source-over";
      }
      this.show();
    },
    segment(stroke, k) {
      const pen = this.paint.getContext("2d");
      const [from, to] = [stroke.points[Math.max(0, k - 1)], stroke.points[k]];
      pen.globalCompositeOperation = stroke.erase ? "destination-out" : "source-over";
      pen.strokeStyle = TINT;
      pen.lineWidth = stroke.size;
      pen.lineCap = "round";
      pen.beginPath();
      pen.moveTo(from.x, from.y);
      pen.lineTo(to.x, to.y);
      pen.stroke();
      pen.globalCompositeOperation = "source-over";
    },
    tell() {
      [this.done, this.undone] = [this.strokes.length, this.taken.length];
      const out = document.createElement("canvas");
      [out.width, out.height] = [this.paint.width, this.paint.height];
      const pen = out.getContext("2d");
      pen.drawImage(this.paint, 0, 0);
      pen.globalCompositeOperation = "source-in";
      pen.fillStyle = "#fff";
      pen.fillRect(0, 0, out.width, out.height);
      pen.globalCompositeOperation = "destination-over";
      pen.fillStyle = "#000";
      pen.fillRect(0, 0, out.width, out.height);
      this.$emit("change", out.toDataURL("image/png"));
    },

    // The view: where the picture lies in it, in CSS pixels.
    show() {
      if (this.asked || !this.$refs.canvas) return;
      this.asked = requestAnimationFrame(() => {
        this.asked = 0;
        this.render();
      });
    },
    render() {
      const [canvas, view] = [this.$refs.canvas, this.$refs.view];
      if (!canvas || !this.image || !view.clientWidth) return;
      const dense = window.devicePixelRatio || 1;
      canvas.width = view.clientWidth * dense;
      canvas.height = view.clientHeight * dense;
      const pen = canvas.getContext("2d");
      const { scale, x, y } = this.at;
      pen.setTransform(dense * scale, 0, 0, dense * scale, dense * x, dense * y);
      const f = this.frame;
      const outer = [-f.left, -f.top, this.paint.width + f.left + f.right, this.paint.height + f.top + f.bottom];
      pen.globalAlpha = SHOWN;
      pen.fillStyle = TINT;
      if (f.left || f.top || f.right || f.bottom) pen.fillRect(...outer);
      pen.globalAlpha = 1;
      pen.imageSmoothingEnabled = scale < 4;
      pen.drawImage(this.image, 0, 0);
      pen.globalAlpha = SHOWN;
      pen.drawImage(this.paint, 0, 0);
      pen.globalAlpha = 1;
      if (this.cursor) this.ring(pen, scale);
      this.place(outer);
    },
    ring(pen, scale) {
      for (const [colour, wide] of [["#000a", 3], ["#fff", 1.5]]) {
        pen.strokeStyle = colour;
        pen.lineWidth = wide / scale;
        pen.beginPath();
        pen.arc(this.cursor.x, this.cursor.y, this.size / 2, 0, 2 * Math.PI);
        pen.stroke();
      }
    },
    place([left, top, width, height]) {
      const { scale, x, y } = this.at;
      const spot = (u, v) => ({ left: x + u * scale + "px", top: y + v * scale + "px" });
      this.edges = [
        { side: "left", across: true, sign: -1, style: spot(left, top + height / 2) },
        { side: "right", across: true, sign: 1, style: spot(left + width, top + height / 2) },
        { side: "top", across: false, sign: -1, style: spot(left + width / 2, top) },
        { side: "bottom", across: false, sign: 1, style: spot(left + width / 2, top + height) },
      ];
    },
    fit() {
      const view = this.$refs.view;
      if (!view || !this.image || !view.clientWidth) return;
      const f = this.frame;
      const [wide, high] = [this.paint.width + f.left + f.right, this.paint.height + f.top + f.bottom];
      const room = 36;
      const scale = Math.min((view.clientWidth - room) / wide, (view.clientHeight - room) / high);
      this.at = {
        scale,
        x: (view.clientWidth - wide * scale) / 2 + f.left * scale,
        y: (view.clientHeight - high * scale) / 2 + f.top * scale,
      };
      this.free = false;
      this.show();
    },
    point(event) {
      const { x, y } = this.spot(event);
      return { x: (x - this.at.x) / this.at.scale, y: (y - this.at.y) / this.at.scale };
    },

    // Pointers: one draws, one with the space bar or the middle button pans, two pinch.
    down(event) {
      this.$refs.view.focus({ preventScroll: true });
      this.$refs.canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, { ...this.spot(event), pans: this.grabs || event.button === 1 });
      this.cursor = this.point(event);
      if (this.pointers.size === 2) {
        this.drop();
      } else if (this.pointers.size === 1 && !this.pointers.get(event.pointerId).pans) {
        this.begin(this.cursor, this.tool === "eraser" || event.button === 2 || (event.buttons & 32) !== 0);
      }
    },
    move(event) {
      const held = this.pointers.get(event.pointerId);
      this.cursor = event.pointerType === "touch" ? null : this.point(event);
      if (held) {
        const now = this.spot(event);
        if (this.pointers.size === 2) this.pinch(event.pointerId, held, now);
        else if (held.pans) this.shift(now.x - held.x, now.y - held.y);
        else if (this.stroke) for (const one of event.getCoalescedEvents?.() ?? [event]) this.extendStroke(this.point(one));
        Object.assign(held, now);
      }
      this.show();
    },
    up(event) {
      this.pointers.delete(event.pointerId);
      if (!this.pointers.size) this.finish();
    },
    leave() {
      if (this.pointers.size) return;
      this.cursor = null;
      this.show();
    },
    // Keys: some work wherever no words are being typed, the others when the picture has the focus.
    hear(event) {
      if (!this.src || event.target.closest?.("input:not([type=range]), textarea, [contenteditable], .q-dialog")) return;
      const key = event.key.toLowerCase();
      const held = event.ctrlKey || event.metaKey;
      if (held && key === "z") event.shiftKey ? this.redo() : this.undo();
      else if (held && key === "y") this.redo();
      else if (!held && (key === "[" || key === "]")) this.resize(key === "]" ? 1.15 : 1 / 1.15);
      else if (key === " " && (this.cursor || event.target === this.$refs.view)) this.grabs = true;
      else return;
      event.preventDefault();
    },
    release(event) {
      if (event.key === " ") this.grabs = false;
    },
    resize(by) {
      const next = Math.round(this.size * by);
      this.size = Math.min(400, Math.max(2, next === this.size ? next + Math.sign(by - 1) : next));
      this.said = `${this.words.brush_size} ${this.size}`;
      this.show();
    },
    write(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      const plain = {
        b: () => this.take("brush"), e: () => this.take("eraser"), 0: this.fit,
        "+": () => this.zoom(1.25), "=": () => this.zoom(1.25), "-": () => this.zoom(1 / 1.25), enter: this.press,
      };
      if (arrows[event.key]) this.step(...arrows[event.key], event.shiftKey ? 1 : Math.max(1, this.size / 4));
      else if (plain[event.key.toLowerCase()]) plain[event.key.toLowerCase()]();
      else return;
      event.preventDefault();
    },
    step(x, y, by) {
      const { width, height } = this.paint;
      const from = this.cursor ?? { x: width / 2, y: height / 2 };
      this.cursor = {
        x: Math.min(width, Math.max(0, from.x + x * by)),
        y: Math.min(height, Math.max(0, from.y + y * by)),
      };
      if (this.stroke) this.extendStroke(this.cursor);
      this.show();
    },
    press() {
      this.cursor ??= { x: this.paint.width / 2, y: this.paint.height / 2 };
      if (this.stroke) this.lift();
      else {
        this.begin(this.cursor, this.tool === "eraser");
        this.said = this.words.pen_down;
      }
    },
    lift() {
      if (!this.stroke || this.pointers.size) return;
      this.finish();
      this.said = this.words.pen_up;
    },

    // The frame's edges.
    pull(event, edge) {
      event.target.setPointerCapture(event.pointerId);
      this.pulled = { edge, x: event.clientX, y: event.clientY, from: this.frame[edge.side], scale: this.at.scale };
    },
    drag(event) {
      if (!this.pulled) return;
      const { edge, x, y, from, scale } = this.pulled;
      const way = (edge.across ? event.clientX - x : event.clientY - y) * edge.sign;
      this.reach(edge.side, from + way / scale);
    },
    loose() {
      this.pulled = null;
      if (!this.free) this.fit();
    },
    nudge(event, edge) {
      const grows = edge.across ? (edge.sign > 0 ? "ArrowRight" : "ArrowLeft") : edge.sign > 0 ? "ArrowDown" : "ArrowUp";
      if (!event.key.startsWith("Arrow")) return;
      event.preventDefault();
      this.reach(edge.side, this.frame[edge.side] + (event.key === grows ? GRID * 4 : -GRID * 4));
    },
    reach(side, pixels) {
      const value = Math.min(this.most, Math.max(0, Math.round(pixels / GRID) * GRID));
      if (value === this.frame[side]) return;
      this.$emit("extend", { side, value });
      // Shown before the server answers, so that a key that follows at once starts from here.
      this.ahead = { ...this.ahead, [side]: value };
      clearTimeout(this.settling);
      this.settling = setTimeout(() => (this.ahead = {}), 1000);
    },
  },
};

function fetched(src) {
  return new Promise((done, fail) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => fail(new Error(`no picture at ${src}`));
    image.src = src;
  });
}

// A black and white picture as colour that lets through where it was black, at the size of another picture.
function alphaOf(mask, like) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [like.naturalWidth, like.naturalHeight];
  const pen = canvas.getContext("2d");
  pen.drawImage(mask, 0, 0, canvas.width, canvas.height);
  const pixels = pen.getImageData(0, 0, canvas.width, canvas.height);
  for (let k = 0; k < pixels.data.length; k += 4) pixels.data[k + 3] = pixels.data[k];
  pen.putImageData(pixels, 0, 0);
  pen.globalCompositeOperation = "source-in";
  pen.fillStyle = TINT;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  return canvas;
}
