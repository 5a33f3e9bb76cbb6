// A part of the page that is brought nearer with wheel, pinch, buttons and keys, and moved by dragging. What lies in it
// stays what it is: buttons are pressed and reached with Tab, and come into view when they are.
import pinch from "sfumato-pinch";

const CLICK = 5;

export default {
  mixins: [pinch],
  reaches: [0.05, 16],
  props: { words: Object },
  data: () => ({ at: { scale: 1, x: 0, y: 0 }, free: false }),
  template: `
    <div class="zoom">
      <div class="tools" role="toolbar" :aria-label="words.sheet">
        <q-btn v-for="one in tools" :key="one.key" flat round dense :icon="one.key" :aria-label="words[one.key] || words.fit"
          @click="one.act"><q-tooltip>{{ words[one.key] || words.fit }} ({{ one.hint }})</q-tooltip></q-btn>
      </div>
      <div class="view" ref="view" tabindex="0" role="group" :aria-label="words.sheet" @wheel.prevent="wheel"
        @keydown="press" @pointerdown="down" @pointermove="move" @pointerup="up" @pointercancel="up"
        @click.capture="click" @focusin="seek" @dragstart.prevent>
        <div class="layer" ref="layer" :style="{ transform }"><slot></slot></div>
      </div>
    </div>
  `,
  created() {
    this.moved = 0;
  },
  mounted() {
    this.watcher = new ResizeObserver(() => this.free || this.fit());
    this.watcher.observe(this.$refs.view);
    this.watcher.observe(this.$refs.layer);
  },
  unmounted() {
    this.watcher.disconnect();
  },
  computed: {
    tools() {
      return [
        { key: "zoom_out", hint: "−", act: () => this.zoom(1 / 1.25) },
        { key: "zoom_in", hint: "+", act: () => this.zoom(1.25) },
        { key: "fit_screen", hint: "0", act: this.fit },
      ];
    },
    transform() {
      return `translate(${this.at.x}px, ${this.at.y}px) scale(${this.at.scale})`;
    },
  },
  methods: {
    fit() {
      const { view, layer } = this.$refs;
      if (!layer.offsetWidth || !view.clientWidth) return;
      const scale = Math.min(2, view.clientWidth / layer.offsetWidth, view.clientHeight / layer.offsetHeight);
      this.at = {
        scale,
        x: (view.clientWidth - layer.offsetWidth * scale) / 2,
        y: (view.clientHeight - layer.offsetHeight * scale) / 2,
      };
      this.free = false;
    },
    press(event) {
      const ways = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (ways[event.key]) this.shift(...ways[event.key]);
      else if (event.key === "+" || event.key === "=") this.zoom(1.25);
      else if (event.key === "-") this.zoom(1 / 1.25);
      else if (event.key === "0") this.fit();
      else return;
      event.preventDefault();
    },
    down(event) {
      this.moved = 0;
      this.pointers.set(event.pointerId, this.spot(event));
    },
    move(event) {
      const was = this.pointers.get(event.pointerId);
      if (!was) return;
      const now = this.spot(event);
      this.moved += Math.hypot(now.x - was.x, now.y - was.y);
      if (this.moved > CLICK) this.$refs.view.setPointerCapture(event.pointerId);
      if (this.pointers.size === 2) this.pinch(event.pointerId, was, now);
      else if (this.moved > CLICK) this.shift(now.x - was.x, now.y - was.y);
      this.pointers.set(event.pointerId, now);
    },
    up(event) {
      this.pointers.delete(event.pointerId);
    },
    click(event) {
      if (this.moved > CLICK) event.stopPropagation();
      this.moved = 0;
    },
    // What is reached with Tab comes into the view.
    seek(event) {
      const view = this.$refs.view;
      view.scrollTop = view.scrollLeft = 0;
      if (event.target === view || this.pointers.size) return;
      const [box, room] = [event.target.getBoundingClientRect(), view.getBoundingClientRect()];
      const over = (low, high, from, to) => (low < from ? from - low : high > to ? to - high : 0);
      const [x, y] = [over(box.left, box.right, room.left, room.right), over(box.top, box.bottom, room.top, room.bottom)];
      if (x || y) this.shift(x, y);
    },
  },
};
