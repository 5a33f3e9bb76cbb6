// What is brought nearer and moved, and the gestures that do it. A component that mixes this in has `at`, which is where
// its content lies in $refs.view ({ scale, x, y } in CSS pixels), `free`, which says that a person moved it, and
// `reaches`, the farthest and closest scale; it may have show(), which is called after each change.
export default {
  created() {
    this.pointers = new Map();
  },
  methods: {
    show() {},
    zoom(by, x = this.$refs.view.clientWidth / 2, y = this.$refs.view.clientHeight / 2) {
      const [farthest, closest] = this.$options.reaches;
      const scale = Math.min(closest, Math.max(farthest, this.at.scale * by));
      const part = scale / this.at.scale;
      this.at = { scale, x: x - (x - this.at.x) * part, y: y - (y - this.at.y) * part };
      this.free = true;
      this.show();
    },
    shift(x, y) {
      this.at = { ...this.at, x: this.at.x + x, y: this.at.y + y };
      this.free = true;
      this.show();
    },
    spot(event) {
      const box = this.$refs.view.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    },
    wheel(event) {
      const { x, y } = this.spot(event);
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), x, y);
    },
    // One of two fingers went from one spot to another.
    pinch(id, was, now) {
      const [, other] = [...this.pointers].find(([key]) => key !== id);
      const far = (a) => Math.hypot(a.x - other.x, a.y - other.y);
      this.shift((now.x - was.x) / 2, (now.y - was.y) / 2);
      if (far(was) > 0) this.zoom(far(now) / far(was), (now.x + other.x) / 2, (now.y + other.y) / 2);
    },
  },
};
